# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a timeline came from: the history file that a promotion writes. Pure.

Each line says that a timeline was followed up to a position: `<parent>\\t<position>\\t<reason>`
(src/backend/access/transam/timeline.c).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn

__all__ = ["Step", "history_name", "needed", "read_history"]

_LINE = re.compile(r"^\s*(\d+)\s+([0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8})(?:\s.*)?$")


@dataclass(frozen=True)
class Step:
    """`timeline` was followed up to `end`, where another one begins."""

    timeline: int
    end: Lsn


def history_name(timeline: int) -> str:
    """The name of a timeline's history file; timeline 1 has none."""
    return f"{timeline:08X}.history"


def read_history(text: str, timeline: int) -> tuple[Step, ...]:
    """The steps that lead to `timeline`, oldest first; raises `IntegrityError` when it is not such a file."""
    steps: list[Step] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.match(line)
        step = None if match is None else Step(int(match.group(1)), Lsn.parse(match.group(2)))
        # As PostgreSQL: ids grow, and stay below that of the timeline itself. A position may be the same as the one before.
        if step is None or step.timeline >= timeline or (steps and (step.timeline <= steps[-1].timeline or step.end < steps[-1].end)):
            raise IntegrityError(f"{history_name(timeline)} is not the history of a timeline: {line.strip()[:80]!r}")
        steps.append(step)
    return tuple(steps)


def needed(
    steps: tuple[Step, ...], timeline: int, begin_timeline: int, begin: Lsn, end: Lsn, segment_bytes: int
) -> list[tuple[int, int, int]]:
    """The segments that lead from `begin` on `begin_timeline` to `end` on `timeline`: (timeline, first, last), in order.

    `steps` is the history of `timeline`. The segment in which timelines part is taken from the later one, as PostgreSQL does
    when both hold it. Raises `IntegrityError` when the way does not lead through `begin`.
    """
    way = [*steps, Step(timeline, end)]
    numbers = [step.timeline for step in way]
    if begin_timeline not in numbers:
        raise IntegrityError(f"timeline {timeline} does not come from timeline {begin_timeline}")
    at = numbers.index(begin_timeline)
    if way[at].end < begin:
        raise IntegrityError(f"timeline {timeline} left timeline {begin_timeline} at {way[at].end}, before {begin}")
    parts, first = [], begin.segment(segment_bytes)
    for number, step in enumerate(way[at:], at):
        final = number == len(way) - 1
        # The segment that holds the parting is written again, whole, on the new timeline.
        last = step.end.segment_before(segment_bytes) if final else step.end.segment(segment_bytes) - 1
        if last >= first:
            parts.append((step.timeline, first, last))
            first = last + 1
    return parts
