# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Positions, names, ranges and histories of the write-ahead log."""

from __future__ import annotations

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError, UnsafeName
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.history import Step, needed, read_history
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import (
    BACKUP,
    HISTORY,
    PARTIAL,
    SEGMENT,
    Lsn,
    WalName,
    segment_name,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.ranges import Range, holes, ranges
from hypothesis import given
from hypothesis import strategies as st

MIB = 1024 * 1024
SIZES = st.sampled_from([MIB << power for power in range(11)])
LSNS = st.integers(min_value=0, max_value=2**64 - 1)


@given(LSNS)
def test_a_position_is_read_as_it_is_written(value: int) -> None:
    assert Lsn.parse(str(Lsn(value))) == Lsn(value)


@pytest.mark.parametrize("text", ["", "0", "0/", "/0", "g/0", "123456789/0", "0/123456789", " 0/0", "0/0 "])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="position"):
        Lsn.parse(text)


@given(st.integers(min_value=1, max_value=2**32 - 1), LSNS, SIZES)
def test_a_name_gives_back_timeline_and_number(timeline: int, value: int, size: int) -> None:
    number = Lsn(value).segment(size)
    name = WalName.parse(segment_name(timeline, number, size))
    assert (name.kind, name.timeline, name.number(size)) == (SEGMENT, timeline, number)


@pytest.mark.parametrize(
    ("text", "kind", "timeline", "offset"),
    [
        ("00000001000000A900000065", SEGMENT, 1, 0),
        ("0000000A.history", HISTORY, 10, 0),
        ("000000010000000000000005.00000028.backup", BACKUP, 1, 0x28),
        ("000000020000000000000007.partial", PARTIAL, 2, 0),
    ],
)
def test_the_four_kinds_of_files_are_told_apart(text: str, kind: str, timeline: int, offset: int) -> None:
    name = WalName.parse(text)
    assert (name.text, name.kind, name.timeline, name.offset) == (text, kind, timeline, offset)


@pytest.mark.parametrize(
    "text",
    ["", "..", "../000000010000000000000005", "000000010000000000000005\n", "00000001000000000000000", "00000000.history",
     "000000010000000000000005.zst", "00000001000000000000000g", "000000010000000000000005.partial.backup", "archive_status"],
)  # fmt: skip
def test_any_other_name_is_refused(text: str) -> None:
    with pytest.raises(UnsafeName):
        WalName.parse(text)


def test_a_name_that_segments_of_this_size_cannot_have_is_refused() -> None:
    with pytest.raises(UnsafeName):
        WalName.parse("000000010000000000000100").number(16 * MIB)
    assert WalName.parse("000000010000000000000100").number(MIB) == 256


@given(st.sets(st.tuples(st.integers(1, 3), st.integers(0, 60))))
def test_ranges_hold_exactly_what_was_listed_and_are_as_few_as_can_be(found: set[tuple[int, int]]) -> None:
    result = list(ranges(sorted(found)))
    assert {(item.timeline, number) for item in result for number in range(item.first, item.last + 1)} == found
    assert all(one.timeline != two.timeline or one.last + 1 < two.first for one, two in zip(result, result[1:]))


@given(st.sets(st.integers(0, 60)), st.integers(0, 60), st.integers(0, 60))
def test_holes_are_exactly_what_is_missing(found: set[int], first: int, last: int) -> None:
    missing = holes(ranges((1, number) for number in sorted(found)), 1, first, last)
    assert {number for item in missing for number in range(item.first, item.last + 1)} == set(range(first, last + 1)) - found


def test_a_listing_that_jumps_back_is_not_trusted() -> None:
    with pytest.raises(ValueError, match="comes after"):
        list(ranges([(1, 5), (1, 6), (1, 5)]))


def test_a_segment_that_is_there_twice_counts_once() -> None:
    assert list(ranges([(1, 5), (1, 5), (1, 6)])) == [Range(1, 5, 6)]


def test_a_history_is_read_and_the_way_through_it_is_found() -> None:
    steps = read_history("1\t0/5000148\tno recovery target specified\n2\t0/9000000\tbefore 2026-11-21 03:00:00+00\n", 3)
    assert steps == (Step(1, Lsn.parse("0/5000148")), Step(2, Lsn.parse("0/9000000")))
    way = needed(steps, 3, 1, Lsn.parse("0/3000028"), Lsn.parse("0/B000010"), 16 * MIB)
    # The segment in which timelines part is the later one's; at 0/9000000 nothing of segment 9 belongs to timeline 2.
    assert way == [(1, 3, 4), (2, 5, 8), (3, 9, 11)]


@pytest.mark.parametrize("text", ["nonsense", "2 0/1000 x", "1 0/2000 x\n1 0/3000 x", "1 0/3000\n2 0/2000"])
def test_what_is_no_history_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError):
        read_history(text, 2 if "2 0/2" not in text else 3)


def test_a_timeline_that_was_left_before_the_backup_leads_nowhere() -> None:
    steps = read_history("1\t0/5000148\tx\n", 2)
    with pytest.raises(IntegrityError, match="left timeline 1"):
        needed(steps, 2, 1, Lsn.parse("0/6000000"), Lsn.parse("0/B000010"), 16 * MIB)
    with pytest.raises(IntegrityError, match="does not come from"):
        needed(steps, 2, 4, Lsn.parse("0/1000000"), Lsn.parse("0/B000010"), 16 * MIB)
