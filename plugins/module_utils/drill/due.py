# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a drill is due, by what earlier ones came to. Pure.

A job looks often and drills seldom: when the cadence has passed, when the server's major version is another one than the last good
drill's, when the last drill was not good, and when there never was one. There is no waiting after a drill that was not good: the next
look tries again, and until it is good nothing is green (law 2).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration

__all__ = ["Due", "Past", "judge_due", "overdue"]

PATIENCE_SECONDS = 86400.0
"""How late a drill may be before somebody is told: one that begins at the same hour each month is now and then late by what it takes."""

_EARLY_SHARE, _EARLY_SECONDS = 0.1, 2 * 3600.0
"""A look that comes at the same hour each day is now and then some seconds early, or an hour when the clocks change."""
_CLOCKS_DIFFER = dt.timedelta(minutes=15)


@dataclass(frozen=True)
class Past:
    """A drill that was: when it began, whether it was good, and on which major version of PostgreSQL (0: not known)."""

    at: dt.datetime
    good: bool
    major: int = 0


@dataclass(frozen=True)
class Due:
    """`reason` is a sentence without its end; `next_due` is None for what is due now, `last_good` where no drill was good."""

    due: bool
    reason: str
    next_due: dt.datetime | None = None
    last_good: dt.datetime | None = None

    def to_document(self) -> dict[str, Any]:
        moments = {"next_due": self.next_due, "last_good": self.last_good}
        return {
            "due": self.due,
            "reason": self.reason,
            **{name: None if moment is None else format_moment(moment) for name, moment in moments.items()},
        }


def judge_due(max_age_seconds: float, past: Sequence[Past], now: dt.datetime, newest_major: int = 0) -> Due:
    """Whether a drill is due at `now`; `past` in any order, `newest_major` is that of the newest backup (0: not known).

    A drill that is dated ahead of this clock says nothing: otherwise a clock that once went wrong would keep drills away for years.
    """
    known = sorted((drill for drill in past if drill.at - now <= _CLOCKS_DIFFER), key=lambda drill: drill.at)
    good = [drill for drill in known if drill.good]
    last_good = good[-1].at if good else None
    if not known:
        why = "its drills are dated ahead of this host's clock" if past else "it was never drilled, as far as can be seen from here"
        return Due(True, why)
    last = known[-1]
    if not last.good:
        return Due(True, f"its last drill, of {_day(last.at)}, was not good", None, last_good)
    age = (now - last.at).total_seconds()
    next_due = last.at + dt.timedelta(seconds=max_age_seconds - min(max_age_seconds * _EARLY_SHARE, _EARLY_SECONDS))
    if now >= next_due:
        return Due(True, f"its last good drill is {duration(age)} old, and one every {duration(max_age_seconds)} is due", None, last.at)
    if newest_major and last.major and newest_major != last.major:
        why = f"its newest backup is of PostgreSQL {newest_major}, and its last good drill was of {last.major}"
        return Due(True, why, None, last.at)
    return Due(False, f"its last good drill is of {_day(last.at)}, and the next is due on {_day(next_due)}", next_due, last.at)


def overdue(max_age_seconds: float, last_good: dt.datetime, now: dt.datetime) -> str:
    """What to say of a last good drill that is too long ago, a day of patience over; "" where it is not."""
    age = (now - last_good).total_seconds()
    if age <= max_age_seconds + PATIENCE_SECONDS:
        return ""
    return f"overdue: the last good drill is {duration(age)} old, and one every {duration(max_age_seconds)} was promised"


def _day(moment: dt.datetime) -> str:
    return f"{moment.astimezone(dt.timezone.utc):%Y-%m-%d}"
