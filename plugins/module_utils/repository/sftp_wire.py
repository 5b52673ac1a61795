# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of SFTP, version 3 (draft-ietf-secsh-filexfer-02), the one that every server speaks; OpenSSH's own beside them (PROTOCOL).

Pure: bytes in, bytes out.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["Attributes", "Fields", "Kind", "Malformed", "Status", "attributes", "number32", "number64", "packet", "text"]


class Kind:
    """Types of packets."""

    INIT, VERSION = 1, 2
    OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT, OPENDIR, READDIR = 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
    REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME = 13, 14, 15, 16, 17, 18
    STATUS, HANDLE, DATA, NAME, ATTRS = 101, 102, 103, 104, 105
    EXTENDED, EXTENDED_REPLY = 200, 201


class Status:
    """Codes of a STATUS. FAILURE is all that a server says of a full disk, a quota, or a name that is taken."""

    OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, BAD_MESSAGE, OP_UNSUPPORTED = 0, 1, 2, 3, 4, 5, 8


READ, WRITE, CREATE, EXCLUSIVE = 0x1, 0x2, 0x8, 0x20
"""Flags of OPEN."""

_SIZE, _OWNER, _PERMISSIONS, _TIMES, _EXTENDED = 0x1, 0x2, 0x4, 0x8, 0x80000000


class Malformed(Exception):
    """The bytes are not SFTP."""


@dataclass(frozen=True)
class Attributes:
    """What a server says of a file; None for what it does not say."""

    size_bytes: int | None = None
    permissions: int | None = None
    modified: int | None = None


def number32(value: int) -> bytes:
    return struct.pack(">I", value)


def number64(value: int) -> bytes:
    return struct.pack(">Q", value)


def text(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def attributes(permissions: int | None = None, times: tuple[int, int] | None = None) -> bytes:
    """Attributes to set: permissions, or the seconds of last access and modification."""
    if permissions is not None:
        return struct.pack(">II", _PERMISSIONS, permissions)
    return struct.pack(">III", _TIMES, *times) if times is not None else number32(0)


def packet(kind: int, number: int, *parts: bytes) -> bytes:
    """A request; `number` comes back with its answer. The last part may be large, so it is sent apart by the caller."""
    return struct.pack(">IBI", 5 + sum(map(len, parts)), kind, number) + b"".join(parts)


class Fields:
    """Reads the fields of a packet one after the other; raises `Malformed` where it ends too early."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    @property
    def rest(self) -> int:
        return len(self._data) - self._position

    def number32(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def number64(self) -> int:
        return int.from_bytes(self._take(8), "big")

    def text(self) -> bytes:
        return self._take(self.number32())

    def attributes(self) -> Attributes:
        flags = self.number32()
        size = self.number64() if flags & _SIZE else None
        if flags & _OWNER:
            self._take(8)
        permissions = self.number32() if flags & _PERMISSIONS else None
        modified = int.from_bytes(self._take(8)[4:], "big") if flags & _TIMES else None
        for _pair in range(self.number32() if flags & _EXTENDED else 0):
            self.text()
            self.text()
        return Attributes(size, permissions, modified)

    def _take(self, count: int) -> bytes:
        begin, self._position = self._position, self._position + count
        if self._position > len(self._data):
            raise Malformed("a packet ends in the middle of a field")
        return self._data[begin : self._position]
