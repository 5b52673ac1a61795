# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a repository on a remote of rclone. What the remote is, and its secrets, stand in rclone's own file."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import terms

__all__ = ["RcloneOptions", "check_config_file", "parse_rclone", "split_remote"]

_KNOWN = ("type", "remote", "config_file", "program", "connect_timeout", "read_timeout")
_SECRETS = ("password", "pass", "token", "secret", "access_key_id", "secret_access_key", "config_password")


@dataclass(frozen=True)
class RcloneOptions:
    """Where objects lie and how they travel. Times in seconds. `remote` is "name:path", without a slash at its end."""

    name: str
    remote: str
    config_file: str
    program: str
    connect_timeout_seconds: float
    read_timeout_seconds: float

    def place(self, key: str = "") -> str:
        """Where a key lies, for messages."""
        return self.remote + ("" if self.remote.endswith((":", "/")) else "/") + key


def parse_rclone(name: str, spec: Mapping[str, Any]) -> RcloneOptions:
    """The options of a `{type: rclone, remote, config_file}`; raises `ConfigurationError` naming the repository and the option."""
    where = f"repository {name!r}"
    for key in _SECRETS:
        if key in spec:
            raise ConfigurationError(
                f"{key} would put a secret into inventories, facts and logs",
                where,
                "Write it into rclone's own configuration (rclone config --config FILE, mode 0600) and name that by config_file.",
            )
    options.unknown_keys(spec, (*_KNOWN, *terms.KEYS), where)
    return RcloneOptions(
        name=name,
        remote=_remote(options.text(spec, "remote", where), where),
        config_file=_absolute(options.text(spec, "config_file", where), "config_file", where),
        program=_absolute(options.text(spec, "program", where, ""), "program", where),
        connect_timeout_seconds=options.duration_seconds(spec, "connect_timeout", where, 10.0, minimum=0.1),
        read_timeout_seconds=options.duration_seconds(spec, "read_timeout", where, 60.0, minimum=0.1),
    )


def check_config_file(given: RcloneOptions) -> None:
    """Whether this user can read the file, and nobody else; raises `ConfigurationError`."""
    where, path = f"repository {given.name!r}", given.config_file
    try:
        with open(path, "rb") as stream:
            content, mode = stream.read(1024), os.fstat(stream.fileno()).st_mode
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else "unreadable"
        raise ConfigurationError(f"config_file {path}: {reason}", where, "The user that runs this job must be able to read it.") from None
    if mode & stat.S_IRWXO:
        raise ConfigurationError(f"config_file {path} is open to every user", where, f"Run: chmod o= {path}")
    if b"RCLONE_ENCRYPT_V" in content:
        raise ConfigurationError(
            f"config_file {path} is encrypted",
            where,
            "Nobody is there to type its password at night: take the encryption off (rclone config, s) and keep it at mode 0600.",
        )


def split_remote(remote: str) -> tuple[str, str]:
    """The name and the path of "name:path"; ("", path) for a path of this machine."""
    name, colon, path = remote.partition(":")
    return (name, path) if colon and "/" not in name else ("", remote)


def _remote(remote: str, where: str) -> str:
    name, path = split_remote(remote)
    if not name:
        hint = "It looks like box:backups/shop, with a remote of that name in config_file."
        what = "is a connection string, which may hold a secret" if remote.startswith(":") else "names no remote"
        raise ConfigurationError(f"remote {'' if remote.startswith(':') else repr(remote) + ' '}{what}", where, hint)
    if "," in name or "=" in name:
        raise ConfigurationError(
            "remote holds options, which may be secrets", where, "Write them into config_file, and name the remote alone."
        )
    if re.fullmatch(r"[\w.+@][\w.+@ -]*", name) is None:
        raise ConfigurationError(f"remote {remote!r} does not begin with a remote's name", where, "It looks like box:backups/shop.")
    if not path.isprintable() or any(part in (".", "..") for part in path.split("/")) or any(one in path for one in "[]\\\"'`"):
        raise ConfigurationError(f"remote {remote!r} has a path with '..', a bracket, a quote or a control character", where)
    slash = "/" if path.startswith("/") else ""
    return f"{name}:{slash}" + "/".join(filter(None, path.split("/")))


def _absolute(path: str, key: str, where: str) -> str:
    if path and not os.path.isabs(path):
        raise ConfigurationError(f"{key} {path!r} is not absolute", where, "Give the whole path, from the leading slash on.")
    return path
