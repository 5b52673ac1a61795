# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where settings are written: by ALTER SYSTEM, into a file of the configuration, or on the server's command line.

A place knows who has the last word over it, and can put back what was there before it was written.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.conf_file import HEADER, edit, includes
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.plan import Change
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.state import Entry, ServerState
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors, psycopg

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["DEFAULT_NAME", "ConfigurationFile", "Place", "SystemSettings", "find_file", "read_includes"]

DEFAULT_NAME = "lifeboat.conf"


class Place(Protocol):
    """`label` is how messages call it."""

    label: str

    def beaten_by(self, state: ServerState, name: str) -> str:
        """Where a line stands that would win over ours, or ""."""

    def write(self, state: ServerState, changes: Sequence[Change]) -> None:
        """Write; what fails has written nothing. Raises `ConfigurationError`, `DatabaseError`."""

    def put_back(self) -> None:
        """What was there before `write`."""


class SystemSettings:
    """ALTER SYSTEM: postgresql.auto.conf, which is read after every other file."""

    label = "ALTER SYSTEM"

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._undo: list[tuple[str, str | None]] = []

    def beaten_by(self, state: ServerState, name: str) -> str:
        configured = state.configured(name)
        return f"the server's {configured.source}" if configured.outside_files else ""

    def write(self, state: ServerState, changes: Sequence[Change]) -> None:
        own = {entry.name: entry.value for entry in state.entries if entry.file == state.auto_file}
        try:
            for change in changes:
                self._undo.append((change.name, own.get(change.name)))
                self._set(change.name, state.shown(change.name, change.after))
        except BaseException:
            self.put_back()
            raise

    def put_back(self) -> None:
        while self._undo:
            name, value = self._undo.pop()
            self._set(name, value)

    def _set(self, name: str, value: str | None) -> None:
        sql = psycopg().sql
        statement = sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(name))
        if value is not None:
            statement = sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value))
        with database_errors(name, "Where ALTER SYSTEM is not allowed, take place: file."):
            self._connection.execute(statement)


class ConfigurationFile:
    """A file that the server reads. `path` is where it lies for us, `server_path` for the server (inside a container)."""

    def __init__(self, path: Path, server_path: str, like: Path | None = None, read: Mapping[str, ReadAt] | None = None) -> None:
        """`like` is a file whose owner and mode a new one gets: one that the server can read. `read` is what the configuration
        reads in (`read_includes`).
        """
        self.path, self.server_path = path, server_path
        self.label = str(path)
        self._like, self._read = like, read or {}
        self._before: bytes | None = None
        self._written = False

    def beaten_by(self, state: ServerState, name: str) -> str:
        configured = state.configured(name)
        if configured.outside_files:
            return f"the server's {configured.source}"
        entry = configured.entry
        if entry is None or self._is_ours(entry):
            return ""
        ours = [other for other in state.entries if self._is_ours(other)]
        same = [other for other in ours if other.name == name]
        if ours:
            # Our line of this name is changed where it stands; a new one comes to the end of the file.
            seqno = max(other.seqno for other in same or ours)
            return entry.place if entry.seqno > seqno else ""
        return entry.place if self._follows(state, entry) else ""

    def write(self, state: ServerState, changes: Sequence[Change]) -> None:
        values = {change.name: state.shown(change.name, change.after) for change in changes}
        try:
            self._before = self.path.read_bytes() if self.path.exists() else None
            text = HEADER if self._before is None else self._before.decode("utf-8")
            self._replace(edit(text, values).encode())
        except UnicodeDecodeError:
            raise ConfigurationError("the file is not UTF-8 text", str(self.path), "Name another file as path.") from None
        except OSError as error:
            raise ConfigurationError(
                f"the file cannot be written: {error.strerror}", str(self.path), "Look at its directory, or run with become."
            ) from None
        self._written = True

    def put_back(self) -> None:
        if not self._written:
            return
        self._written = False
        if self._before is not None:
            self._replace(self._before)
        else:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()

    def is_read(self, state: ServerState) -> bool:
        """Whether the server finds a line of ours."""
        return any(self._is_ours(entry) for entry in state.entries)

    def _is_ours(self, entry: Entry) -> bool:
        return posixpath.normpath(entry.file) == posixpath.normpath(self.server_path)

    def _follows(self, state: ServerState, entry: Entry) -> bool:
        """Whether the line is read after a file of ours that is not there yet."""
        directory = posixpath.dirname(self.server_path)
        if entry.file == state.auto_file:
            return True
        if posixpath.dirname(entry.file) == directory and entry.file != state.config_file:
            return entry.file > self.server_path  # in the order of their names' bytes
        ours = self._read_at(self.server_path)
        theirs = self._read_at(entry.file)
        if ours is not None and entry.file == ours.file:
            return entry.line > ours.line
        # What is not known beforehand is found out after writing, by asking the server.
        return ours is not None and theirs is not None and ours.file == theirs.file and theirs.line > ours.line

    def _read_at(self, file: str) -> ReadAt | None:
        return self._read.get(file, self._read.get(posixpath.dirname(file)))

    def _replace(self, data: bytes) -> None:
        """Whole or not at all. A name that begins with a dot is never read as configuration."""
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                self._take_after(file.fileno())
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            os.unlink(temporary)
            raise
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _take_after(self, descriptor: int) -> None:
        """Owner and mode of the file itself, or of one that the server reads already."""
        model = self.path if self.path.exists() else self._like
        mode = 0o644
        if model is not None:
            with contextlib.suppress(OSError):
                status = model.stat()
                os.fchown(descriptor, status.st_uid, status.st_gid)
                mode = stat.S_IMODE(status.st_mode)
        os.fchmod(descriptor, mode)


