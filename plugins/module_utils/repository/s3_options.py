# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a repository in an S3 bucket, and the credential they point to."""

from __future__ import annotations

import configparser
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, UnsafeName
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import check_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import terms

__all__ = ["MAX_PARTS", "Credential", "S3Options", "parse_s3", "read_credential"]

MAX_PARTS = 10_000
"""Parts of one multipart upload, at S3 and at every store that follows it."""

_MIB = 1024 * 1024
_MIN_PART_BYTES = 5 * _MIB
_MAX_IN_FLIGHT_BYTES = 256 * _MIB

_KNOWN = (
    "type", "bucket", "prefix", "endpoint", "region", "path_style", "ca_file", "credentials_file", "profile",
    "connect_timeout", "read_timeout", "part_size", "max_threads", "object_lock", "object_lock_days",
)  # fmt: skip

_SECRETS = (
    "access_key", "access_key_id", "aws_access_key", "aws_access_key_id", "secret", "secret_key", "secret_access_key", "aws_secret_key",
    "aws_secret_access_key", "session_token", "aws_session_token", "security_token", "token", "password",
)  # fmt: skip


@dataclass(frozen=True)
class S3Options:
    """Where objects lie and how they travel. Times in seconds, sizes in bytes. Holds no secret, only a path to one."""

    name: str
    bucket: str
    prefix: str
    endpoint: str | None
    region: str | None
    path_style: bool
    ca_file: str | None
    credentials_file: str | None
    profile: str | None
    connect_timeout_seconds: float
    read_timeout_seconds: float
    part_bytes: int
    max_threads: int
    object_lock: str
    object_lock_days: int

    def place(self, key: str = "") -> str:
        """Where a key lies, for messages."""
        return f"s3://{self.bucket}/{self.prefix}{key}" + (f" at {self.endpoint}" if self.endpoint else "")

    @property
    def deadline_seconds(self) -> float:
        """No new attempt of a request begins after this."""
        return 3 * (self.connect_timeout_seconds + self.read_timeout_seconds)


@dataclass(frozen=True, repr=False)
class Credential:
    """What a credentials file says. Its text form shows nothing of it."""

    access_key: str
    secret_key: str
    session_token: str | None

    def __repr__(self) -> str:
        return "Credential(…)"

    def words(self) -> tuple[str, ...]:
        """What must never be seen, for blotting it out of a store's words."""
        return tuple(filter(None, (self.secret_key, self.session_token, self.access_key)))


def parse_s3(name: str, spec: Mapping[str, Any]) -> S3Options:
    """The options of a `{type: s3, bucket, …}`; raises `ConfigurationError` naming the repository and the option."""
    where = f"repository {name!r}"
    _refuse_secrets(spec, where)
    options.unknown_keys(spec, (*_KNOWN, *terms.KEYS), where)
    endpoint = _endpoint(options.text(spec, "endpoint", where, None), where)
    part_bytes: int = options.size_bytes(spec, "part_size", where, 8 * _MIB, minimum=_MIN_PART_BYTES)
    max_threads: int = options.integer(spec, "max_threads", where, 3, minimum=1, maximum=32)
    if part_bytes * (max_threads + 1) > _MAX_IN_FLIGHT_BYTES:
        raise ConfigurationError(
            f"part_size times (max_threads + 1) is more than {_MAX_IN_FLIGHT_BYTES // _MIB} MiB",
            where,
            "That much is held in memory during an upload: lower one of the two.",
        )
    object_lock: str = options.choice(spec, "object_lock", where, ("none", "governance", "compliance"), "none")
    object_lock_days: int | None = options.integer(spec, "object_lock_days", where, None, minimum=1, maximum=36_500)
    if (object_lock == "none") != (object_lock_days is None):
        raise ConfigurationError("object_lock and object_lock_days belong together", where, "Give both, or neither.")
    return S3Options(
        name=name,
        bucket=_bucket(options.text(spec, "bucket", where), where),
        prefix=_prefix(options.text(spec, "prefix", where, ""), where),
        endpoint=endpoint,
        region=options.text(spec, "region", where, None),
        # A name in front of a private endpoint's address seldom resolves; Amazon wants it there.
        path_style=options.boolean(spec, "path_style", where, endpoint is not None),
        ca_file=_path(spec, "ca_file", where),
        credentials_file=_path(spec, "credentials_file", where),
        profile=options.text(spec, "profile", where, None),
        connect_timeout_seconds=options.duration_seconds(spec, "connect_timeout", where, 10.0, minimum=0.1),
        read_timeout_seconds=options.duration_seconds(spec, "read_timeout", where, 60.0, minimum=0.1),
        part_bytes=part_bytes,
        max_threads=max_threads,
        object_lock=object_lock,
        object_lock_days=object_lock_days or 0,
    )


