# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a repository behind SFTP, and the command line of the one program that opens the way to it: `ssh`.

No option holds a secret: the key lies in a file, and what identifies the server is public.
"""

from __future__ import annotations

import base64
import binascii
import os
import posixpath
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import terms

__all__ = ["SftpOptions", "check_files", "parse_sftp", "ssh_arguments"]

_KNOWN = (
    "type", "host", "port", "user", "path", "identity_file", "known_hosts_file", "host_key", "connect_timeout", "read_timeout",
)  # fmt: skip

_SECRETS = ("password", "passphrase", "private_key", "identity", "key")

PINNED = "pinned"
"""The name under which a key given by `host_key` is looked up, whatever the host is called."""


@dataclass(frozen=True)
class SftpOptions:
    """Where objects lie and how they travel. Times in seconds. `host_keys`: lines "type base64", or none with a file."""

    name: str
    host: str
    port: int
    user: str
    path: str
    identity_file: str
    known_hosts_file: str | None
    host_keys: tuple[str, ...]
    connect_timeout_seconds: float
    read_timeout_seconds: float

    def place(self, key: str = "") -> str:
        """Where a key lies, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == 22 else f":{self.port}"
        return f"sftp://{self.user}@{host}{port}{self.path.rstrip('/')}/{key}"

    def path_of(self, *components: str) -> bytes:
        """The path on the server of something inside the repository."""
        return os.fsencode(posixpath.join(self.path, *components))


def parse_sftp(name: str, spec: Mapping[str, Any]) -> SftpOptions:
    """The options of a `{type: sftp, host, …}`; raises `ConfigurationError` naming the repository and the option."""
    where = f"repository {name!r}"
    for key in _SECRETS:
        if key in spec:
            raise ConfigurationError(
                f"{key} would put a secret into inventories, facts and logs",
                where,
                "Let the account in by an SSH key without a passphrase, in a file of mode 0600, and name that by identity_file.",
            )
    options.unknown_keys(spec, (*_KNOWN, *terms.KEYS), where)
    known_hosts_file, host_keys = _file(spec, "known_hosts_file", where), _host_keys(spec, where)
    if (known_hosts_file is None) == (not host_keys):
        raise ConfigurationError(
            "one of host_key and known_hosts_file has to say which server is the right one" if not host_keys
            else "host_key and known_hosts_file exclude each other",
            where,
            "No host is trusted because it was the first to answer: give its public key as host_key, or a file of them.",
        )  # fmt: skip
    identity_file = _file(spec, "identity_file", where)
    if identity_file is None:
        raise ConfigurationError("identity_file is required", where, "Name the private key that lets this repository's account in.")
    return SftpOptions(
        name=name,
        host=_host(options.text(spec, "host", where), where),
        port=options.integer(spec, "port", where, 22, minimum=1, maximum=65535),
        user=_user(options.text(spec, "user", where), where),
        path=_directory(options.text(spec, "path", where), where),
        identity_file=identity_file,
        known_hosts_file=known_hosts_file,
        host_keys=host_keys,
        connect_timeout_seconds=options.duration_seconds(spec, "connect_timeout", where, 10.0, minimum=0.1),
        read_timeout_seconds=options.duration_seconds(spec, "read_timeout", where, 60.0, minimum=0.1),
    )


def check_files(given: SftpOptions) -> None:
    """Whether the files that the options name can be used by this user; raises `ConfigurationError`."""
    where = f"repository {given.name!r}"
    for option, path in (("identity_file", given.identity_file), ("known_hosts_file", given.known_hosts_file)):
        if path is None:
            continue
        try:
            with open(path, "rb") as stream:
                content, mode = stream.read(64 * 1024), os.fstat(stream.fileno()).st_mode
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno else "unreadable"
            raise ConfigurationError(f"{option} {path}: {reason}", where, "The user that runs this job must be able to read it.") from None
        if option == "identity_file":
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigurationError(f"identity_file {path} is open to other users", where, f"Run: chmod 0600 {path}")
            if b"PRIVATE KEY-----" not in content:
                raise ConfigurationError(f"identity_file {path} holds no private key", where, "Name the key itself, not its .pub.")
            if b"ENCRYPTED" in content or _has_passphrase(content):
                next_step = "Nobody is there to type it at night: make a key of its own without one (ssh-keygen -t ed25519 -N '')."
                raise ConfigurationError(f"identity_file {path} has a passphrase", where, next_step)


