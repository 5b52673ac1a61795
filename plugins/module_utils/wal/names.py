# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Positions in the write-ahead log, and the names of the files that hold it. Pure.

A name is `<timeline><segment number, in two halves>`, eight hexadecimal digits each; the second half counts segments within
4 GiB of log, so it depends on the size of a segment (src/include/access/xlog_internal.h).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import UnsafeName

__all__ = ["BACKUP", "DEFAULT_SEGMENT_BYTES", "HISTORY", "PARTIAL", "SEGMENT", "Lsn", "WalName", "check_segment_bytes", "segment_name"]

DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024
LOG_BYTES = 1 << 32

SEGMENT, PARTIAL, BACKUP, HISTORY = "segment", "partial", "backup", "history"
"""What the archiver hands over: a segment, the last one of a timeline that was left, a backup's label, a timeline's history."""

_LSN = re.compile(r"^([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})$")
_NAME = re.compile(r"^([0-9A-F]{8})(?:\.(history)|([0-9A-F]{8})([0-9A-F]{8})(?:\.(partial)|\.([0-9A-F]{8})\.backup)?)$")


@dataclass(frozen=True, order=True)
class Lsn:
    """A position: bytes from the beginning of all log. Written as PostgreSQL writes it, `16/B374D848`."""

    value: int

    @classmethod
    def parse(cls, text: str) -> Lsn:
        """Raises `ValueError` for anything that PostgreSQL would not take for an LSN."""
        match = _LSN.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a position in the log; one looks like 16/B374D848")
        return cls(int(match.group(1), 16) << 32 | int(match.group(2), 16))

    def __str__(self) -> str:
        return f"{self.value >> 32:X}/{self.value & 0xFFFFFFFF:X}"

    def segment(self, segment_bytes: int) -> int:
        """The number of the segment that holds the byte at this position."""
        return self.value // segment_bytes

    def segment_before(self, segment_bytes: int) -> int:
        """The number of the segment that holds the byte before it: the last one needed to reach this position."""
        return max(0, self.value - 1) // segment_bytes


@dataclass(frozen=True)
class WalName:
    """A file's name, read. `high` and `low` are the two halves of a segment's number, 0 for a history.

    `offset` is where a backup began within the segment, 0 for the others.
    """

    text: str
    kind: str
    timeline: int
    high: int = 0
    low: int = 0
    offset: int = 0

    @classmethod
    def parse(cls, text: str) -> WalName:
        """Raises `UnsafeName` for anything else than the four kinds of names that an archiver hands over."""
        match = _NAME.fullmatch(text)
        if match is None or int(match.group(1), 16) == 0:
            raise UnsafeName(f"{text!r} is not the name of a WAL file", next_step="The archiver gives it as %f, or at the end of %p.")
        timeline = int(match.group(1), 16)
        if match.group(2):
            return cls(text, HISTORY, timeline)
        kind = PARTIAL if match.group(5) else BACKUP if match.group(6) else SEGMENT
        return cls(text, kind, timeline, int(match.group(3), 16), int(match.group(4), 16), int(match.group(6) or "0", 16))

    def number(self, segment_bytes: int) -> int:
        """The segment's number, counted from 0; raises `UnsafeName` when there is no such one with segments of this size."""
        per_log = LOG_BYTES // segment_bytes
        if self.low >= per_log:
            raise UnsafeName(f"{self.text!r} cannot be the name of a segment of {segment_bytes} bytes")
        return self.high * per_log + self.low


def segment_name(timeline: int, number: int, segment_bytes: int) -> str:
    """The name of a segment.

    >>> segment_name(1, 256, 16 * 1024 * 1024)
    '000000010000000100000000'
    """
    high, low = divmod(number, LOG_BYTES // segment_bytes)
    return f"{timeline:08X}{high:08X}{low:08X}"


def check_segment_bytes(value: int) -> int:
    """The size itself when it is one that initdb takes: a power of two, 1 MiB to 1 GiB; raises `ValueError`."""
    if not 1024 * 1024 <= value <= 1024 * 1024 * 1024 or value & (value - 1):
        raise ValueError(f"{value} bytes is not a size of WAL segments")
    return value