def read_credential(given: S3Options) -> Credential | None:
    """The credential in `credentials_file` (the AWS tools' format), or None when none is named.

    Raises `ConfigurationError` when the file is missing, open to everyone, or lacks the profile.
    """
    if given.credentials_file is None:
        return None
    where, path, profile = f"repository {given.name!r}", given.credentials_file, given.profile or "default"
    try:
        with open(path, encoding="utf-8") as stream:
            if os.fstat(stream.fileno()).st_mode & stat.S_IRWXO:
                raise ConfigurationError(f"credentials_file {path} is open to every user", where, f"Run: chmod o= {path}")
            parser = configparser.RawConfigParser()
            parser.read_file(stream)
        section = parser[profile]
        return Credential(section["aws_access_key_id"], section["aws_secret_access_key"], section.get("aws_session_token") or None)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else "unreadable"
        raise ConfigurationError(
            f"credentials_file {path}: {reason}", where, "The user that runs this job must be able to read it."
        ) from None
    except (configparser.Error, UnicodeDecodeError):
        # The parser's own words quote the line, which may be the secret.
        raise ConfigurationError(f"credentials_file {path} is not in the AWS credentials format", where, _FORMAT) from None
    except KeyError as error:
        raise ConfigurationError(f"credentials_file {path} lacks {error.args[0]!r} for the profile {profile!r}", where, _FORMAT) from None


_FORMAT = "It needs a section [default] (or the one that profile names) with aws_access_key_id and aws_secret_access_key."


def _refuse_secrets(spec: Mapping[str, Any], where: str) -> None:
    for key in _SECRETS:
        if key in spec:
            raise ConfigurationError(
                f"{key} would put a secret into inventories, facts and logs",
                where,
                "Write it into a file in the AWS credentials format (mode 0600) and name that by credentials_file.",
            )


def _bucket(bucket: str, where: str) -> str:
    # Wider than Amazon's rule for new buckets: old ones and other stores allow capitals and underscores.
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]", bucket) is None:
        raise ConfigurationError(
            f"bucket {bucket!r} is not a bucket's name", where, "Give the name alone, without s3:// and without a prefix."
        )
    return bucket


def _prefix(prefix: str, where: str) -> str:
    """Without slashes around; empty, or ending with one slash."""
    prefix = prefix.strip("/")
    if not prefix:
        return ""
    try:
        return check_key(prefix) + "/"
    except UnsafeName:
        raise ConfigurationError(
            f"prefix {prefix!r} is not a safe key", where, "Leave out empty parts, '.', '..' and control characters."
        ) from None


def _endpoint(endpoint: str | None, where: str) -> str | None:
    if endpoint is None:
        return None
    try:
        parts = urlsplit(endpoint)
        port_is_good = parts.port is None or parts.port > 0
    except ValueError:
        raise ConfigurationError("endpoint is not a URL", where, "It looks like https://s3.example.net or http://10.0.0.5:9000.") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("endpoint holds a credential", where, "Take it out of the URL and use credentials_file.")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_good or parts.query or parts.fragment:
        raise ConfigurationError(
            f"endpoint {endpoint!r} is not a URL", where, "It looks like https://s3.example.net or http://10.0.0.5:9000."
        )
    return endpoint.rstrip("/")


def _path(spec: Mapping[str, Any], key: str, where: str) -> str | None:
    path: str | None = options.text(spec, key, where, None)
    if path is not None and not os.path.isabs(path):
        raise ConfigurationError(f"{key} {path!r} is not absolute", where, "Give the whole path, from the leading slash on.")
    return path
