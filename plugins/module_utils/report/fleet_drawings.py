# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups over time, drawn as SVG: a calendar per repository, and what one can recover to as a bar. Pure.

The drawings hold moments and numbers only, nothing that a database or a store could have named.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet import Day, Window
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many, size

__all__ = ["WEEKS", "calendar", "marks", "spans"]

WEEKS = 13
_PITCH, _CELL = 13, 11
_LEFT, _TOP = 26, 16
WIDTH, HEIGHT = _LEFT + WEEKS * _PITCH, _TOP + 7 * _PITCH
_WEEKDAYS = ((0, "Mon"), (2, "Wed"), (4, "Fri"))
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CROSS = f"l{_CELL - 6},{_CELL - 6} m0,-{_CELL - 6} l-{_CELL - 6},{_CELL - 6}"

BAR_WIDTH, BAR_HEIGHT = 720, 16


def calendar(days: Sequence[Day], until: dt.date) -> str:
    """The last thirteen weeks up to `until`, a column each, Monday at the top: a square per day, with a cross where one is not good."""
    first = until - dt.timedelta(days=until.weekday() + 7 * (WEEKS - 1))
    shown = {day.date: day for day in days}
    empty, drawn, with_good = [], [], 0
    total = (until - first).days + 1
    for number in range(total):
        at = first + dt.timedelta(days=number)
        x, y = _LEFT + number // 7 * _PITCH, _TOP + number % 7 * _PITCH
        day = shown.get(at.isoformat())
        if day is None:
            empty.append(f"M{x},{y}h{_CELL}v{_CELL}h-{_CELL}z")
            continue
        with_good += day.good > 0
        drawn.append(_square(x, y, day))
    parts = [f'<path class="empty" d="{"".join(empty)}"/>' if empty else "", *drawn, *_words(first)]
    said = f"backups per day from {first} to {until}: good ones on {with_good} of {many(total, 'day')}"
    return f'<svg class="chart calendar" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{"".join(parts)}</svg>'


def _square(x: int, y: int, day: Day) -> str:
    said = f"{many(day.good, 'backup')}, {size(day.size_bytes)}" if day.good else "no good backup"
    if day.bad:
        said += f", {day.bad} not good"
    shade = 0.5 if day.good <= 1 else 0.75 if day.good <= 4 else 1
    tone = f'class="good" opacity="{shade}"' if not day.bad else 'class="bad"'
    square = f'<rect {tone} x="{x}" y="{y}" width="{_CELL}" height="{_CELL}" rx="2"><title>{day.date}: {said}</title></rect>'
    return square + (f'<path class="out" d="M{x + 3},{y + 3} {_CROSS}"/>' if day.bad else "")


def _words(first: dt.date) -> Iterable[str]:
    for row, word in _WEEKDAYS:
        yield f'<text x="0" y="{_TOP + row * _PITCH + 9}">{word}</text>'
    known, free = 0, 0
    for week in range(WEEKS):
        month = (first + dt.timedelta(days=7 * week)).month
        if month != known and week >= free and week < WEEKS - 1:
            yield f'<text x="{_LEFT + week * _PITCH}" y="10">{_MONTHS[month - 1]}</text>'
            known, free = month, week + 2


def marks(points: Sequence[dt.datetime], begin: dt.datetime, end: dt.datetime) -> str:
    """One mark for each moment that a backup holds; between two of them nothing can be had."""
    drawn = "".join(f'<rect class="point" x="{_across(at, begin, end) - 1.5:.1f}" y="2" width="3" height="12"/>' for at in points)
    said = f"{many(len(points), 'moment')}" + (f" from {points[0]:%Y-%m-%d %H:%M} to {points[-1]:%Y-%m-%d %H:%M} UTC" if points else "")
    return _bar(drawn, said)


def spans(windows: Sequence[Window], begin: dt.datetime, end: dt.datetime) -> str:
    """A band wherever one can recover to any moment; one that a gap ends is drawn thinner."""
    drawn, said = [], []
    for window in windows:
        until = window.until or window.begins
        x, to = _across(window.begins, begin, end), _across(until, begin, end)
        top, height = (2, 12) if window.current else (6, 4)
        drawn.append(f'<rect class="held" x="{x:.1f}" y="{top}" width="{max(to - x, 3):.1f}" height="{height}"/>')
        said.append(f"any moment from {window.begins:%Y-%m-%d %H:%M} to about {until:%Y-%m-%d %H:%M} UTC")
    return _bar("".join(drawn), "; ".join(said) or "nothing")


def _bar(drawn: str, said: str) -> str:
    ground = f'<rect class="ground" x="0" y="7" width="{BAR_WIDTH}" height="2"/>'
    frame = f'viewBox="0 0 {BAR_WIDTH} {BAR_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{said}"'
    return f'<svg class="span" {frame}>{ground}{drawn}</svg>'


def _across(at: dt.datetime, begin: dt.datetime, end: dt.datetime) -> float:
    """By time; a moment that lies outside, of a clock that went wrong, stands at the edge."""
    whole = (end - begin).total_seconds()
    share = (at - begin).total_seconds() / whole if whole > 0 else 1.0
    return 3 + min(max(share, 0.0), 1.0) * (BAR_WIDTH - 6)
