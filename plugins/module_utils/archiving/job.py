# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What archiving was asked to be: options read strictly, before anything runs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.naive import why_naive
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.login import read_login
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import DEFAULT_FILE
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.launchers import PUSH

__all__ = ["AUTO", "DEFAULT_LAUNCHER", "METHODS", "OURS", "PLACES", "SLOTS", "ArchivingJob"]

METHODS = ("native", "directory", "receive", "spool", "rclone", "pgbackrest", "wal-g", "barman", "command")
OURS = ("native", "receive", "spool")
"""Those whose WAL ends up in our repositories."""
PLACES = ("system", "file", "flags")
AUTO = "auto"
DEFAULT_LAUNCHER = f"/opt/lifeboat/bin/{PUSH}"

SLOTS = ("lifeboat_receive", "lifeboat_archived")
"""As `lifeboat wal receive` calls them when it is told nothing else (docs/receive.md)."""

_WHERE = "wal_archive_config"
_NEEDED = {
    "directory": ("directory",),
    "spool": ("directory",),
    "rclone": ("remote",),
    "pgbackrest": ("stanza",),
    "barman": ("barman_server",),
    "command": ("command",),
}


@dataclass(frozen=True)
class ArchivingJob:
    """Empty texts and None stand for what was not asked. Durations are seconds. `rehearsed`: in check mode."""

    login: Login
    method: str = ""
    launcher: str = DEFAULT_LAUNCHER
    directory: str = ""
    slots: Sequence[str] = SLOTS
    remote: str = ""
    stanza: str = ""
    barman_server: str = ""
    barman_host: str = ""
    barman_url: str = ""
    barman_endpoint: str = ""
    command: str = ""
    program: str = ""
    config_file: str = ""
    archive_mode: str = ""
    archive_library: str = ""
    archive_timeout: str = ""
    restore_command: str = ""
    wal_level: str = ""
    max_wal_senders: int | None = None
    summarize_wal: bool | None = None
    place: str = "system"
    path: str = ""
    server_path: str = ""
    reload: bool = True
    restart: bool = False
    restart_command: Sequence[str] = ()
    restart_timeout_seconds: float = 120.0
    verify: bool = False
    verify_timeout_seconds: float = 60.0
    verify_command: Sequence[str] = ()
    job_file: Path = DEFAULT_FILE
    system: str = ""
    repositories: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rehearsed: bool = False

    @classmethod
    def from_options(cls, given: Mapping[str, Any], rehearsed: bool = False) -> ArchivingJob:
        """Read a module's parameters; raises `ConfigurationError`, `SealError`."""
        words = {name: _line(given, name) for name in _TEXTS}
        library = words["archive_library"]
        method: str = options.choice(given, "method", _WHERE, METHODS, "")
        if method and library:
            raise ConfigurationError("method and archive_library are both given", _WHERE, "One of the two archives; give that one.")
        for name in _NEEDED.get(method, ()):
            if not words[name]:
                raise ConfigurationError(f"method {method} needs {name}", _WHERE)
        if words["command"]:
            _check_command(words["command"], method)
        _check_restore(words["restore_command"], method)
        for slot in options.texts(given, "slots", _WHERE, ()):
            if not re.fullmatch(r"[a-z0-9_]{1,63}", slot):
                raise ConfigurationError(f"{slot!r} is no name of a slot", "slots", "Lower-case letters, digits and _, 63 at most.")
        repositories = options.mapping(given, "repositories", _WHERE, {})
        for name, spec in repositories.items():
            validate(name, spec)
        if repositories and not words["system"]:
            raise ConfigurationError("repositories without system", _WHERE, "Say whose WAL lies there, as system.")
        job = cls(
            login=read_login(given, default_db="postgres"),
            method=method,
            **{**words, "launcher": words["launcher"] or DEFAULT_LAUNCHER},
            slots=tuple(dict.fromkeys(options.texts(given, "slots", _WHERE, ()))) or SLOTS,
            archive_mode=options.choice(given, "archive_mode", _WHERE, ("on", "always", "off"), ""),
            wal_level=options.choice(given, "wal_level", _WHERE, ("replica", "logical"), ""),
            max_wal_senders=options.integer(given, "max_wal_senders", _WHERE, None, minimum=0, maximum=262143),
            summarize_wal=options.boolean(given, "summarize_wal", _WHERE, None),
            place=options.choice(given, "place", _WHERE, PLACES, "system"),
            reload=options.boolean(given, "reload", _WHERE, True),
            restart=options.boolean(given, "restart", _WHERE, False),
            restart_command=options.texts(given, "restart_command", _WHERE, ()),
            restart_timeout_seconds=options.duration_seconds(given, "restart_timeout", _WHERE, 120.0, minimum=1),
            verify=options.boolean(given, "verify", _WHERE, False),
            verify_timeout_seconds=options.duration_seconds(given, "verify_timeout", _WHERE, 60.0, minimum=1),
            verify_command=options.texts(given, "verify_command", _WHERE, ()),
            job_file=Path(options.text(given, "job_file", _WHERE, str(DEFAULT_FILE))).expanduser(),
            repositories=repositories,
            rehearsed=rehearsed,
        )
        job._check()
        return job

    @property
    def archives(self) -> bool:
        """Whether the server is to run an archiver."""
        return (bool(self.method) and self.method != "receive") or bool(self.archive_library)

    def _check(self) -> None:
        for name in ("path", "server_path", "launcher", "directory", "config_file"):
            value = getattr(self, name)
            if value and not os.path.isabs(value):
                raise ConfigurationError(f"{name}: expected an absolute path, found {value!r}", _WHERE)
        if self.place != "file" and (self.path or self.server_path):
            raise ConfigurationError("path is for place: file", _WHERE, "Give place: file, or leave out path and server_path.")
        if self.server_path and not self.path:
            raise ConfigurationError("server_path without path", _WHERE, "Give path too: the file as this host sees it.")
        if self.restart and self.place == "flags":
            raise ConfigurationError(
                "restart: true with place: flags", _WHERE, "The flags have to be put in place first: nothing is changed."
            )
        if self.restart and not self.reload:
            raise ConfigurationError("restart: true with reload: false", _WHERE, "A restart reads the files, too.")
        if self.restart_command and not self.restart:
            raise ConfigurationError(
                "restart_command without restart: true", _WHERE, "The server is restarted only when that is asked for."
            )
        if self.barman_endpoint and not self.barman_url:
            raise ConfigurationError("barman_endpoint without barman_url", _WHERE, "An endpoint is where a bucket's store answers.")
        if self.verify and not (self.archives or self.method == "receive"):
            raise ConfigurationError("verify without a method", _WHERE, "Say how WAL is archived, as method.")


