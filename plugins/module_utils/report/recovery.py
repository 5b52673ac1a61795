# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recovery to a moment reached: the window one can recover to, drawn as SVG, and what is told beside it. Pure.

The drawing holds moments only, nothing that a database could have named.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration, many

__all__ = ["facts", "lag_seconds", "window"]

WIDTH, HEIGHT = 720, 110
_LEFT, _RIGHT, _LINE = 8.0, 712.0, 60.0
_CLOSE = 120.0
"""Labels that are nearer than this to an end are written from there."""


def facts(report: DrillReport) -> Iterator[tuple[str, str, bool]]:
    """Name, value, and whether the value was somebody else's word."""
    told = report.recovery
    if told is None:
        return
    yield "target", told.target, True
    if told.window_from is not None:
        until = f" to about {_moment(told.window_until)}" if told.window_until is not None else ", and no further"
        yield "can be recovered to", f"any moment from {_moment(told.window_from)}{until}", False
    lag = lag_seconds(report)
    if lag is not None:
        yield "archive lag at the failure", f"{duration(lag)} since the last segment arrived", False
    if told.gap_seconds is not None:
        yield "longest wait between arrivals", f"{duration(told.gap_seconds)}, what a failure at the worst moment would have lost", False
    if told.chain:
        yield many(len(told.chain), "base backup"), ", ".join(told.chain), True
    if told.first_segment:
        yield "log in the archive", f"{told.first_segment} to {told.last_segment} on timeline {told.timeline}", True
    if told.reached_lsn:
        yield "replayed", f"{many(told.segments, 'segment')}, from {told.base_lsn} to {told.reached_lsn}", True
    if told.stopped:
        yield "stopped", told.stopped, True
    if told.last_commit is not None:
        yield "last commit", _moment(told.last_commit), False
    yield "heartbeat", "none in the recovered database" if told.heartbeat is None else _moment(told.heartbeat), False


def lag_seconds(report: DrillReport) -> float | None:
    """For how long nothing had arrived in the archive when the failure was assumed; None where that is not known."""
    told = report.recovery
    if told is None or told.window_until is None or report.failure_at is None:
        return None
    return max(0.0, (report.failure_at - told.window_until).total_seconds())


def window(report: DrillReport) -> str:
    """The line from the end of the base backup to the failure: what the archive holds, what it does not, and where the drill is."""
    told = report.recovery
    if told is None or told.window_from is None:
        return ""
    begin, until, state, failure = told.window_from, told.window_until or told.window_from, report.snapshot_at, report.failure_at
    end = max(moment for moment in (begin, until, state, failure) if moment is not None)
    span = (end - begin).total_seconds()

    def across(moment: dt.datetime) -> float:
        share = (moment - begin).total_seconds() / span if span > 0 else 0.0
        return _LEFT + min(max(share, 0.0), 1.0) * (_RIGHT - _LEFT)

    held, failed = across(until), across(end)
    parts = [
        f'<rect class="lost" x="{held:.1f}" y="{_LINE - 5}" width="{max(failed - held, 0):.1f}" height="10"/>',
        f'<rect class="held" x="{_LEFT}" y="{_LINE - 5}" width="{max(held - _LEFT, 3):.1f}" height="10" rx="2"/>',
        _label(_LEFT, begin, "base backup ends", ""),
        _label(_RIGHT, end, "failure" if failure == end else "last segment arrived", ' class="end"'),
    ]
    said = f"recoverable from {_moment(begin)} to about {_moment(until)}"
    if state is not None:
        parts.append(_mark(across(state), state))
        said += f"; the drill reached {_moment(state)}"
    return f'<svg class="chart window" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{"".join(parts)}</svg>'


def _label(x: float, moment: dt.datetime, said: str, anchor: str) -> str:
    first = f'<text{anchor} x="{x}" y="{_LINE + 24}">{moment:%Y-%m-%d %H:%M:%S}</text>'
    return f'{first}<text{anchor} x="{x}" y="{_LINE + 43}">{said}</text>'


def _mark(x: float, state: dt.datetime) -> str:
    """Where the drill is, with its moment above, written towards the side that has room."""
    anchor = "" if x < _LEFT + _CLOSE else ' class="end"' if x > _RIGHT - _CLOSE else ' class="middle"'
    return (
        f'<path class="state" d="M{x:.1f},{_LINE - 18} V{_LINE + 9}"/><circle class="state" cx="{x:.1f}" cy="{_LINE}" r="5"/>'
        f'<text{anchor} x="{x:.1f}" y="{_LINE - 42}">recovered</text>'
        f'<text{anchor} x="{x:.1f}" y="{_LINE - 23}">{state:%Y-%m-%d %H:%M:%S}</text>'
    )


def _moment(moment: dt.datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"