@dataclass(frozen=True)
class ReadAt:
    """The line that reads a file or a directory in."""

    file: str
    line: int
    is_directory: bool


def read_includes(connection: Connection[Any], state: ServerState) -> dict[str, ReadAt]:
    """Directories and files that the configuration reads in, as the server sees them."""
    found: dict[str, ReadAt] = {}
    waiting = list(dict.fromkeys([state.config_file, *(entry.file for entry in state.entries if entry.file)]))
    seen = set(waiting)
    while waiting:
        file = waiting.pop(0)
        if file == state.auto_file:
            continue
        with database_errors(file, "Log in as a superuser."):
            row = connection.execute("SELECT pg_catalog.pg_read_file(%s, 0, 10000000, true)", (file,)).fetchone()
        for include in includes((row[0] if row else "") or ""):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(file), include.target))
            found[target] = ReadAt(file, include.line, include.directive == "include_dir")
            if not found[target].is_directory and target not in seen:
                seen.add(target)
                waiting.append(target)
    return found


def find_file(path: str, server_path: str, state: ServerState, read: Mapping[str, ReadAt]) -> ConfigurationFile:
    """The file to write: the one that was named, else `lifeboat.conf` in a directory that is read in.

    Raises `ConfigurationError` for a file that the server does not read.
    """
    directories = [target for target, at in read.items() if at.is_directory]
    if not path:
        if not directories:
            raise _not_read("no directory of configuration files", state)
        path = posixpath.join(directories[-1], DEFAULT_NAME)
    server_path = posixpath.normpath(server_path or path)
    known = server_path == state.config_file or server_path in read or any(entry.file == server_path for entry in state.entries)
    directory = posixpath.dirname(server_path)
    if not known and (directory not in directories or not server_path.endswith(".conf") or posixpath.basename(server_path).startswith(".")):
        raise _not_read(f"neither {server_path} nor a directory that would take it in", state)
    if not Path(path).parent.is_dir():
        raise ConfigurationError(
            "its directory does not exist", path, "Make it; where the server sees it elsewhere, say so as server_path."
        )
    like = Path(state.config_file)
    here = Path(path) if Path(path).exists() else next((other for other in sorted(Path(path).parent.glob("*.conf"))), None)
    return ConfigurationFile(Path(path), server_path, here or (like if like.exists() else None), read)


def _not_read(what: str, state: ServerState) -> ConfigurationError:
    hint = f"Add include_dir = 'conf.d' to {state.config_file}, or take place: system."
    return ConfigurationError(f"the server reads {what}", "place file", hint)
