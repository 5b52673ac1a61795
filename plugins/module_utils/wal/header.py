# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the first page of a WAL segment says of itself: whose it is, which one, of which major version. Pure.

XLogLongPageHeaderData in src/include/access/xlog_internal.h; written in the byte order of the server's machine.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import BACKUP, HISTORY, Lsn, WalName, check_segment_bytes

__all__ = ["HEADER_BYTES", "WalHeader", "check_header", "read_header"]

HEADER_BYTES = 40

# XLOG_PAGE_MAGIC of each release. It changes with the format of WAL, so two majors never share one.
_MAJORS = {0xD097: 10, 0xD098: 11, 0xD101: 12, 0xD106: 13, 0xD10D: 14, 0xD110: 15, 0xD113: 16, 0xD116: 17, 0xD118: 18}
_NEWEST_MAGIC = max(_MAJORS)
_LONG_HEADER = 0x0002
_LAYOUT = "HHIQI4xQII"  # magic, info, timeline, address, remaining length, system identifier, segment's and page's bytes


@dataclass(frozen=True)
class WalHeader:
    """`major` is 0 for a format newer than those known here. `timeline` is that of the first page: in the first segment of
    a new timeline it is still the one that was left."""

    major: int
    timeline: int
    page_address: Lsn
    system_identifier: str
    segment_bytes: int


def read_header(head: bytes) -> WalHeader:
    """The header that `head` (`HEADER_BYTES` are enough) begins with; raises `ArchiveError` for anything else than WAL."""
    if len(head) < HEADER_BYTES:
        raise _no_wal(f"it has {len(head)} bytes" if head else "it is empty")
    for order in ("<", ">"):
        magic, info, timeline, address, _rest, identifier, segment_bytes, page_bytes = struct.unpack_from(order + _LAYOUT, head)
        if magic in _MAJORS or _NEWEST_MAGIC < magic < 0xD200:
            break
    else:
        raise _no_wal(f"it begins with {head[:8].hex()}")
    if not info & _LONG_HEADER:
        raise _no_wal("its first page is not the first one of a segment")
    if page_bytes not in (1024, 2048, 4096, 8192, 16384, 32768, 65536):
        raise _no_wal(f"its pages have {page_bytes} bytes")
    try:
        check_segment_bytes(segment_bytes)
    except ValueError:
        raise _no_wal(f"its header speaks of segments of {segment_bytes} bytes") from None
    return WalHeader(_MAJORS.get(magic, 0), timeline, Lsn(address), str(identifier), segment_bytes)


def check_header(name: WalName, header: WalHeader, size_bytes: int) -> None:
    """Whether what has this header and size can be the segment (or the partial one) of this name; raises `ArchiveError`."""
    if name.kind in (BACKUP, HISTORY):
        return
    if size_bytes != header.segment_bytes:
        raise ArchiveError(f"{name.text} has {size_bytes} bytes, a segment of its cluster has {header.segment_bytes}", "", _LOOK)
    number = name.number(header.segment_bytes)
    if header.page_address.value != number * header.segment_bytes:
        raise ArchiveError(
            f"{name.text} holds another segment's content: its first page is that of {header.page_address},"
            f" expected is {Lsn(number * header.segment_bytes)}",
            "",
            _LOOK,
        )
    # A new timeline's first segment begins as a copy of the old one's, so its first page may be of a timeline before.
    if not 0 < header.timeline <= name.timeline:
        raise ArchiveError(f"{name.text} holds a page of timeline {header.timeline}", "", _LOOK)


_LOOK = "It was cut, recycled or mixed up: look at pg_wal before anything there is removed."


def _no_wal(why: str) -> ArchiveError:
    return ArchiveError(f"it is not a WAL segment: {why}", "", _LOOK)
