# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's files out of the tar of a base backup, as the bytes come, and nothing outside of the directory that they belong into.

A tar can name any path, hold links and devices, and say one size and bring another. So it is not extracted by a program but read
here: directories and regular files only, each once, below one directory, never more bytes than were announced.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import tarfile
from pathlib import Path
from typing import BinaryIO

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.base_tar import BLOCK, padding
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError, PipelineError
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import CHUNK_BYTES, FunctionStage

__all__ = ["BaseUnpacker"]

_RESERVED_FROM = 1024 * 1024
"""From this size on a file's room on the disk is taken before its bytes come."""
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)


class BaseUnpacker(FunctionStage):
    """The last stage of a stream: writes what the tar holds into `directory`, which exists and is empty.

    `owner` (user and group id) gets every file, where it is given (needs root). `size_bytes` is what came; more than `limit_bytes` is
    refused. Raises `IntegrityError` that names what is wrong, `PipelineError` for a full disk.
    """

    def __init__(self, directory: Path, limit_bytes: int, where: str, owner: tuple[int, int] | None = None) -> None:
        super().__init__("unpacking the base backup", self._unpack)
        self.size_bytes = 0
        self.names: set[str] = set()
        """The top level of it."""
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._where = where
        self._owner = owner
        self._made: set[str] = set()
        self._splices = hasattr(os, "splice")

    def _unpack(self, source: BinaryIO, _target: BinaryIO) -> None:
        reader, ended = source.fileno(), False
        while header := self._read(reader, BLOCK):
            if not any(header):
                ended = True  # the end is two empty blocks, and whatever padding follows is empty, too
                continue
            if ended:
                raise self._wrong("something follows its end")
            self._member(header, reader)
        if not ended:
            raise self._wrong("it ends early")

    def _member(self, header: bytes, reader: int) -> None:
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise self._wrong(f"a header in it is damaged: {error}") from None
        name = member.name.rstrip("/")
        parts = name.removeprefix("./").split("/")  # the server itself writes ./pg_wal/archive_status
        if any(part in ("", ".", "..") for part in parts) or "\0" in name:
            raise self._wrong(f"{member.name!r} in it is no path below the server's directory")
        self.names.add(parts[0])
        try:
            if member.type == tarfile.DIRTYPE:
                self._make("/".join(parts), member.mode)
            elif member.type in _REGULAR:
                if len(parts) > 1:
                    self._make("/".join(parts[:-1]), 0o700)
                self._file("/".join(parts), member, reader)
            else:
                raise self._wrong(f"{member.name!r} in it is neither a file nor a directory")
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ELOOP, errno.ENOTDIR, errno.EISDIR):
                raise self._wrong(f"it holds {member.name!r} twice") from None
            raise PipelineError(f"the opened backup cannot be written: {error.strerror}", member.name) from None

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

    def _file(self, name: str, member: tarfile.TarInfo, reader: int) -> None:
        if member.size < 0 or self.size_bytes + member.size > self._limit_bytes:
            raise self._wrong(f"it holds more than {self._limit_bytes} bytes, which is what the manifest says")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._directory / name, flags, 0o600)
        try:
            if self._owner is not None:
                os.fchown(descriptor, *self._owner)
            if member.mode & 0o040:
                os.fchmod(descriptor, 0o640)
            if member.size >= _RESERVED_FROM:
                _reserve(descriptor, member.size)
            self._move(reader, descriptor, member.size, name)
        finally:
            os.close(descriptor)
        if padding(member.size):
            self._read(reader, padding(member.size))

    def _move(self, reader: int, descriptor: int, left: int, name: str) -> None:
        """So many bytes into the file, inside the kernel where it can (splice(2), Linux, Python 3.10 and newer)."""
        while left:
            moved = 0
            if self._splices:
                try:
                    moved = os.splice(reader, descriptor, min(left, CHUNK_BYTES))  # type: ignore[attr-defined,unused-ignore]
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    self._splices = False  # this file system takes no pipes
                    continue
            else:
                piece = memoryview(os.read(reader, min(left, CHUNK_BYTES)))
                moved = len(piece)
                while piece:
                    piece = piece[os.write(descriptor, piece) :]
            if not moved:
                raise self._wrong(f"it ends within {name!r}")
            self.size_bytes += moved
            left -= moved

    def _read(self, reader: int, count: int) -> bytes:
        data = os.read(reader, count)
        while 0 < len(data) < count and (more := os.read(reader, count - len(data))):
            data += more
        if data and len(data) < count:
            raise self._wrong("it ends within a block")
        self.size_bytes += len(data)
        if self.size_bytes > self._limit_bytes:
            raise self._wrong(f"it holds more than {self._limit_bytes} bytes, which is what the manifest says")
        return data

    def _wrong(self, what: str) -> IntegrityError:
        return IntegrityError(f"the opened backup is not what pg_basebackup wrote: {what}", self._where)


def _reserve(descriptor: int, size_bytes: int) -> None:
    """Take the room of a file at once, which halves what writing it costs the kernel, and shows a full disk early.

    fallocate(2) itself: where a file system has none, Python's posix_fallocate writes all of it. Raises `OSError` for a full disk only.
    """
    if not sys.platform.startswith("linux"):
        return
    call = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if call is None:
        return
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if call(descriptor, 0, 0, size_bytes) and ctypes.get_errno() == errno.ENOSPC:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
