# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far an archive is behind its server, in segments and in seconds. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.server import ServerWal
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.survey import Survey, moment_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.window import Line

__all__ = ["EXACT", "LEAST", "lag_document"]

EXACT, LEAST = "exact", "at least"


def lag_document(server: ServerWal, found: Survey, known: Mapping[int, Line]) -> dict[str, Any]:
    """`segments` are those that the server has finished and the archive does not hold; `seconds` for how long changes have
    been made that are not in the archive, the segment being written included: what a loss of the server would cost now.

    `seconds_are` is "exact" where the server tells when it finished the last archived segment, else "at least", counted from
    when the archive stored it. Both are None when the archive holds nothing of the server's timeline and those before it.
    """
    last = _last(server, found, known)
    if last is None:
        return {"segments": None, "seconds": None, "seconds_are": LEAST, "last_archived": None}
    timeline, number = last
    behind = max(0, server.current_segment - 1 - number)
    name = found.name(timeline, number)
    document: dict[str, Any] = {"segments": behind, "last_archived": name}
    if not behind and server.current_is_empty:
        return {**document, "seconds": 0.0, "seconds_are": EXACT}
    since, how = _finished(server, found, timeline, number, name)
    seconds = None if since is None else round(max(0.0, (server.asked_at - since).total_seconds()), 3)
    return {**document, "seconds": seconds, "seconds_are": how}


def _last(server: ServerWal, found: Survey, known: Mapping[int, Line]) -> tuple[int, int] | None:
    """The newest segment on the server's way: on its timeline, else on those it came from, up to where they parted."""
    line = known.get(server.timeline)
    parts = [(step.timeline, step.end.segment(found.segment_bytes)) for step in (line.steps if line else ())]
    for timeline, parted in reversed([*parts, (server.timeline, server.current_segment)]):
        files = found.timelines.get(timeline)
        last = None if files is None else files.runs.last
        if last is not None:
            return timeline, min(last, parted)
    if line is None:  # just promoted, and nothing of the new timeline is here yet: nobody could say where it began
        older = [timeline for timeline in found.timelines if timeline < server.timeline and found.timelines[timeline].runs.last is not None]
        if older:
            last = found.timelines[max(older)].runs.last
            return (max(older), min(last, server.current_segment)) if last is not None else None
    return None


def _finished(server: ServerWal, found: Survey, timeline: int, number: int, name: str) -> tuple[dt.datetime | None, str]:
    """When the server finished a segment. The mark of an archived one keeps the moment at which it was finished."""
    if server.done and name in server.done and not server.standby:
        return server.done[name], EXACT
    run = found.timelines[timeline].runs.holding(number)
    if run is None or not run[2]:
        return None, LEAST
    return moment_of(run[2]), LEAST
