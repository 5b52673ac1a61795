# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which segments lead from a base backup to its target, and whether the archive holds every one of them: known before
anything is fetched, since PostgreSQL itself takes a hole for the end and comes up with less data.

Also which timeline: the newest that production went to. Where the archive knows two ways to go on (a server that was
restored elsewhere and wrote into production's archive; two primaries), nobody can know which is production's: the drill
asks instead of guessing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.moment import RecoveryTarget
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, IntegrityError
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import WalRange
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.history import Step, history_name, needed, read_history
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import HISTORY, PARTIAL, SEGMENT, Lsn, WalName, segment_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.ranges import Range, holes, ranges

__all__ = ["Chain", "Holdings", "look", "own_chain", "plan_chain"]

_SAY_TIMELINE = "Say which one in target.timeline, and find out who wrote the other into the archive."


class Stored(Protocol):
    """What is asked of one file of the archive (wal/archive.py)."""

    @property
    def name(self) -> WalName: ...

    @property
    def sha256(self) -> str: ...

    @property
    def modified(self) -> dt.datetime | None: ...


@dataclass
class Holdings:
    """What an archive holds, of any length in memory of its holes: ranges of whole segments, histories, unfinished segments.

    `twice` are names under which more than one content lies. `gaps` is per timeline the longest time between the arrivals
    of two segments, `newest` when the last one arrived; both count from the segment that the listing was asked to begin with.
    """

    segments: dict[int, list[Range]] = field(default_factory=dict)
    histories: set[int] = field(default_factory=set)
    partials: set[str] = field(default_factory=set)
    twice: set[str] = field(default_factory=set)
    gaps: dict[int, float] = field(default_factory=dict)
    newest: dict[int, dt.datetime] = field(default_factory=dict)

    def last(self, timeline: int) -> int | None:
        """The highest segment of a timeline; None when there is none."""
        found = self.segments.get(timeline)
        return found[-1].last if found else None


@dataclass(frozen=True)
class Chain:
    """The way of a recovery: `parts` in order, each on its timeline, from the base's first segment to the last one that
    may be replayed. `timeline` is the one it ends on, `steps` how that came to be, `histories` whose history the archive has.

    `newest` is when the last segment arrived, `gap_seconds` the longest time between two arrivals on that timeline. `included`: all
    of it lies in the base backup itself, and no archive is asked.
    """

    timeline: int
    begin: Lsn
    parts: tuple[Range, ...]
    segment_bytes: int
    steps: tuple[Step, ...] = ()
    histories: frozenset[int] = frozenset()
    newest: dt.datetime | None = None
    gap_seconds: float | None = None
    notes: tuple[str, ...] = ()
    included: bool = False

    @property
    def count(self) -> int:
        return sum(part.count for part in self.parts)

    @property
    def end(self) -> Lsn:
        """The position behind the last segment."""
        return Lsn((self.parts[-1].last + 1) * self.segment_bytes)

    @property
    def first(self) -> str:
        return self.name(0)

    @property
    def last(self) -> str:
        return self.name(self.count - 1)

    def name(self, index: int) -> str:
        """The name of the segment at this place of the chain; raises `IndexError`."""
        left = index
        for part in self.parts:
            if 0 <= left < part.count:
                return segment_name(part.timeline, part.first + left, self.segment_bytes)
            left -= part.count
        raise IndexError(index)

    def index(self, name: WalName) -> int | None:
        """The place of a segment in the chain; None when it does not belong to it."""
        number, before = name.number(self.segment_bytes), 0
        for part in self.parts:
            if part.timeline == name.timeline and part.first <= number <= part.last:
                return before + number - part.first
            before += part.count
        return None


def look(found: Iterable[Stored], segment_bytes: int, first: int) -> Holdings:
    """Read a listing, which comes in the order of names. Arrivals are compared from segment `first` on."""
    holdings = Holdings()
    before: dict[int, dt.datetime] = {}
    last_name, last_digest = "", ""

    def numbers() -> Iterator[tuple[int, int]]:
        nonlocal last_name, last_digest
        for stored in found:
            name = stored.name
            if name.text == last_name and stored.sha256 != last_digest:
                holdings.twice.add(name.text)
            last_name, last_digest = name.text, stored.sha256
            if name.kind == HISTORY:
                holdings.histories.add(name.timeline)
            elif name.kind == PARTIAL:
                holdings.partials.add(name.text)
            elif name.kind == SEGMENT:
                number = name.number(segment_bytes)
                if number >= first and stored.modified is not None:
                    _arrived(holdings, before, name.timeline, stored.modified)
                yield name.timeline, number

    for item in ranges(numbers()):
        holdings.segments.setdefault(item.timeline, []).append(item)
    return holdings


def _arrived(holdings: Holdings, before: dict[int, dt.datetime], timeline: int, moment: dt.datetime) -> None:
    """Several are shipped at once, so a later segment may arrive first: only what moves the newest arrival counts."""
    earlier = before.get(timeline)
    if earlier is None or moment > earlier:
        if earlier is not None:
            holdings.gaps[timeline] = max(holdings.gaps.get(timeline, 0.0), (moment - earlier).total_seconds())
        before[timeline] = holdings.newest[timeline] = moment


def plan_chain(holdings: Holdings, read: Callable[[int], str], base: WalRange, target: RecoveryTarget) -> Chain:
    """The chain from a base to the target; `read` gives the text of a timeline's history file.

    Raises `IntegrityError` that names the hole, the missing history or the end that comes too early, and `ArchiveError` when
    it cannot be known which timeline is production's.
    """
    size = base.segment_bytes
    begin, stop = Lsn.parse(base.start_lsn), Lsn.parse(base.stop_lsn)
    timeline, steps = _timeline(holdings, read, base, stop, target)
    last = holdings.last(timeline)
    if last is None:
        raise IntegrityError(
            f"the archive holds no segment of timeline {timeline}", f"from {base.first} on", "Check that archiving goes to this repository."
        )
    ahead = [] if target.timeline else sorted(number for number in holdings.histories - set(holdings.segments) if number > timeline)
    notes = tuple(f"production was promoted to timeline {number}, and of that no segment was archived yet" for number in ahead)
    if timeline == base.timeline and last < stop.segment_before(size):
        wanted = segment_name(timeline, last + 1, size)
        raise IntegrityError(
            f"the archive ends with {segment_name(timeline, last, size)}{_partial(holdings, wanted)}", f"the base backup needs {base.last}"
        )
    begins_on = WalName.parse(base.first).timeline
    parts = [Range(*part) for part in needed(steps, timeline, begins_on, begin, Lsn((last + 1) * size), size)]
    if not parts:
        raise IntegrityError(f"no segment of timeline {timeline} leads on from the base backup, which begins at {begin}", "the WAL archive")
    goal = stop if target.immediate else target.lsn
    if goal is not None:
        if goal.segment_before(size) > last:
            wanted = segment_name(timeline, last + 1, size)
            raise IntegrityError(
                f"the target {goal} lies after the archive's end, which is segment {segment_name(timeline, last, size)},"
                f" up to {Lsn((last + 1) * size)}{_partial(holdings, wanted)}",
                next_step="Wait until that segment is archived, or choose an earlier target.",
            )
        parts, behind = _cut_behind(holdings, parts, max(goal.segment(size), stop.segment_before(size)), size)
        notes += behind
    for part in parts:
        missing = holes(holdings.segments.get(part.timeline, []), part.timeline, part.first, part.last)
        if missing:
            raise _hole(holdings, missing, parts, size)
        for name in sorted(holdings.twice):
            wal = WalName.parse(name)
            if wal.kind == SEGMENT and wal.timeline == part.timeline and part.first <= wal.number(size) <= part.last:
                raise IntegrityError(
                    f"segment {name} lies in the archive with two contents", next_step="Find out which one is production's."
                )
    gap = holdings.gaps.get(timeline)
    return Chain(timeline, begin, tuple(parts), size, steps, frozenset(holdings.histories), holdings.newest.get(timeline), gap, notes)


def own_chain(base: WalRange) -> Chain:
    """What a base backup with its log in it needs to come to its own end."""
    size, begin = base.segment_bytes, Lsn.parse(base.start_lsn)
    part = Range(base.timeline, begin.segment(size), Lsn.parse(base.stop_lsn).segment_before(size))
    return Chain(base.timeline, begin, (part,), size, included=True)


def _timeline(
    holdings: Holdings, read: Callable[[int], str], base: WalRange, stop: Lsn, target: RecoveryTarget
) -> tuple[int, tuple[Step, ...]]:
    """The timeline to follow, and its history."""
    if target.timeline:
        steps = _history(holdings, read, target.timeline)
        _check_leads_through(steps, target.timeline, base, stop)
        return target.timeline, steps
    newer = sorted(number for number in holdings.segments if number > base.timeline)
    histories = {number: _history(holdings, read, number) for number in (base.timeline, *newer)}
    newest = newer[-1] if newer else base.timeline
    steps = histories[newest]
    for number in newer:
        ends = {step.timeline: step.end for step in histories[number]}
        if base.timeline not in ends or ends[base.timeline] < stop:
            left = f"left timeline {base.timeline} at {ends[base.timeline]}, before" if base.timeline in ends else "does not lead through"
            raise ArchiveError(
                f"timeline {number} in the archive {left} the base backup of timeline {base.timeline}: it is a stray one, or the base is",
                history_name(number),
                _SAY_TIMELINE,
            )
        if number != newest and number not in {step.timeline for step in steps}:
            raise ArchiveError(
                f"timelines {number} and {newest} are two ways on from timeline {base.timeline}: which one is production's cannot be known",
                "",
                _SAY_TIMELINE,
            )
    for step in steps:
        last = holdings.last(step.timeline)
        if step.timeline >= base.timeline and last is not None and last > step.end.segment(base.segment_bytes):
            goes_on = segment_name(step.timeline, last, base.segment_bytes)
            raise ArchiveError(
                f"timeline {step.timeline} was left for timeline {newest} at {step.end}, and yet it goes on to segment {goes_on}: which"
                " of the two is production's cannot be known",
                history_name(newest),
                _SAY_TIMELINE,
            )
    return newest, steps


def _history(holdings: Holdings, read: Callable[[int], str], timeline: int) -> tuple[Step, ...]:
    """The steps to a timeline; the first one has none."""
    if timeline == 1:
        return ()
    if timeline not in holdings.histories:
        raise IntegrityError(
            f"{history_name(timeline)} is missing in the archive: how timeline {timeline} came to be cannot be known",
            next_step="Archive it from the server's pg_wal, or drill an earlier timeline by target.timeline.",
        )
    return read_history(read(timeline), timeline)


def _check_leads_through(steps: tuple[Step, ...], timeline: int, base: WalRange, stop: Lsn) -> None:
    if timeline == base.timeline:
        return
    end = next((step.end for step in steps if step.timeline == base.timeline), None)
    if end is None or end < stop:
        raise IntegrityError(
            f"timeline {timeline} does not lead through the base backup, which ended at {stop} on timeline {base.timeline}",
            next_step="Choose another timeline, or an older base by backup_id.",
        )


def _cut_behind(holdings: Holdings, parts: list[Range], number: int, size: int) -> tuple[list[Range], tuple[str, ...]]:
    """What lies behind a known position is only taken as far as it has no hole; the one after it may hold the record's end."""
    kept: list[Range] = []
    for part in parts:
        missing = holes(holdings.segments.get(part.timeline, []), part.timeline, part.first, part.last)
        if missing and missing[0].first > number:
            if missing[0].first > part.first:
                kept.append(Range(part.timeline, part.first, missing[0].first - 1))
            return kept, (f"segment {segment_name(part.timeline, missing[0].first, size)}, which lies behind the target, is missing",)
        kept.append(part)
    return kept, ()


def _hole(holdings: Holdings, missing: list[Range], parts: list[Range], size: int) -> IntegrityError:
    first = missing[0]
    name = segment_name(first.timeline, first.first, size)
    count = sum(item.count for item in missing)
    more = f" and {count - 1} more" if count > 1 else ""
    verb = "are" if count > 1 else "is"
    if first.first == parts[0].first and first.timeline == parts[0].timeline:
        where = "with which the base backup begins"
    else:
        inside = next(part for part in parts if part.timeline == first.timeline and part.first <= first.first <= part.last)
        before = segment_name(inside.timeline, first.first - 1, size)
        where = f"between {before} and {segment_name(inside.timeline, first.last + 1, size)}"
        if first.last == inside.last:
            where = f"after {before}"
    return IntegrityError(
        f"segment {name}{more} {verb} missing {where}{_partial(holdings, name)}",
        "the WAL archive",
        "Recovery would end there. Archive it from the server's pg_wal or copy it from another repository, and take a new base backup.",
    )


def _partial(holdings: Holdings, name: str) -> str:
    return ": of it there is only the unfinished .partial, which is never replayed" if f"{name}.partial" in holdings.partials else ""
