# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A base backup's tar while it goes by: its members are counted, the few that say what it is are caught, nothing is held.

Headers pass through our hands, the rest from one pipe into the next inside the kernel. So memory does not grow with the
backup, and the price is a few calls per file.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Mapping
from typing import BinaryIO

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import BackupGuardError
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import CHUNK_BYTES, FunctionStage

__all__ = ["BLOCK", "CONTROL", "LABEL", "MANIFEST", "TABLESPACES", "BaseTar", "padding"]

BLOCK = 512
LABEL, MANIFEST, TABLESPACES, CONTROL = "backup_label", "backup_manifest", "tablespace_map", "global/pg_control"

_KNOWN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE)
_INCREMENTAL = "INCREMENTAL."


class BaseTar(FunctionStage):
    """Passes a tar on as it is. `caught` are called with the bytes of the members of these names, piece by piece.

    `seen` is called with the name of each member when it begins. Afterwards: `size_bytes` of the tar, `file_bytes` and `files`
    of what it holds, how many of them are `incremental`. Raises `BackupGuardError` for a stream that is no whole tar.
    """

    def __init__(self, caught: Mapping[str, Callable[[bytes], object]], seen: Callable[[str], None] = lambda name: None) -> None:
        super().__init__("tar of the base backup", self._follow)
        self._caught = caught
        self._seen = seen
        self.size_bytes = self.file_bytes = self.files = self.incremental = 0

    def _follow(self, source: BinaryIO, target: BinaryIO) -> None:
        reader, writer = source.fileno(), target.fileno()  # past their buffers, which would take what is to be moved
        ended = False
        while True:
            header = self._read(reader, BLOCK)
            if not header:
                break
            if len(header) < BLOCK:
                raise _wrong("it ends within a header")
            _write(writer, header)
            if not any(header):
                ended = True  # the end is two empty blocks, and whatever padding follows is empty, too
                continue
            if ended:
                raise _wrong("something follows its end")
            self._member(header, reader, writer)
        if not ended:
            raise _wrong("it ends early")

    def _member(self, header: bytes, reader: int, writer: int) -> None:
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise _wrong(f"a header in it is damaged: {error}") from None
        if member.type not in _KNOWN:
            raise _wrong(f"{member.name!r} in it is of kind {member.type!r}")
        self._seen(member.name)
        size_bytes = member.size if member.isreg() else 0
        if member.isreg():
            self.files += 1
            self.file_bytes += size_bytes
            self.incremental += member.name.rpartition("/")[2].startswith(_INCREMENTAL)
        catch, left = self._caught.get(member.name), size_bytes
        while catch is not None and left:
            piece = self._read(reader, min(left, CHUNK_BYTES))
            if not piece:
                raise _wrong(f"it ends within {member.name!r}")
            catch(piece)
            _write(writer, piece)
            left -= len(piece)
        self._move(reader, writer, left + padding(size_bytes), member.name)

    def _move(self, reader: int, writer: int, left: int, name: str) -> None:
        """So many bytes from pipe to pipe, inside the kernel where it can (splice(2), Linux, Python 3.10 and newer)."""
        splice = getattr(os, "splice", None)
        while left:
            if splice is not None:
                moved = splice(reader, writer, min(left, CHUNK_BYTES))
            else:
                piece = os.read(reader, min(left, CHUNK_BYTES))
                _write(writer, piece)
                moved = len(piece)
            if not moved:
                raise _wrong(f"it ends within {name!r}")
            self.size_bytes += moved
            left -= moved

    def _read(self, reader: int, count: int) -> bytes:
        """So many bytes, fewer only at the end of the stream."""
        data = os.read(reader, count)
        while 0 < len(data) < count and (more := os.read(reader, count - len(data))):
            data += more
        self.size_bytes += len(data)
        return data


def padding(size_bytes: int) -> int:
    """What fills the last block of a member."""
    return -size_bytes % BLOCK


def _write(writer: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(writer, view) :]


def _wrong(what: str) -> BackupGuardError:
    return BackupGuardError(f"what pg_basebackup wrote is not a whole tar: {what}", "base backup", "Nothing was kept; run again.")
