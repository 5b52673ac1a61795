# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From when to when one can recover, over holes and promotions."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import ObjectInfo
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.history import Step
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.lag import lag_document
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import DEFAULT_SEGMENT_BYTES, Lsn, segment_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.server import Archiver, ServerWal
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.survey import Survey, survey
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.window import Base, Reach, lines, named, reach, windows

SIZE = DEFAULT_SEGMENT_BYTES
BEGAN = dt.datetime(2026, 11, 21, tzinfo=dt.timezone.utc)


def archive(timelines: Mapping[int, Iterable[int]], more: Iterable[str] = ()) -> Survey:
    """Segment n was stored n minutes after `BEGAN`."""
    names = [(segment_name(timeline, number, SIZE), number) for timeline, numbers in timelines.items() for number in numbers]
    listing = [
        ObjectInfo(layout.wal_key("shop", name, "0" * 64, ".zst"), 100, BEGAN + dt.timedelta(minutes=minutes))
        for name, minutes in [*names, *((name, 0) for name in more)]
    ]
    return survey(sorted(listing, key=lambda item: item.key), "shop", SIZE)


def a_base(first: int, last: int | None = None, timeline: int = 1) -> Base:
    last = first if last is None else last
    name = f"20261121T00{first:02}00Z-00000000"
    return Base(name, BEGAN + dt.timedelta(minutes=first), timeline, Lsn(first * SIZE + 40), Lsn(last * SIZE + 4000), first, last)


def reached(found: Survey, *bases: Base, histories: Mapping[int, Sequence[Step]] | None = None) -> list[Reach]:
    known = lines(found, histories or {})
    return [reach(base, found, known) for base in bases]


def spans(found: Survey, *bases: Base, histories: Mapping[int, Sequence[Step]] | None = None) -> list[dict[str, Any]]:
    return windows(reached(found, *bases, histories=histories), found)


def test_without_a_hole_the_window_is_from_the_earliest_base_to_the_last_segment() -> None:
    found = archive({1: range(2, 21)})
    (span,) = spans(found, a_base(3, 4), a_base(10))
    assert span == {
        "from": "2026-11-21T00:03:00.000000Z",
        "from_lsn": str(a_base(3, 4).stop),
        "from_backup": a_base(3, 4).backup_id,
        "until_lsn": str(Lsn(21 * SIZE)),
        "until_at_most": "2026-11-21T00:20:00.000000Z",
        "timeline": 1,
        "last_segment": segment_name(1, 20, SIZE),
        "base_backups": 2,
        "current": True,
    }


def test_a_hole_parts_the_window_and_is_named() -> None:
    found = archive({1: [*range(2, 8), *range(10, 21)]})
    first, second = reached(found, a_base(3), a_base(12))
    assert (first.whole, first.end, first.missing_segments) == (True, 7, 2)
    assert list(named(first.holes, found)) == [
        {"timeline": 1, "first": segment_name(1, 8, SIZE), "last": segment_name(1, 9, SIZE), "segments": 2}
    ]
    assert (second.whole, second.end, second.hole_count) == (True, 20, 0)
    older, newer = spans(found, a_base(3), a_base(12))
    assert (older["current"], older["until_at_most"]) == (False, "2026-11-21T00:07:00.000000Z")
    assert (newer["current"], newer["from_backup"]) == (True, a_base(12).backup_id)


def test_a_base_backup_whose_own_log_is_not_whole_opens_no_window() -> None:
    found = archive({1: [2, 3, 5, 6]})
    (one,) = reached(found, a_base(3, 5))
    assert (one.whole, one.end) == (False, 3)
    (lost,) = reached(found, a_base(1, 2))
    assert (lost.whole, lost.end) == (False, None)
    assert spans(found, a_base(3, 5), a_base(1, 2)) == []


def test_a_base_backup_that_brings_its_log_along_needs_the_archive_only_to_get_further() -> None:
    base = dataclasses.replace(a_base(3, 5), included=True)
    (alone,) = reached(archive({}), base)
    assert (alone.whole, alone.end, alone.missing_segments) == (True, None, 1)
    found = archive({1: range(5, 9)})
    (one,) = reached(found, base)
    assert (one.whole, one.end, one.hole_count) == (True, 8, 0)
    assert spans(found, base)[0]["current"] is True


def test_nothing_after_the_base_backup_is_a_window_too() -> None:
    (span,) = spans(archive({1: [4, 5]}), a_base(4, 5))
    assert (span["current"], span["last_segment"]) == (True, segment_name(1, 5, SIZE))
    (nothing,) = reached(archive({}), a_base(4, 5))
    assert (nothing.whole, nothing.missing_segments) == (False, 2)


