# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a WAL archive holds, from one pass over its listing. Pure.

A million names are looked at one by one and forgotten: what is kept grows with the holes, 24 bytes for each, and lists for
people are cut at `SHOWN`.
"""

from __future__ import annotations

import datetime as dt
import re
from array import array
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import RepositoryError, UnsafeName
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import ObjectInfo
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import (
    HISTORY,
    LOG_BYTES,
    PARTIAL,
    Lsn,
    WalName,
    segment_name,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.ranges import Range

__all__ = ["SHOWN", "Runs", "Survey", "TimelineFiles", "moment_of", "survey"]

SHOWN = 100
"""So many conflicts, foreign files and holes are named; all are counted."""


class Runs:
    """The segments of one timeline as runs without a hole, in ascending order, each with when its last one was stored."""

    def __init__(self) -> None:
        self._firsts, self._lasts, self._stored = array("Q"), array("Q"), array("d")

    def __len__(self) -> int:
        return len(self._firsts)

    def add(self, number: int, stored: float) -> bool:
        """The next segment; False when it was there already. Raises `ValueError` for one that comes too late."""
        if self._lasts:
            last = self._lasts[-1]
            if number == last:
                self._stored[-1] = min(stored, self._stored[-1])
                return False
            if number < last:
                raise ValueError(f"segment {number} comes after segment {last}")
            if number == last + 1:
                self._lasts[-1] = number
                self._stored[-1] = stored
                return True
        self._firsts.append(number)
        self._lasts.append(number)
        self._stored.append(stored)
        return True

    @property
    def first(self) -> int | None:
        return self._firsts[0] if self._firsts else None

    @property
    def last(self) -> int | None:
        return self._lasts[-1] if self._lasts else None

    def holding(self, number: int) -> tuple[int, int, float] | None:
        """First, last and when the last was stored (seconds since 1970) of the run that holds this segment."""
        at = bisect_right(self._firsts, number) - 1
        return None if at < 0 or self._lasts[at] < number else (self._firsts[at], self._lasts[at], self._stored[at])

    def holes(self, timeline: int, first: int, last: int) -> Iterator[Range]:
        """What is missing of segments `first` to `last`."""
        wanted = first
        for at in range(max(0, bisect_right(self._firsts, first) - 1), len(self._firsts)):
            if self._firsts[at] > last:
                break
            if self._firsts[at] > wanted:
                yield Range(timeline, wanted, self._firsts[at] - 1)
            wanted = max(wanted, self._lasts[at] + 1)
        if wanted <= last:
            yield Range(timeline, wanted, last)


@dataclass
class TimelineFiles:
    """What lies under one timeline. `history` is the key of its history file, or ""; `partials` the names of `.partial` files."""

    timeline: int
    runs: Runs = field(default_factory=Runs)
    segments: int = 0
    size_bytes: int = 0
    history: str = ""
    partials: list[str] = field(default_factory=list)


@dataclass
class Survey:
    """`conflicts` are names under which different contents lie, `foreign` keys that are not ours; at most `SHOWN` of each are
    named. `absent` is what is left of the names that were looked for. `newest` is the name that was stored last."""

    segment_bytes: int
    files: int = 0
    size_bytes: int = 0
    timelines: dict[int, TimelineFiles] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)
    conflict_count: int = 0
    foreign: list[str] = field(default_factory=list)
    foreign_count: int = 0
    absent: set[str] = field(default_factory=set)
    newest: str = ""
    newest_stored: float = 0.0

    @property
    def segments(self) -> int:
        return sum(found.segments for found in self.timelines.values())

    def name(self, timeline: int, number: int) -> str:
        return segment_name(timeline, number, self.segment_bytes)

    def end_of(self, number: int) -> Lsn:
        """The position at which a segment ends."""
        return Lsn((number + 1) * self.segment_bytes)


# The usual key, read without building anything: timeline, log, number, the digest; docs/format.md has the shape.
_USUAL = re.compile(r"/wal/([0-9A-F]{8})/(\1([0-9A-F]{8})([0-9A-F]{8}))-([0-9a-f]{64})(?:\.[a-z]+)*\Z")


def survey(listing: Iterable[ObjectInfo], system: str, segment_bytes: int, looked_for: Collection[str] = ()) -> Survey:
    """Read a listing of `layout.wal_prefix(system)` in key order; `looked_for` are names of which to say which are absent.

    Raises `RepositoryError` for a listing that is not in order: holes could not be told from it.
    """
    found = Survey(segment_bytes, absent=set(looked_for))
    cluster, root, per_log = layout.cluster_key(system), len(layout.wal_prefix(system)) - len("/wal/"), LOG_BYTES // segment_bytes
    before, digest_before, in_conflict = "", "", ""
    for info in listing:
        usual = _USUAL.match(info.key, root)
        if usual is not None and int(usual.group(4), 16) < per_log and usual.group(1) != "00000000":
            name, digest = usual.group(2), usual.group(5)
            timeline, number = int(usual.group(1), 16), int(usual.group(3), 16) * per_log + int(usual.group(4), 16)
            kind = ""
        else:
            if info.key == cluster:
                continue
            parts = layout.parse_wal_key(info.key)
            parsed = None if parts is None else _parsed(parts[0], segment_bytes)
            if parts is None or parsed is None:
                found.foreign_count += 1
                if len(found.foreign) < SHOWN:
                    found.foreign.append(info.key)
                continue
            name, digest, _suffix = parts
            timeline, number, kind = parsed.timeline, 0, parsed.kind
        here = found.timelines.get(timeline)
        if here is None:
            here = found.timelines[timeline] = TimelineFiles(timeline)
        stored = info.modified.timestamp() if info.modified is not None else 0.0
        found.files += 1
        found.size_bytes += info.size_bytes
        here.size_bytes += info.size_bytes
        if name == before and digest != digest_before and name != in_conflict:
            in_conflict = name
            found.conflict_count += 1
            if len(found.conflicts) < SHOWN:
                found.conflicts.append(name)
        before, digest_before = name, digest
        if found.absent:
            found.absent.discard(name)
        if kind:
            _other(here, kind, name, info.key)
            continue
        try:
            here.segments += here.runs.add(number, stored)
        except ValueError as error:
            hint = "Holes cannot be told from it; look at the store."
            raise RepositoryError(f"the listing is not in order: {error}", info.key, hint) from None
        if stored >= found.newest_stored:
            found.newest, found.newest_stored = name, stored
    return found


def _parsed(name: str, segment_bytes: int) -> WalName | None:
    try:
        found = WalName.parse(name)
        if found.kind != HISTORY:
            found.number(segment_bytes)
    except UnsafeName:
        return None
    return found


def _other(here: TimelineFiles, kind: str, name: str, key: str) -> None:
    if kind == HISTORY:
        here.history = key
    elif kind == PARTIAL and len(here.partials) < SHOWN:
        here.partials.append(name)


def moment_of(seconds: float) -> dt.datetime:
    """A moment from seconds since 1970, in UTC."""
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc)