def ssh_arguments(given: SftpOptions, program: str, known_hosts: str) -> list[str]:
    """`ssh` as a pipe to the server's SFTP; `known_hosts` is the only source of host keys, and it is never written.

    Nothing of anybody's ssh_config takes part, no other key, no forwarding, no question.
    """
    settings = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": _quoted(known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "IdentityFile": _quoted(given.identity_file),
        "PreferredAuthentications": "publickey",
        "ClearAllForwardings": "yes",
        "ControlPath": "none",
        "ConnectTimeout": str(max(1, round(given.connect_timeout_seconds))),
        "ConnectionAttempts": "1",
        # Also when this process is gone, a connection into a black hole ends.
        "ServerAliveInterval": str(max(1, round(given.read_timeout_seconds))),
        "ServerAliveCountMax": "2",
        "LogLevel": "ERROR",
        **({"HostKeyAlias": PINNED} if given.host_keys else {}),
    }
    words = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    return [program, "-F", "none", "-T", "-x", "-a", *words, "-p", str(given.port), "-l", given.user, "-s", "--", given.host, "sftp"]


def _quoted(path: str) -> str:
    """ssh splits at blanks and expands % and ${…} in a path."""
    return '"' + path.replace("%", "%%") + '"'


def _file(spec: Mapping[str, Any], key: str, where: str) -> str | None:
    path: str | None = options.text(spec, key, where, None)
    if path is None:
        return None
    if not os.path.isabs(path):
        raise ConfigurationError(f"{key} {path!r} is not absolute", where, "Give the whole path, from the leading slash on.")
    if '"' in path or "$" in path or "\\" in path:
        raise ConfigurationError(
            f"{key} {path!r} holds a quote, a backslash or a dollar sign", where, "ssh cannot take it: use another name."
        )
    return path


def _host(host: str, where: str) -> str:
    if "@" in host or "//" in host:
        raise ConfigurationError(f"host {host!r} is more than a host", where, "Give user, port and path as options of their own.")
    if re.fullmatch(r"[^:\[\]]+:[0-9]+", host):
        raise ConfigurationError(f"host {host!r} holds a port", where, "Give it as the option port.")
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,253}|\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._-]+)?\]?", host) is None:
        raise ConfigurationError(f"host {host!r} is not a host's name or address", where, "It looks like vault.example.net or 10.0.0.5.")
    return host.strip("[]")


def _user(user: str, where: str) -> str:
    # ssh hands it on as it is; a leading dash would be an option.
    if not user.isprintable() or user.startswith("-") or any(character in user for character in " \t\"'`;&<>|(){}$\\"):
        raise ConfigurationError(f"user {user!r} is not a user's name", where)
    return user


def _directory(path: str, where: str) -> str:
    if not posixpath.isabs(path):
        raise ConfigurationError(
            f"path {path!r} is not absolute",
            where,
            "Give the whole path as the server shows it to this account, from the leading slash on.",
        )
    if not path.isprintable() or ".." in path.split("/"):
        raise ConfigurationError(f"path {path!r} holds '..' or a control character", where, "Name the directory itself.")
    normal = posixpath.normpath(path)
    return normal[1:] if normal.startswith("//") else normal


def _host_keys(spec: Mapping[str, Any], where: str) -> tuple[str, ...]:
    lines: Sequence[str] = options.texts(spec, "host_key", where, ())
    return tuple(_host_key(line, where) for line in lines)


def _host_key(line: str, where: str) -> str:
    """`ssh-ed25519 AAAA… comment`, as the server's own .pub file and ssh-keyscan show it, the latter behind the host's name."""
    words = line.split()
    hint = "It is a line of the server's /etc/ssh/ssh_host_ed25519_key.pub: ssh-ed25519 AAAA…"
    if line.startswith("SHA256:"):
        raise ConfigurationError("host_key is a fingerprint, the key itself is needed", where, hint)
    for kind, blob in zip(words, words[1:]):
        try:
            raw = base64.b64decode(blob, validate=True)
        except (binascii.Error, ValueError):
            continue
        name = kind.encode()
        if raw[:4] == len(name).to_bytes(4, "big") and raw[4 : 4 + len(name)] == name and len(raw) > 4 + len(name):
            return f"{kind} {blob}"
    raise ConfigurationError("host_key is not the public key of a host", where, hint)


def _has_passphrase(content: bytes) -> bool:
    """The format of OpenSSH begins with the cipher's name; "none" is none."""
    lines = content.split(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    if len(lines) < 2:
        return False
    try:
        head = base64.b64decode(b"".join(lines[1].split()[:1])[:64])
    except (binascii.Error, ValueError):
        return False
    return head.startswith(b"openssh-key-v1\0") and not head[15:].startswith(b"\0\0\0\x04none")
