# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a segment says of itself is read strictly, and compared with its name."""

from __future__ import annotations

import struct

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, UnsafeName
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.header import HEADER_BYTES, WalHeader, check_header, read_header
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn, WalName, check_segment_bytes, segment_name
from hypothesis import given
from hypothesis import strategies as st

MIB = 1024 * 1024
SIZES = [MIB << power for power in range(11)]


def header(magic: int = 0xD118, info: int = 2, timeline: int = 1, address: int = 16 * MIB, identifier: int = 7_000_000_000_000_000_001,
           segment_bytes: int = 16 * MIB, page_bytes: int = 8192, order: str = "<") -> bytes:  # fmt: skip
    return struct.pack(order + "HHIQI4xQII", magic, info, timeline, address, 0, identifier, segment_bytes, page_bytes)


@given(
    number=st.integers(0, 2**24), timeline=st.integers(1, 2**32 - 1), size=st.sampled_from(SIZES), order=st.sampled_from("<>"),
    identifier=st.integers(0, 2**64 - 1),
)  # fmt: skip
def test_a_segments_header_says_what_its_name_says(number: int, timeline: int, size: int, order: str, identifier: int) -> None:
    read = read_header(header(timeline=timeline, address=number * size, segment_bytes=size, order=order, identifier=identifier) + b"rest")
    assert read == WalHeader(18, timeline, Lsn(number * size), str(identifier), size)
    check_header(WalName.parse(segment_name(timeline, number, size)), read, size)
    for other in (number + 1, number - 1):
        if other >= 0:
            with pytest.raises(ArchiveError, match="another segment's content"):
                check_header(WalName.parse(segment_name(timeline, other, size)), read, size)


@given(st.binary(max_size=100))
def test_anything_else_is_refused_in_words_or_is_a_header(data: bytes) -> None:
    try:
        check_segment_bytes(read_header(data).segment_bytes)
    except ArchiveError as error:
        assert "not a WAL segment" in str(error)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty"),
        (header()[:-1], "it has 39 bytes"),
        (bytes(HEADER_BYTES), "begins with 0000"),
        (header(magic=0xD071), "begins with"),
        (header(info=0), "not the first one of a segment"),
        (header(page_bytes=8191), "pages have 8191"),
        (header(segment_bytes=3 * MIB), "segments of 3145728 bytes"),
    ],
)
def test_names_what_is_wrong(data: bytes, said: str) -> None:
    with pytest.raises(ArchiveError, match=said):
        read_header(data)


@pytest.mark.parametrize(("magic", "major"), [(0xD10D, 14), (0xD110, 15), (0xD113, 16), (0xD116, 17), (0xD118, 18), (0xD121, 0)])
def test_knows_the_major_version_by_the_format(magic: int, major: int) -> None:
    assert read_header(header(magic=magic)).major == major


def test_the_first_segment_of_a_new_timeline_begins_with_the_old_ones_page() -> None:
    check_header(WalName.parse("000000020000000000000001"), read_header(header(timeline=1)), 16 * MIB)
    with pytest.raises(ArchiveError, match="page of timeline 3"):
        check_header(WalName.parse("000000020000000000000001"), read_header(header(timeline=3)), 16 * MIB)


@pytest.mark.parametrize("name", ["000000010000000000000001", "000000010000000000000001.partial"])
def test_a_cut_segment_is_refused(name: str) -> None:
    with pytest.raises(ArchiveError, match="has 4096 bytes"):
        check_header(WalName.parse(name), read_header(header()), 4096)


def test_a_number_that_no_segment_of_this_size_has_is_refused() -> None:
    with pytest.raises(UnsafeName, match="cannot be the name"):
        check_header(WalName.parse("0000000100000000000001FF"), read_header(header()), 16 * MIB)
