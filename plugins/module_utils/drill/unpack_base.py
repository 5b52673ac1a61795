# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's files out of the tar of a base backup, as the bytes come, and nothing outside of the directory that they belong into.

A tar can name any path, hold links and devices, and say one size and bring another. So it is not extracted by a program but read
here: directories and regular files only, each once, below one directory, never more bytes than were announced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.tar_walk import TarWalk
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.reserve import reserve
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError, PipelineError

__all__ = ["BaseUnpacker"]

_RESERVED_FROM = 1024 * 1024
"""From this size on a file's room on the disk is taken before its bytes come."""
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)


class BaseUnpacker(TarWalk):
    """Writes what the tar holds into `directory`, which exists and is empty. Close it, however it ended.

    `owner` (user and group id) gets every file, where it is given (needs root). `size_bytes` is what came; more than `limit_bytes` is
    refused. Raises `IntegrityError` that names what is wrong, `PipelineError` for a full disk.
    """

    def __init__(self, directory: Path, limit_bytes: int, where: str, owner: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.names: set[str] = set()
        """The top level of it."""
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._where = where
        self._owner = owner
        self._made: set[str] = set()
        self._file = -1

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        if self.size_bytes + len(data) > self._limit_bytes:
            raise self._too_large()
        super().feed(data)

    def begin(self, member: tarfile.TarInfo) -> None:
        name = member.name.rstrip("/")
        parts = name.removeprefix("./").split("/")  # the server itself writes ./pg_wal/archive_status
        if any(part in ("", ".", "..") for part in parts) or "\0" in name:
            raise self.wrong(f"{member.name!r} in it is no path below the server's directory")
        self.names.add(parts[0])
        with self._faults():
            if member.type == tarfile.DIRTYPE:
                self._make("/".join(parts), member.mode)
            elif member.type in _REGULAR:
                if len(parts) > 1:
                    self._make("/".join(parts[:-1]), 0o700)
                self._create("/".join(parts), member)
            else:
                raise self.wrong(f"{member.name!r} in it is neither a file nor a directory")

    def piece(self, data: memoryview) -> None:
        with self._faults():
            while data:
                data = data[os.write(self._file, data) :]

    def end(self) -> None:
        with self._faults():
            self.close()

    def close(self) -> None:
        """The file that is being written, if any."""
        descriptor, self._file = self._file, -1
        if descriptor >= 0:
            os.close(descriptor)

    def wrong(self, what: str) -> IntegrityError:
        return IntegrityError(f"the opened backup is not what pg_basebackup wrote: {what}", self._where)

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ELOOP, errno.ENOTDIR, errno.EISDIR):
                raise self.wrong(f"it holds {self._name!r} twice") from None
            raise PipelineError(f"the opened backup cannot be written: {error.strerror}", self._name) from None

    def _make(self, name: str, mode: int) -> None:
        if name in self._made:
            return
        parent = name.rpartition("/")[0]
        if parent:
            self._make(parent, 0o700)
        path = self._directory / name
        path.mkdir(mode=0o700)
        if self._owner is not None:
            os.chown(path, *self._owner, follow_symlinks=False)
        if mode & 0o050:
            path.chmod(0o700 | mode & 0o050)
        self._made.add(name)

    def _create(self, name: str, member: tarfile.TarInfo) -> None:
        if self.size_bytes + member.size > self._limit_bytes:
            raise self._too_large()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self._directory / name, flags, 0o600)
        if self._owner is not None:
            os.fchown(self._file, *self._owner)
        if member.mode & 0o040:
            os.fchmod(self._file, 0o640)
        if member.size >= _RESERVED_FROM:
            reserve(self._file, member.size)

    def _too_large(self) -> IntegrityError:
        return self.wrong(f"it holds more than {self._limit_bytes} bytes, which is what the manifest says")
