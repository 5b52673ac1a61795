# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which segments are there without a hole: a listing of any length as few ranges. Pure.

Memory grows with the number of holes and not with the number of segments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["Range", "holes", "ranges"]


@dataclass(frozen=True)
class Range:
    """Segments `first` to `last` of a timeline, both included, none missing."""

    timeline: int
    first: int
    last: int

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    def holds(self, first: int, last: int) -> bool:
        """Whether every segment from `first` to `last` is in here."""
        return self.first <= first and last <= self.last


def ranges(segments: Iterable[tuple[int, int]]) -> Iterator[Range]:
    """The ranges of (timeline, number) pairs that come in ascending order; a pair that comes twice counts once.

    Raises `ValueError` when they are not in order: a listing that jumps back cannot be trusted with holes.
    """
    timeline, first, last = -1, 0, -1
    for found in segments:
        if found in ((timeline, last), (timeline, last + 1)) and timeline >= 0:
            last = found[1]
            continue
        if timeline >= 0:
            if found < (timeline, last):
                raise ValueError(f"segment {found[1]} of timeline {found[0]} comes after segment {last} of timeline {timeline}")
            yield Range(timeline, first, last)
        timeline, first, last = found[0], found[1], found[1]
    if timeline >= 0:
        yield Range(timeline, first, last)


def holes(found: Iterable[Range], timeline: int, first: int, last: int) -> list[Range]:
    """What is missing of segments `first` to `last` of a timeline; `found` in ascending order."""
    missing, wanted = [], first
    for item in found:
        if item.timeline != timeline or item.last < wanted:
            continue
        if item.first > last:
            break
        if item.first > wanted:
            missing.append(Range(timeline, wanted, item.first - 1))
        wanted = item.last + 1
    if wanted <= last:
        missing.append(Range(timeline, wanted, last))
    return missing
