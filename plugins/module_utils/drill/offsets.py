# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where in a streamed archive the rows of each table begin, written into its table of contents after the fact.

pg_dump cannot go back in a pipe, so its table of contents comes first and does not say where anything is; every worker of a
parallel pg_restore then walks over the rows of all tables to find its own (docs/postgres-notes.md#no-offsets). On its way into a
file the places can be found, and entered when all of it is there: byte for byte what pg_dump itself writes into a file.

Only what is certain is entered. pg_restore looks at the number of a block before it reads from it, so that a wrong place would
be an error and never other rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Offsets"]

_MAGIC = b"PGDMP"
_VERSIONS = {(1, 14), (1, 15), (1, 16)}
"""Of archives, as PostgreSQL 14 to 18 write them (K_VERS_* in src/bin/pg_dump/pg_backup_archiver.h)."""
_CUSTOM = 1
_NOT_SET, _SET = 1, 2
"""What the table of contents says of a place (K_OFFSET_POS_NOT_SET, K_OFFSET_POS_SET)."""
_BLOCK_OF_ROWS = 1
_INT_BYTES, _OFFSET_BYTES = 4, 8
_END_OF_BLOCK = bytes(1 + _INT_BYTES)
_TOC_LIMIT_BYTES = 64 * 1024 * 1024
"""It is kept in memory until all of it is there."""
_PIECE_BYTES = 256 * 1024
"""Small enough to be in the processor's own memory still when it is looked through."""


@dataclass(frozen=True)
class _Missing:
    """An entry whose place is not known: its number, what it is, and where in the file its place is to be written."""

    dump_id: int
    kind: str
    field: int


class Offsets:
    """Looks at a custom-format archive on its way into a file (`feed`), and completes its table of contents there (`enter`).

    What this version cannot read is left as it is: pg_restore finds its way without, only slower.
    """

    def __init__(self) -> None:
        self._head = bytearray()
        self._enough = 1
        self._search: _Search | None = None
        self._unknown = False

    def feed(self, data: memoryview) -> None:
        """The next bytes of the archive; they are needed no longer than the call takes."""
        if self._search is not None:
            self._search.feed(data)
        elif not self._unknown:
            self._head += data
            if len(self._head) >= self._enough:
                self._begin()

    def enter(self, descriptor: int) -> int:
        """Enter the places that were found into the file, of which every byte was fed; returns how many. Raises `OSError`."""
        if self._search is None and not self._unknown:
            self._begin()
        found = [] if self._search is None else self._search.found
        for entry, place in found:
            os.pwrite(descriptor, bytes([_SET]) + place.to_bytes(_OFFSET_BYTES, "little"), entry.field)
        return len(found)

    def _begin(self) -> None:
        """Read the table of contents if all of it is there; what follows it is looked through."""
        toc = _Toc(bytes(self._head))
        try:
            missing = list(toc.missing())
        except _Short:
            # Twice as much before it is read again, so that a long one is not read over and over.
            self._enough = 2 * len(self._head)
            self._unknown = self._enough > _TOC_LIMIT_BYTES
        except _Unknown:
            self._unknown = True
        else:
            self._search = _Search(toc.position, missing)
            self._search.feed(memoryview(self._head)[toc.position :])
        if self._unknown or self._search is not None:
            self._head = bytearray()


class _Unknown(Exception):
    """Not an archive that can be read here."""


class _Short(Exception):
    """There is more of it to come."""


class _Toc:
    """Reads the head and the table of contents (ReadHead and ReadToc in pg_backup_archiver.c)."""

    def __init__(self, data: bytes) -> None:
        self.position = 0
        self._data = data

    def missing(self) -> Iterator[_Missing]:
        """The entries with data whose place is not known, in the order of the archive; then `position` is that of the first block."""
        if self._bytes(len(_MAGIC)) != _MAGIC:
            raise _Unknown
        major, self._minor, _revision, int_bytes, offset_bytes, kind = self._bytes(6)
        if (major, self._minor) not in _VERSIONS or (kind, int_bytes, offset_bytes) != (_CUSTOM, _INT_BYTES, _OFFSET_BYTES):
            raise _Unknown
        # What was compressed may hold any bytes, and then a place cannot be told.
        compression = self._bytes(1)[0] if self._minor >= 15 else self._int()
        if compression != 0:
            raise _Unknown
        for _part_of_the_moment in range(7):
            self._int()
        for _name_and_versions in range(3):
            self._text()
        for _number in range(self._int()):
            dump_id = self._int()
            self._int()  # whether it has data
            for _catalog_id_and_tag in range(3):
                self._text()
            kind_of_entry = self._text().decode("utf-8", "replace")
            self._int()  # section
            for _definition in range(6):  # create, drop, copy, schema, tablespace, access method
                self._text()
            if self._minor >= 16:
                self._int()  # kind of relation
            for _owner_and_oids in range(2):
                self._text()
            while self._text(ends=True):
                pass  # what it depends on
            field = self.position
            if self._bytes(1 + _OFFSET_BYTES)[0] == _NOT_SET:
                yield _Missing(dump_id, kind_of_entry, field)

    def _int(self) -> int:
        data = self._bytes(1 + _INT_BYTES)
        value = int.from_bytes(data[1:], "little")
        return -value if data[0] else value

    def _text(self, ends: bool = False) -> bytes:
        """A string; one that is not there is empty. In a list (`ends`) that is its end."""
        length = self._int()
        data = self._bytes(length) if length > 0 else b""
        return data or (b"" if length < 0 or not ends else b"?")

    def _bytes(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self._data):
            raise _Unknown if count > _TOC_LIMIT_BYTES else _Short
        data, self.position = self._data[self.position : end], end
        return data


class _Search:
    """Finds the block of each table, in the order in which they lie there, up to the first that cannot be told for certain.

    Rows as text hold no zero byte, and a piece of them is never empty: so the number zero in front of a block, which ends the one
    before, is nowhere else. Large objects hold any bytes; they come last.
    """

    def __init__(self, start: int, missing: Sequence[_Missing]) -> None:
        self.found: list[tuple[_Missing, int]] = []
        self._sought = _blocks(missing)
        self._next = next(self._sought, None)
        # As if a block had ended before the first one: it is sought as the others are.
        self._buffer = bytearray(len(_END_OF_BLOCK) + _PIECE_BYTES + 64)
        self._filled = len(_END_OF_BLOCK)
        self._position = start - self._filled  # of the buffer's first byte
        self._start = start

    def feed(self, data: memoryview) -> None:
        for begin in range(0, len(data), _PIECE_BYTES):
            if self._next is None:
                return
            piece = data[begin : begin + _PIECE_BYTES]
            self._buffer[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            self._look()

    def _look(self) -> None:
        """Find what is in the buffer, and keep of it what the next one may begin with."""
        begin = 0
        while self._next is not None:
            entry, sought = self._next
            at = self._buffer.find(sought, begin, self._filled)
            if at < 0:
                begin = max(begin, self._filled - len(sought) + 1)
                break
            place = self._position + at + len(_END_OF_BLOCK)
            if not self.found and place != self._start:
                self._next = None
                return
            self.found.append((entry, place))
            begin = at + len(sought)
            self._next = next(self._sought, None)
        rest = self._filled - begin
        self._buffer[:rest] = self._buffer[begin : self._filled]
        self._position, self._filled = self._position + begin, rest


def _blocks(missing: Sequence[_Missing]) -> Iterator[tuple[_Missing, bytes]]:
    """How the block of each table begins, and how the one before it ends."""
    for entry in missing:
        if entry.kind != "TABLE DATA":
            return
        yield entry, _END_OF_BLOCK + bytes([_BLOCK_OF_ROWS, 0]) + entry.dump_id.to_bytes(_INT_BYTES, "little")
