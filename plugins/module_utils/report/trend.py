# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a measured time went over the drills, drawn as SVG: figures and dates only, nothing that a database could have named. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration

__all__ = ["Point", "chart", "summary"]

WIDTH, HEIGHT = 360, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 8.0, 352.0, 26.0, 118.0
_MARK = 3.5
FLAT = 4.0
"""A promise this many times above everything measured is drawn at the frame's top, with an arrow."""


@dataclass(frozen=True)
class Point:
    """One drill: when, its verdict, what it measured (None: it did not get there), and what was promised at that time."""

    at: dt.datetime
    verdict: str
    seconds: float | None
    promised: float | None = None


def chart(title: str, points: Sequence[Point]) -> str:
    """A line through what was measured, the promise above it, and a mark on the ground for each drill that did not pass.

    `title` has to be text of ours. Points are in the order of time.
    """
    if not points:
        return ""
    top = _top(points)
    places = [(_across(points, point), point) for point in points]
    measured = [(x, _up(point.seconds, top), point) for x, point in places if point.seconds is not None and point.verdict == PASSED]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _point in measured)
    parts = [f'<line class="ground" x1="{_LEFT}" y1="{_BOTTOM}" x2="{_RIGHT}" y2="{_BOTTOM}"/>', _promise(places, top)]
    if len(measured) > 1:
        parts.append(f'<polyline class="path" points="{line}"/>')
    parts += [_dot(x, y, point) for x, y, point in measured]
    parts += [_missing(x, point) for x, point in places if point.seconds is None or point.verdict != PASSED]
    parts.append(f'<text x="{_LEFT}" y="{HEIGHT - 10}">{points[0].at:%Y-%m-%d}</text>')
    if len(points) > 1:
        parts.append(f'<text class="end" x="{_RIGHT}" y="{HEIGHT - 10}">{points[-1].at:%Y-%m-%d}</text>')
    said = f"{title}, {len(points)} drills from {points[0].at:%Y-%m-%d} to {points[-1].at:%Y-%m-%d}: {summary(points)}"
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{"".join(parts)}</svg>'


def _top(points: Sequence[Point]) -> float:
    """The value at the frame's top: room for the promise too, unless what was measured would be a flat line far below it."""
    measured = max([1e-9, *(point.seconds for point in points if point.seconds is not None and point.verdict == PASSED)])
    promises = [point.promised for point in points if point.promised is not None and point.promised <= FLAT * measured]
    return max([measured, *promises]) * 1.08


def _across(points: Sequence[Point], point: Point) -> float:
    """By time, so that a month without a drill is a gap."""
    span = (points[-1].at - points[0].at).total_seconds()
    share = (point.at - points[0].at).total_seconds() / span if span > 0 else 0.5
    return _LEFT + 6 + share * (_RIGHT - _LEFT - 12)


def _up(seconds: float, top: float) -> float:
    return _BOTTOM - 8 - min(seconds / top, 1.0) * (_BOTTOM - 8 - _TOP)


def _promise(places: Sequence[tuple[float, Point]], top: float) -> str:
    """The promise as steps, since it may have changed, with its last value written above."""
    promised = [(x, point.promised) for x, point in places if point.promised is not None]
    if not promised:
        return ""
    steps = [f"M{_LEFT},{_up(promised[0][1], top):.1f}"]
    for x, value in promised[1:]:
        steps += [f"H{x:.1f}", f"V{_up(value, top):.1f}"]
    last = promised[-1][1]
    label = f'<text class="end promised" x="{_RIGHT}" y="{_up(last, top) - 5:.1f}">promised {duration(last)}{" ↑" * (last > top)}</text>'
    return f'<path class="promise" d="{" ".join(steps)} H{_RIGHT}"/>{label}'


def _dot(x: float, y: float, point: Point) -> str:
    seconds = point.seconds or 0.0
    tone = "plain" if point.promised is None else PASSED if seconds <= point.promised else FAILED
    said = f"<title>{point.at:%Y-%m-%d %H:%M} UTC: {duration(seconds)}</title>"
    if tone == FAILED:  # another shape too, for who does not see its colour
        return f'<rect class="dot {tone}" x="{x - _MARK:.1f}" y="{y - _MARK:.1f}" width="{2 * _MARK}" height="{2 * _MARK}">{said}</rect>'
    return f'<circle class="dot {tone}" cx="{x:.1f}" cy="{y:.1f}" r="{_MARK}">{said}</circle>'


def _missing(x: float, point: Point) -> str:
    tone = point.verdict if point.verdict in (FAILED, UNVERIFIED) else "plain"
    cross = f"M{x - _MARK:.1f},{_BOTTOM - _MARK} l{2 * _MARK},{2 * _MARK} m0,-{2 * _MARK} l-{2 * _MARK},{2 * _MARK}"
    said = f"{tone}, nothing measured" if tone != "plain" else "nothing measured"
    return f'<path class="cross {tone}" d="{cross}"><title>{point.at:%Y-%m-%d %H:%M} UTC: {said}</title></path>'


def summary(points: Sequence[Point]) -> str:
    """The range of what was measured, and its middle."""
    values = sorted(point.seconds for point in points if point.seconds is not None and point.verdict == PASSED)
    if not values:
        return "never measured"
    return f"from {duration(values[0])} to {duration(values[-1])}, median {duration(values[len(values) // 2])}"