_TEXTS = (
    "launcher", "directory", "remote", "stanza", "barman_server", "barman_host", "barman_url", "barman_endpoint", "command", "program",
    "config_file", "archive_library", "archive_timeout", "restore_command", "path", "server_path", "system",
)  # fmt: skip


def _line(given: Mapping[str, Any], name: str) -> str:
    """Text of one line: neither ALTER SYSTEM nor a configuration file takes another."""
    value: str = options.text(given, name, _WHERE, "")
    if "\n" in value or "\r" in value:
        raise ConfigurationError(f"{name} has more than one line", _WHERE, "Write it on one, or put it into a script.")
    return value


def _check_command(command: str, method: str) -> None:
    if method != "command":
        raise ConfigurationError("command is for method: command", _WHERE, "Leave it out: the method brings its own.")
    reason = why_naive(command)
    if reason:
        raise ConfigurationError(
            f"this archive_command loses WAL: {reason}",
            "command",
            "Status 0 must mean durably archived, and another content of the same name must stay. Take another method.",
        )


def _check_restore(command: str, method: str) -> None:
    if not command:
        return
    if command == AUTO:
        if method in ("", "spool", "command"):
            raise ConfigurationError("restore_command: auto has no method that brings one", _WHERE, "Write the command.")
    elif "%f" not in command or "%p" not in command:
        what = "restore_command has to name %f, the file that is wanted, and %p, where to put it"
        raise ConfigurationError(what, "restore_command")
