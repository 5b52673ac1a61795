# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From when to when one can recover: base backups, the segments that follow them, and the timelines between. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.history import Step, needed
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.ranges import Range
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.survey import SHOWN, Survey, TimelineFiles, moment_of

__all__ = ["Base", "Line", "Reach", "lines", "reach", "windows"]


@dataclass(frozen=True)
class Base:
    """A base backup, as its manifest tells: restorable at `moment` with the log up to `stop`, from segment `first` to `last`.

    With `included` it brings that log along, and needs the archive from `last` on only to get further.
    """

    backup_id: str
    moment: dt.datetime
    timeline: int
    start: Lsn
    stop: Lsn
    first: int
    last: int
    included: bool = False


@dataclass(frozen=True)
class Line:
    """A timeline and the way that leads to it, oldest first. `known_from` is where that was read: "history", the file's own
    text, or "names" alone, when nobody could read it."""

    timeline: int
    steps: tuple[Step, ...]
    known_from: str

    @property
    def parent(self) -> int | None:
        return self.steps[-1].timeline if self.steps else None

    @property
    def begins_at(self) -> Lsn | None:
        return self.steps[-1].end if self.steps else None


@dataclass(frozen=True)
class Reach:
    """How far one gets from a base backup along the newest timeline that comes from it.

    `whole`: the log without which the backup is nothing is there. `end_timeline` and `end` are the last segment before the
    first hole, `stored` when it was stored; None when not even the first one is there. `holes` are at most `SHOWN`.
    """

    base: Base
    timeline: int
    whole: bool
    end_timeline: int | None = None
    end: int | None = None
    stored: float = 0.0
    holes: tuple[Range, ...] = ()
    hole_count: int = 0
    missing_segments: int = 0
    problem: str = ""


def lines(found: Survey, histories: Mapping[int, Sequence[Step]]) -> dict[int, Line]:
    """Every timeline of the archive with the way to it; where `histories` does not tell, the names do, as far as they can.

    A promotion writes the segment in which timelines part anew: the first segment of a timeline is where it begins, and its
    parent the newest timeline before it that holds the segment before, or the parting one as `.partial`.
    """
    result: dict[int, Line] = {}
    for timeline in sorted({*found.timelines, *histories}):
        if timeline in histories:
            result[timeline] = Line(timeline, tuple(histories[timeline]), "history")
            continue
        steps: tuple[Step, ...] = ()
        begins = found.timelines[timeline].runs.first
        if begins is not None and begins > 0 and timeline > 1:
            parent = next((older for older in reversed(list(result)) if _comes_before(found, older, begins)), None)
            if parent is not None:
                steps = (*result[parent].steps, Step(parent, Lsn(begins * found.segment_bytes)))
        result[timeline] = Line(timeline, steps, "names")
    return result


def _comes_before(found: Survey, older: int, begins: int) -> bool:
    files = found.timelines.get(older)
    if files is None:
        return False
    return files.runs.holding(begins - 1) is not None or f"{found.name(older, begins)}.partial" in files.partials


def reach(base: Base, found: Survey, known: Mapping[int, Line]) -> Reach:
    """How far the archive leads from this base backup."""
    timeline = _newest_from(base, known)
    way = known.get(timeline, Line(timeline, (), "names"))
    files = found.timelines.get(timeline)
    last = files.runs.last if files is not None else None
    end = found.end_of(last) if last is not None else base.stop
    end = max(end, base.stop, way.begins_at or Lsn(0))
    try:
        begin = Lsn(base.last * found.segment_bytes) if base.included else base.start
        parts = needed(way.steps, timeline, base.timeline, begin, end, found.segment_bytes)
    except IntegrityError as error:  # a history that contradicts the backup
        return Reach(base, timeline, False, problem=str(error))
    holes: list[Range] = []
    hole_count = missing = 0
    end_timeline = end_number = None
    stored = 0.0
    for number, first, final in parts:
        runs = found.timelines.get(number, TimelineFiles(number)).runs
        for hole in runs.holes(number, first, final):
            hole_count += 1
            missing += hole.count
            if len(holes) < SHOWN:
                holes.append(hole)
            if hole_count == 1 and hole.first > first:
                end_timeline, end_number, stored = _end(found, number, hole.first - 1)
        if not hole_count:
            end_timeline, end_number, stored = _end(found, number, final)
    whole = base.included or (end_number is not None and end_number >= base.last)
    return Reach(base, timeline, whole, end_timeline, end_number, stored, tuple(holes), hole_count, missing)


def _end(found: Survey, timeline: int, number: int) -> tuple[int, int, float]:
    run = found.timelines[timeline].runs.holding(number)
    # Only the last segment of a run has its moment kept; one within a run is older, so the moment holds as a bound.
    return timeline, number, run[2] if run is not None else 0.0


def _newest_from(base: Base, known: Mapping[int, Line]) -> int:
    """The newest timeline whose way leads through the base backup's end; its own when there is none."""
    newest = base.timeline
    for timeline, line in known.items():
        step = next((step for step in line.steps if step.timeline == base.timeline), None)
        if timeline > newest and step is not None and step.end >= base.stop:
            newest = timeline
    return newest


@dataclass
class _Window:
    reach: Reach
    bases: int = field(default=1)


def windows(reaches: Iterable[Reach], found: Survey) -> list[dict[str, Any]]:
    """The spans one can recover to, oldest first: each from the earliest base backup whose log leads to the same end.

    `until_at_most` is when the last segment was stored: what was committed later is not in it.
    """
    spans: dict[tuple[int, int], _Window] = {}
    for one in sorted(reaches, key=lambda item: item.base.moment):
        if not one.whole or one.end is None or one.end_timeline is None:
            continue
        span = spans.setdefault((one.end_timeline, one.end), _Window(one, 0))
        span.bases += 1
    return [_document(span, found) for span in spans.values()]


def _document(span: _Window, found: Survey) -> dict[str, Any]:
    one = span.reach
    end = one.end or 0
    return {
        "from": format_moment(one.base.moment),
        "from_lsn": str(one.base.stop),
        "from_backup": one.base.backup_id,
        "until_lsn": str(found.end_of(end)),
        "until_at_most": format_moment(moment_of(one.stored)) if one.stored else None,
        "timeline": one.end_timeline,
        "last_segment": found.name(one.end_timeline or 0, end),
        "base_backups": span.bases,
        "current": not one.hole_count,
    }


def named(holes: Iterable[Range], found: Survey) -> Iterator[dict[str, Any]]:
    """Holes as plain data, by the names of the first and last missing segment."""
    for hole in holes:
        yield {
            "timeline": hole.timeline,
            "first": found.name(hole.timeline, hole.first),
            "last": found.name(hole.timeline, hole.last),
            "segments": hole.count,
        }
