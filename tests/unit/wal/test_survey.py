# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive's listing, read in one pass: what is there, what is missing, and in how much memory."""

from __future__ import annotations

import datetime as dt
import tracemalloc
from collections.abc import Iterable, Iterator

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import ObjectInfo
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import DEFAULT_SEGMENT_BYTES, segment_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.ranges import Range
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.survey import SHOWN, Runs, Survey, survey

MIB = 1024 * 1024
BEGAN = dt.datetime(2026, 11, 21, tzinfo=dt.timezone.utc)
DIGEST = "0123456789abcdef" * 4
OTHER = "f" * 64


def info(name: str, digest: str = DIGEST, minutes: float = 0, suffix: str = ".zst.age") -> ObjectInfo:
    return ObjectInfo(layout.wal_key("my shop", name, digest, suffix), 1000, BEGAN + dt.timedelta(minutes=minutes))


def segments(timeline: int, numbers: Iterable[int], segment_bytes: int = DEFAULT_SEGMENT_BYTES) -> list[ObjectInfo]:
    return [info(segment_name(timeline, number, segment_bytes), minutes=number) for number in numbers]


def read(listing: Iterable[ObjectInfo], looked_for: Iterable[str] = (), segment_bytes: int = DEFAULT_SEGMENT_BYTES) -> Survey:
    return survey(sorted(listing, key=lambda item: item.key), "my shop", segment_bytes, set(looked_for))


def test_segments_become_runs_across_the_ends_of_logs_whatever_their_size() -> None:
    for segment_bytes in (MIB, DEFAULT_SEGMENT_BYTES, 1024 * MIB):
        per_log = (1 << 32) // segment_bytes
        found = read(segments(1, range(per_log - 2, per_log + 3), segment_bytes), segment_bytes=segment_bytes)
        assert (found.segments, len(found.timelines[1].runs)) == (5, 1)
        assert found.timelines[1].runs.holding(per_log) is not None


def test_every_kind_of_file_is_counted_where_it_belongs() -> None:
    first = segment_name(2, 5, DEFAULT_SEGMENT_BYTES)
    found = read(
        [
            *segments(1, range(3)),
            *segments(2, range(5, 7)),
            info("00000002.history"),
            info(f"{first}.partial"),
            info(f"{first}.00000028.backup"),
            ObjectInfo(layout.cluster_key("my shop"), 200),
        ]
    )
    assert (found.files, found.segments, found.size_bytes) == (8, 5, 8000)
    assert (found.foreign_count, found.conflict_count) == (0, 0)
    assert found.timelines[2].history.endswith(f"00000002.history-{DIGEST}.zst.age")
    assert found.timelines[2].partials == [f"{first}.partial"]
    assert found.timelines[1].history == ""
    assert found.newest == segment_name(2, 6, DEFAULT_SEGMENT_BYTES)


def test_two_contents_of_one_name_are_a_conflict_and_one_content_sealed_twice_is_none() -> None:
    name = segment_name(1, 7, DEFAULT_SEGMENT_BYTES)
    found = read([*segments(1, range(9)), info(name, OTHER), info(name, "e" * 64)])
    assert (found.conflicts, found.conflict_count, found.segments) == ([name], 1, 9)
    history = read([info("00000002.history"), info("00000002.history", OTHER)])
    assert history.conflicts == ["00000002.history"]
    assert read([info(name), info(name, suffix=".zst.gpg")]).conflict_count == 0


@pytest.mark.parametrize(
    "key",
    [
        "my%20shop/wal/notes.txt",
        "my%20shop/wal/00000001/notes.txt",
        f"my%20shop/wal/00000002/{segment_name(1, 1, MIB)}-{DIGEST}.zst",
        f"my%20shop/wal/00000001/0000000100000000000001FF-{DIGEST}.zst",  # no such segment where each has 16 MiB
        f"my%20shop/wal/00000000/000000000000000000000001-{DIGEST}.zst",
        f"my%20shop/wal/00000001/000000010000000000000001-{DIGEST[1:]}.zst",
        f"my%20shop/wal/00000001/deep/000000010000000000000001-{DIGEST}.zst",
        f"my%20shop/wal/00000001/000000010000000000000001-{DIGEST}.zst\n",
    ],
)
def test_what_is_not_ours_is_reported_and_not_counted(key: str) -> None:
    found = read([*segments(1, range(3)), ObjectInfo(key, 1)])
    assert (found.foreign, found.files) == ([key], 3)


def test_of_thousands_that_are_not_ours_a_hundred_are_named() -> None:
    found = read(ObjectInfo(f"my%20shop/wal/{number:06}", 1) for number in range(5000))
    assert (len(found.foreign), found.foreign_count) == (SHOWN, 5000)


def test_names_that_were_looked_for_are_absent_until_they_are_seen() -> None:
    wanted = [segment_name(1, 2, DEFAULT_SEGMENT_BYTES), segment_name(1, 9, DEFAULT_SEGMENT_BYTES), "00000002.history"]
    found = read([*segments(1, range(5)), info("00000002.history")], wanted)
    assert found.absent == {wanted[1]}


def test_a_listing_that_jumps_back_is_not_trusted() -> None:
    with pytest.raises(RepositoryError, match="not in order"):
        survey([*segments(1, range(5)), *segments(1, [2])], "my shop", DEFAULT_SEGMENT_BYTES)


def test_runs_know_their_holes_and_when_each_ended() -> None:
    runs = Runs()
    for number in (3, 4, 5, 9, 12, 13):
        assert runs.add(number, number * 10.0)
    assert not runs.add(13, 200.0), "the same once more"
    assert (runs.first, runs.last, len(runs)) == (3, 13, 3)
    assert (runs.holding(4), runs.holding(6), runs.holding(2), runs.holding(13)) == ((3, 5, 50.0), None, None, (12, 13, 130.0))
    assert list(runs.holes(1, 3, 13)) == [Range(1, 6, 8), Range(1, 10, 11)]
    assert list(runs.holes(1, 1, 4)) == [Range(1, 1, 2)]
    assert list(runs.holes(1, 7, 7)) == [Range(1, 7, 7)]
    assert list(runs.holes(1, 13, 15)) == [Range(1, 14, 15)]
    assert list(runs.holes(1, 9, 9)) == []
    assert list(Runs().holes(1, 2, 3)) == [Range(1, 2, 3)]


def generated(count: int, step: int = 1) -> Iterator[ObjectInfo]:
    for number in range(0, count * step, step):
        name = segment_name(1, number, DEFAULT_SEGMENT_BYTES)
        yield ObjectInfo(f"my%20shop/wal/00000001/{name}-{DIGEST}.zst.age", 1000, BEGAN)


def test_a_million_names_are_one_run() -> None:
    found = survey(generated(1_000_000), "my shop", DEFAULT_SEGMENT_BYTES)
    assert (found.segments, len(found.timelines[1].runs)) == (1_000_000, 1)


@pytest.mark.parametrize(("step", "most_bytes"), [(1, 0.1), (2, 40)], ids=["whole", "every-other-missing"])
def test_memory_grows_with_the_holes_only(step: int, most_bytes: float) -> None:
    """Bytes per name; what does not grow is left out by measuring two lengths."""

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            survey(generated(count, step), "my shop", DEFAULT_SEGMENT_BYTES)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # The least of three: what other threads of the tests allocate meanwhile is counted, too.
    few, many = (min(peak(count) for _time in range(3)) for count in (5_000, 45_000))
    assert (many - few) / 40_000 < most_bytes
