# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where in a streamed archive the rows of each table begin, written into its table of contents after the fact.

pg_dump cannot go back in a pipe, so its table of contents comes first and does not say where anything is; every worker of a
parallel pg_restore then walks over the rows of all tables to find its own (docs/postgres-notes.md#no-offsets). Once the archive
is a file, the places can be found and entered: byte for byte what pg_dump itself writes into a file.

Only what is certain is entered. pg_restore looks at the number of a block before it reads from it, so that a wrong place would
be an error and never other rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

__all__ = ["enter_offsets"]

_MAGIC = b"PGDMP"
_VERSIONS = {(1, 14), (1, 15), (1, 16)}
"""Of archives, as PostgreSQL 14 to 18 write them (K_VERS_* in src/bin/pg_dump/pg_backup_archiver.h)."""
_CUSTOM = 1
_NOT_SET, _SET = 1, 2
"""What the table of contents says of a place (K_OFFSET_POS_NOT_SET, K_OFFSET_POS_SET)."""
_BLOCK_OF_ROWS = 1
_TOC_LIMIT_BYTES = 1 << 30
_PIECE_BYTES = 256 * 1024
"""Small enough to be in the processor's own memory still when it is looked through."""


@dataclass(frozen=True)
class _Missing:
    """An entry whose place is not known: its number, what it is, and where in the file its place is to be written."""

    dump_id: int
    kind: str
    field: int


def enter_offsets(path: Path) -> int:
    """Enter the places that the table of contents of a custom-format archive leaves open; returns how many were found.

    What this version cannot read is left as it is, and 0 returned: pg_restore finds its way without them, only slower.
    Raises `OSError`.
    """
    with open(path, "r+b") as file:
        try:
            toc = _Toc(file)
            missing = list(toc.missing())
        except _Unknown:
            return 0
        found = list(_places(file, file.tell(), missing, toc.int_bytes))
        for entry, place in found:
            # Not through `file`, whose buffer knows nothing of the reading past it.
            os.pwrite(file.fileno(), bytes([_SET]) + place.to_bytes(toc.offset_bytes, "little"), entry.field)
    return len(found)


class _Unknown(Exception):
    """Not an archive that can be read here."""


class _Toc:
    """Reads the head and the table of contents (ReadHead and ReadToc in pg_backup_archiver.c)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        if self._bytes(len(_MAGIC)) != _MAGIC:
            raise _Unknown
        major, self._minor, _revision, self.int_bytes, self.offset_bytes, kind = self._bytes(6)
        if (major, self._minor) not in _VERSIONS or kind != _CUSTOM or self.int_bytes != 4 or self.offset_bytes != 8:
            raise _Unknown
        # What was compressed may hold any bytes, and then a place cannot be told.
        compression = self._bytes(1)[0] if self._minor >= 15 else self._int()
        if compression != 0:
            raise _Unknown
        for _part_of_the_moment in range(7):
            self._int()
        for _name_and_versions in range(3):
            self._text()

    def missing(self) -> Iterator[_Missing]:
        """The entries with data whose place is not known, in the order of the archive; then the file stands at the first block."""
        for _number in range(self._int()):
            dump_id = self._int()
            self._int()  # whether it has data
            for _catalog_id_and_tag in range(3):
                self._text()
            kind = self._text().decode("utf-8", "replace")
            self._int()  # section
            for _definition in range(6):  # create, drop, copy, schema, tablespace, access method
                self._text()
            if self._minor >= 16:
                self._int()  # kind of relation
            for _owner_and_oids in range(2):
                self._text()
            while self._text(ends=True):
                pass  # what it depends on
            field = self._file.tell()
            if self._bytes(1 + self.offset_bytes)[0] == _NOT_SET:
                yield _Missing(dump_id, kind, field)

    def _int(self) -> int:
        data = self._bytes(1 + self.int_bytes)
        value = int.from_bytes(data[1:], "little")
        return -value if data[0] else value

    def _text(self, ends: bool = False) -> bytes:
        """A string; one that is not there is empty. In a list (`ends`) that is its end."""
        length = self._int()
        data = self._bytes(length) if length > 0 else b""
        return data or (b"" if length < 0 or not ends else b"?")

    def _bytes(self, count: int) -> bytes:
        data = self._file.read(count) if count <= _TOC_LIMIT_BYTES else b""
        if len(data) < count:
            raise _Unknown
        return data


def _places(file: BinaryIO, start: int, missing: Sequence[_Missing], int_bytes: int) -> Iterator[tuple[_Missing, int]]:
    """The block of each table, in the order in which they lie there, up to the first that cannot be told for certain.

    Rows as text hold no zero byte, and a piece of them is never empty: so the number zero in front of a block, which ends the one
    before, is nowhere else. Large objects hold any bytes; they come last.
    """
    end_of_block = bytes(1 + int_bytes)
    search = _Search(file, start)
    for number, entry in enumerate(missing):
        if entry.kind != "TABLE DATA":
            return
        head = bytes([_BLOCK_OF_ROWS, 0]) + entry.dump_id.to_bytes(int_bytes, "little")
        place = search.at_start(head) if number == 0 else search.next(end_of_block + head)
        if place < 0:
            return
        yield entry, place if number == 0 else place + len(end_of_block)


class _Search:
    """Finds byte strings in a file, one after the other, in one pass and with one copy."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file = file
        self._buffer = bytearray(_PIECE_BYTES)
        self._filled = 0
        self._from = 0
        self._position = start  # of the buffer's first byte
        os.lseek(file.fileno(), start, os.SEEK_SET)  # past the buffer of `file`, which is not read from any more

    def at_start(self, sought: bytes) -> int:
        self._more(0)
        return self._position if self._buffer.startswith(sought) and len(sought) <= self._filled else -1

    def next(self, sought: bytes) -> int:
        """Where it is from here on, -1 when it is not there any more."""
        while True:
            found = self._buffer.find(sought, self._from, self._filled)
            if found >= 0:
                self._from = found + len(sought)
                return self._position + found
            if not self._more(max(self._from, self._filled - len(sought) + 1)):
                return -1

    def _more(self, start: int) -> bool:
        """Read on; what lies before `start` is needed no more. False at the end."""
        rest = self._filled - start
        self._buffer[:rest] = self._buffer[start : self._filled]
        with memoryview(self._buffer) as view:
            count = os.readv(self._file.fileno(), [view[rest:]])
        self._position, self._from, self._filled = self._position + start, 0, rest + count
        return count > 0