def test_a_window_leads_over_a_promotion_from_its_history() -> None:
    found = archive({1: range(2, 9), 2: range(8, 15)}, ["00000002.history"])
    history = {2: [Step(1, Lsn(8 * SIZE + 500))]}
    (one,) = reached(found, a_base(3), histories=history)
    assert (one.timeline, one.end_timeline, one.end, one.hole_count) == (2, 2, 14, 0)
    assert lines(found, history)[2].known_from == "history"


def test_without_its_history_the_names_say_where_a_timeline_began() -> None:
    parting = f"{segment_name(1, 8, SIZE)}.partial"
    for found in (archive({1: range(2, 8), 2: range(8, 15)}, [parting]), archive({1: range(2, 9), 2: range(8, 15)})):
        line = lines(found, {})[2]
        assert (line.parent, line.begins_at, line.known_from) == (1, Lsn(8 * SIZE), "names")
        (one,) = reached(found, a_base(3))
        assert (one.end_timeline, one.end, one.hole_count) == (2, 14, 0)


def test_a_segment_that_is_missing_before_the_parting_is_a_hole_of_the_old_timeline() -> None:
    found = archive({1: [*range(2, 6), 7, 8], 2: range(8, 15)})
    (one,) = reached(found, a_base(3), histories={2: [Step(1, Lsn(8 * SIZE + 500))]})
    assert (one.end_timeline, one.end) == (1, 5)
    assert [(hole.timeline, hole.first, hole.last) for hole in one.holes] == [(1, 6, 6)]


def test_a_base_backup_taken_after_the_parting_stays_on_the_timeline_that_was_left() -> None:
    found = archive({1: range(2, 13), 2: range(8, 15)})
    (one,) = reached(found, a_base(10), histories={2: [Step(1, Lsn(8 * SIZE + 500))]})
    assert (one.timeline, one.end_timeline, one.end) == (1, 1, 12)


def test_of_two_promotions_from_the_same_timeline_the_newest_is_followed() -> None:
    found = archive({1: range(2, 9), 2: range(8, 15), 3: range(8, 11)})
    histories = {2: [Step(1, Lsn(8 * SIZE + 500))], 3: [Step(1, Lsn(8 * SIZE + 900))]}
    (one,) = reached(found, a_base(3), histories=histories)
    assert (one.end_timeline, one.end) == (3, 10)


def test_a_history_that_contradicts_the_backup_is_a_problem_and_not_a_crash() -> None:
    found = archive({1: range(2, 20)}, ["00000002.history"])
    (one,) = reached(found, a_base(3, timeline=4))
    assert not one.whole


def a_server(number: int, offset: int = 5000, timeline: int = 1, **fields: Any) -> ServerWal:
    moment = BEGAN + dt.timedelta(hours=1)
    return ServerWal(
        "1", 180006, False, timeline, Lsn(number * SIZE + offset), moment, SIZE, "on", "replica", 60, Archiver(0, "", None, 0, "", None),
        **fields,
    )  # fmt: skip


def lag(found: Survey, server: ServerWal) -> dict[str, Any]:
    return lag_document(server, found, lines(found, {}))


def test_the_lag_counts_finished_segments_and_the_time_since_the_last_archived_one_was_finished() -> None:
    found = archive({1: range(2, 11)})
    done = {segment_name(1, 10, SIZE): BEGAN + dt.timedelta(minutes=8)}
    assert lag(found, a_server(14, done=done)) == {
        "segments": 3, "last_archived": segment_name(1, 10, SIZE), "seconds": 52 * 60.0, "seconds_are": "exact",
    }  # fmt: skip
    assert lag(found, a_server(14))["seconds_are"] == "at least"
    assert lag(found, a_server(14))["seconds"] == 50 * 60.0, "the archive stored it two minutes later"


def test_a_server_that_wrote_nothing_since_has_no_lag() -> None:
    found = archive({1: range(2, 11)})
    assert lag(found, a_server(11, offset=40)) == {
        "segments": 0, "last_archived": segment_name(1, 10, SIZE), "seconds": 0.0, "seconds_are": "exact",
    }  # fmt: skip
    assert lag(found, a_server(11))["segments"] == 0
    assert lag(found, a_server(11))["seconds"] > 0


def test_just_after_a_promotion_the_lag_counts_from_the_old_timeline() -> None:
    assert lag(archive({1: range(2, 11)}), a_server(12, timeline=2))["segments"] == 1
    assert lag(archive({1: range(2, 11), 2: range(10, 12)}), a_server(13, timeline=2))["segments"] == 1


def test_an_empty_archive_has_a_lag_that_nobody_can_count() -> None:
    assert lag(archive({}), a_server(12)) == {"segments": None, "seconds": None, "seconds_are": "at least", "last_archived": None}
