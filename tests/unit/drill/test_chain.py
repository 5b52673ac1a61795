# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which segments a recovery needs: every hole is named before anything is fetched, and no timeline is guessed."""

from __future__ import annotations

import datetime as dt
import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.chain import Chain, Holdings, look, plan_chain
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.moment import RecoveryTarget
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, IntegrityError, LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import WalRange
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn, WalName, segment_name
from hypothesis import given
from hypothesis import strategies as st

MB = 1024 * 1024
BASE = WalRange(1, "0/500028", "0/500100", segment_name(1, 5, MB), segment_name(1, 5, MB), MB)
START = dt.datetime(2026, 11, 21, tzinfo=dt.timezone.utc)


@dataclass(frozen=True)
class Found:
    name: WalName
    sha256: str = "a"
    modified: dt.datetime | None = None


def archive(segments: Iterable[tuple[int, int]], *others: str) -> Holdings:
    """Segments of 1 MB by (timeline, number), each ten seconds after the one before; and other files by name."""
    names = sorted([segment_name(timeline, number, MB) for timeline, number in segments] + list(others))
    return look((Found(WalName.parse(name), "a", START + dt.timedelta(seconds=10 * at)) for at, name in enumerate(names)), MB, 5)


def line(timeline: int, first: int, last: int) -> list[tuple[int, int]]:
    return [(timeline, number) for number in range(first, last + 1)]


def plan(holdings: Holdings, histories: dict[int, str] | None = None, **target: object) -> Chain:
    return plan_chain(holdings, lambda timeline: (histories or {})[timeline], BASE, RecoveryTarget.from_options(target, "target"))


def test_the_latest_state_takes_everything_from_the_base_on() -> None:
    chain = plan(archive(line(1, 2, 9)))
    assert (chain.first, chain.last, chain.count, chain.timeline) == (segment_name(1, 5, MB), segment_name(1, 9, MB), 5, 1)
    assert chain.end == Lsn(10 * MB)
    assert [chain.index(WalName.parse(chain.name(number))) for number in range(5)] == [0, 1, 2, 3, 4]
    assert chain.index(WalName.parse(segment_name(1, 4, MB))) is None
    assert chain.gap_seconds == 10


@pytest.mark.parametrize(
    ("segments", "others", "target", "says"),
    [
        (line(1, 5, 6) + line(1, 8, 9), (), {}, "segment 000000010000000000000007 is missing between 000000010000000000000006 and 0000000"),
        (line(1, 5, 5) + line(1, 8, 9), (), {}, "segment 000000010000000000000006 and 1 more are missing between"),
        (line(1, 6, 9), (), {}, "segment 000000010000000000000005 is missing with which the base backup begins"),
        (line(1, 2, 4), (), {}, "the archive ends with 000000010000000000000004"),
        ([], (), {}, "holds no segment of timeline 1"),
        (line(1, 5, 9), (), {"lsn": "0/B00000"}, "the target 0/B00000 lies after the archive's end"),
        (line(1, 5, 9), (f"{segment_name(1, 10, MB)}.partial",), {"lsn": "0/A50000"}, "only the unfinished .partial"),
        (line(1, 5, 9) + line(2, 9, 11), (), {}, "00000002.history is missing"),
        (line(1, 5, 9), (), {"timeline": 3}, "00000003.history is missing"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(segments: list[tuple[int, int]], others: tuple[str, ...], target: dict[str, Any], says: str) -> None:
    with pytest.raises(IntegrityError) as error:
        plan(archive(segments, *others), **target)
    assert says in str(error.value)


def test_what_is_missing_behind_a_known_position_is_a_note() -> None:
    chain = plan(archive(line(1, 5, 7) + line(1, 9, 9)), lsn="0/640000")
    assert (chain.last, len(chain.notes)) == (segment_name(1, 7, MB), 1)
    with pytest.raises(IntegrityError, match="000000010000000000000008 is missing"):
        plan(archive(line(1, 5, 7) + line(1, 9, 9)), lsn="0/840000")


def test_a_promotion_is_followed_and_the_parting_segment_is_the_new_timelines() -> None:
    holdings = archive(line(1, 5, 8) + line(2, 8, 11), "00000002.history")
    chain = plan(holdings, {2: "1\t0/880000\tno recovery target specified\n"})
    assert [(part.timeline, part.first, part.last) for part in chain.parts] == [(1, 5, 7), (2, 8, 11)]
    assert chain.timeline == 2
    assert plan(holdings, {2: "1\t0/880000\t\n"}, timeline=1).last == segment_name(1, 8, MB)


@pytest.mark.parametrize(
    ("segments", "histories", "says"),
    [
        (line(1, 5, 9) + line(2, 8, 11), {2: "1\t0/880000\t"}, "yet it goes on to segment 000000010000000000000009"),
        (line(1, 5, 8) + line(2, 4, 6), {2: "1\t0/450000\t"}, "timeline 2 in the archive left timeline 1 at 0/450000, before"),
        (line(1, 5, 8) + line(2, 8, 9) + line(3, 8, 9), {2: "1\t0/880000\t", 3: "1\t0/880000\t"}, "timelines 2 and 3 are two ways on"),
    ],
)
def test_which_timeline_is_productions_is_not_guessed(segments: list[tuple[int, int]], histories: dict[int, str], says: str) -> None:
    holdings = archive(segments, *(f"{timeline:08X}.history" for timeline in histories))
    with pytest.raises(ArchiveError) as error:
        plan(holdings, histories)
    assert says in str(error.value)
    # Whoever knows says so.
    assert plan(holdings, histories, timeline=1).timeline == 1


def test_a_promotion_of_which_nothing_was_archived_yet_is_a_note() -> None:
    chain = plan(archive(line(1, 5, 8), "00000002.history"))
    assert (chain.timeline, chain.notes) == (1, ("production was promoted to timeline 2, and of that no segment was archived yet",))


def test_two_contents_of_one_name_are_a_fault_where_they_are_needed() -> None:
    def found() -> Iterator[Found]:
        for _timeline, number in line(1, 3, 9):
            name = WalName.parse(segment_name(1, number, MB))
            yield Found(name, "a")
            if number in (3, 7):
                yield Found(name, "b")

    with pytest.raises(IntegrityError, match="segment 000000010000000000000007 lies in the archive with two contents"):
        plan(look(found(), MB, 5))


@given(st.sets(st.integers(5, 40)))
def test_no_chain_is_planned_over_a_hole(numbers: set[int]) -> None:
    holdings = archive([(1, number) for number in numbers])
    whole = bool(numbers) and numbers == set(range(5, max(numbers) + 1))
    try:
        chain = plan(holdings)
    except LifeboatError:
        assert not whole
    else:
        assert whole
        assert {WalName.parse(chain.name(at)).number(MB) for at in range(chain.count)} == numbers


def test_a_long_archive_takes_little_memory() -> None:
    names = (Found(WalName.parse(segment_name(1, number, MB)), "a") for number in range(5, 100_005))
    tracemalloc.start()
    holdings = look(names, MB, 5)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(holdings.segments[1]), peak < 2_000_000) == (1, True)
