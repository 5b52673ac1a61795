# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what should be fresh is: one finding for each thing and place, with its reason. Pure.

Judged by the state that a backup holds, not by when it was written: a dump that took ten hours is ten hours old when it is done.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration, size

__all__ = ["FRESH", "STATES", "Expected", "Finding", "Seen", "judge", "judge_drill", "judge_wal"]

STATES = ("fresh", "late", "missing", "broken", "small", "future", "unknown")
FRESH = STATES[0]

_CLOCKS_DIFFER = dt.timedelta(minutes=15)


@dataclass(frozen=True)
class Expected:
    """An asset that should be in a repository. `limit_seconds`: how old its newest state may be; None when nothing was promised."""

    kind: str
    name: str
    limit_seconds: float | None = None
    min_bytes: int = 0

    @property
    def asset(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Seen:
    """A backup, or a drill, that was found: the moment that counts for its age, and what is wrong with it ("" for nothing)."""

    id: str
    moment: dt.datetime
    size_bytes: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing in one place. `what` is a backup, a drill or the log; `reason` is a sentence, "" for what is fresh."""

    what: str
    asset: str
    repository: str
    state: str
    reason: str = ""
    id: str = ""
    moment: dt.datetime | None = None
    limit_seconds: float | None = None
    size_bytes: int = 0

    @property
    def good(self) -> bool:
        return self.state == FRESH

    def words(self) -> str:
        return f"{self.asset} in {self.repository}: {self.reason}" if self.repository else f"{self.asset}: {self.reason}"


def judge(expected: Expected, repository: str, newest: Seen | None, newest_good: Seen | None, now: dt.datetime) -> Finding:
    """A backup in a repository: the newest one, and the newest good one; None where there is none.

    A newest backup that is broken is said even when an older one is young enough: whoever recovers takes the newest.
    """

    def found(state: str, reason: str = "", seen: Seen | None = newest_good) -> Finding:
        if seen is None:
            return Finding("backup", expected.asset, repository, state, reason, limit_seconds=expected.limit_seconds)
        return Finding("backup", expected.asset, repository, state, reason, seen.id, seen.moment, expected.limit_seconds, seen.size_bytes)

    if newest is None:
        return found("missing", "there is no backup")
    if newest_good is None:
        return found("broken", f"no backup is good; of the newest, {newest.id}: {newest.problem}", None)
    late = _late(newest_good.moment, expected.limit_seconds, now)
    if newest.moment - now > _CLOCKS_DIFFER:
        return found("future", f"backup {newest.id} is dated {duration((newest.moment - now).total_seconds())} ahead: a clock is wrong")
    if newest.id != newest_good.id:
        return found("broken", f"the newest backup, {newest.id}, is not good: {newest.problem}{f'; {late}' if late else ''}")
    if late:
        return found("late", late)
    if newest_good.size_bytes < expected.min_bytes:
        return found("small", f"it has {size(newest_good.size_bytes)}, and {size(expected.min_bytes)} at least were expected")
    return found(FRESH)


def judge_drill(asset: str, last: Seen | None, last_good: Seen | None, limit_seconds: float | None, now: dt.datetime) -> Finding:
    """The drills of an asset: the last one has to be good, and not too long ago."""

    def found(state: str, reason: str = "") -> Finding:
        seen = last_good or last
        return Finding("drill", asset, "", state, reason, seen.id if seen else "", seen.moment if seen else None, limit_seconds)

    if last is None:
        return found("missing", "it was never drilled: a backup that was never restored is none")
    if last.problem:
        return found("broken", f"its last drill {last.problem}")
    late = _late(last.moment, limit_seconds, now)
    return found("late", f"its last good drill is overdue: {late}") if late else found(FRESH)


def judge_wal(repository: str, newest: Seen | None, problems: int, limit_seconds: float | None, now: dt.datetime) -> Finding:
    """The archived log: the newest segment by when the store got it, and how much is wrong with the archive."""

    def found(state: str, reason: str = "") -> Finding:
        if newest is None:
            return Finding("log", "wal", repository, state, reason, limit_seconds=limit_seconds)
        return Finding("log", "wal", repository, state, reason, newest.id, newest.moment, limit_seconds)

    if newest is None:
        return found("missing", "no segment is archived")
    if problems:
        return found("broken", newest.problem)
    late = _late(newest.moment, limit_seconds, now)
    return found("late", f"segment {newest.id} is the newest: {late}") if late else found(FRESH)


def _late(moment: dt.datetime, limit_seconds: float | None, now: dt.datetime) -> str:
    age = (now - moment).total_seconds()
    if limit_seconds is None or age <= limit_seconds:
        return ""
    return f"{duration(age)} old, and at most {duration(limit_seconds)} was promised"
