# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may go: (the backups of one asset, policy, now) to a decision with its reasons for each. Pure.

Counts look at the calendar of the backups and never at the clock: of the newest so many periods that have a good backup, the
newest one of each stays. So a clock that jumps and weeks without a backup remove nothing. Only `max_age` asks what time it is;
whether the clock can be believed, and the listing, is asked before (`prune/doubts.py`).

Law 6, before every other wish: the newest verified backup stays, the newest that passed a drill, and the newest good one; so does
whatever a kept one builds on; where no backup is verified, all of them stay.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import RetentionRefused
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration

__all__ = ["CLOCKS_DIFFER_BY", "UNPROVEN", "Decision", "Kept", "Policy", "decide"]

CLOCKS_DIFFER_BY = dt.timedelta(hours=1)
"""What a backup's moment may lie ahead of this host's clock and still be believed."""

UNPROVEN = "none of its backups is verified, so none goes"

_PERIODS: dict[str, tuple[str, dt.timedelta]] = {
    "hourly": ("%Y-%m-%dT%H", dt.timedelta(hours=1)),
    "daily": ("%Y-%m-%d", dt.timedelta(days=1)),
    "weekly": ("%G-W%V", dt.timedelta(weeks=1)),
    "monthly": ("%Y-%m", dt.timedelta(days=31)),
    "yearly": ("%Y", dt.timedelta(days=366)),
}
"""The calendar in UTC, weeks as ISO 8601 counts them; and how long a period is at most."""


@dataclass(frozen=True)
class Policy:
    """How many of the newest periods keep a backup, how many of the newest stay in any case, and how old one may become.

    Without any number every backup stays until `max_age_seconds`; without that, too, for ever.
    """

    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    keep: int = 0
    max_age_seconds: float | None = None

    @classmethod
    def of(cls, retention: Mapping[str, int]) -> Policy:
        """From a mapping as `repository/terms.py` reads it, `max_age` in seconds."""
        counts = {word: number for word, number in retention.items() if word != "max_age"}
        return cls(**counts, max_age_seconds=retention.get("max_age"))

    @property
    def counts(self) -> dict[str, int]:
        """The numbers that are above 0."""
        return {word: number for word in ("keep", *_PERIODS) if (number := getattr(self, word)) > 0}

    @property
    def words(self) -> str:
        """As people say it: "daily 7, weekly 4, at most 400 days old"."""
        parts = [f"{word} {number}" for word, number in self.counts.items()]
        if self.max_age_seconds is not None:
            parts.append(f"at most {duration(self.max_age_seconds)} old")
        return ", ".join(parts) or "everything"


@dataclass(frozen=True)
class Kept:
    """A backup that is there. `moment` is that of the state it holds, aware.

    `verified`: a drill passed it, or every byte was compared with its digests. `drilled`: its last drill passed, which says more: the
    newest of those stays, too, so that whoever takes the host over cannot push it out with backups that are whole and worth nothing.
    `problem` says why it is not good: it fills no place in a class then, and only age removes it, or a newer verified one where it was
    its drill that `failed`. `held` says what keeps it whatever the policy wants; `locked_until` until when the store lets nobody remove it.
    """

    backup_id: str
    moment: dt.datetime
    verified: bool = False
    drilled: bool = False
    problem: str = ""
    failed: bool = False
    parent: str = ""
    held: str = ""
    locked_until: dt.datetime | None = None

    @property
    def good(self) -> bool:
        return not self.problem


@dataclass(frozen=True)
class Decision:
    """What becomes of a backup, and why. `stays_until` is until when its class keeps it at least, once it is certain which
    that is; `waits` is true for one that would go if it were not locked. `too_old`: it is past the age that was promised,
    whether it goes or not."""

    backup_id: str
    keep: bool
    reasons: tuple[str, ...]
    stays_until: dt.datetime | None = None
    waits: bool = False
    too_old: bool = False


@dataclass
class _Case:
    """A backup and what speaks for it."""

    backup: Kept
    reasons: list[str] = field(default_factory=list)
    stays_until: dt.datetime | None = None
    too_old: bool = False
    waits: bool = False


def decide(backups: Sequence[Kept], policy: Policy, now: dt.datetime) -> list[Decision]:
    """A decision for each backup of one asset, newest first; those that go come in an order that leaves no link without its parent.

    Raises `RetentionRefused` when one of them is dated ahead of `now`.
    """
    # Python compares and subtracts moments of one zone by the wall clock, which summer time sets back.
    now = now.astimezone(dt.timezone.utc)
    utc = [dataclasses.replace(one, moment=one.moment.astimezone(dt.timezone.utc)) for one in backups]
    newest_first = sorted(utc, key=lambda one: (one.moment, one.backup_id), reverse=True)
    for backup in newest_first[:1]:
        if backup.moment > now + CLOCKS_DIFFER_BY:
            raise RetentionRefused(
                f"backup {backup.backup_id} is dated ahead of this host's clock",
                next_step="Set the clock that is wrong; nothing was removed.",
            )
    good = [backup for backup in newest_first if backup.good]
    verified = next((backup for backup in good if backup.verified), None)
    if not policy.counts and policy.max_age_seconds is None:
        return [Decision(backup.backup_id, True, ("no retention is set",)) for backup in newest_first]

    cases = {backup.backup_id: _Case(backup, too_old=_is_too_old(backup, policy, now)) for backup in newest_first}
    _by_class(cases, good, policy, now)
    for backup in newest_first:
        case = cases[backup.backup_id]
        if case.too_old:
            case.reasons, case.stays_until = [], None
        elif not backup.good and (not backup.failed or verified is None or backup.moment > verified.moment):
            case.reasons.append(f"left as it is: {backup.problem}")
        if backup.held:
            case.reasons.append(backup.held)
    if good:
        cases[good[0].backup_id].reasons.append("newest good")
    if verified is not None:
        cases[verified.backup_id].reasons.append("newest verified")
    drilled = next((backup for backup in good if backup.drilled), None)
    if drilled is not None:
        cases[drilled.backup_id].reasons.append("newest that passed a drill")
    _hold_parents(cases)
    _hold_unproven(cases, good, verified)
    for case in cases.values():
        until = case.backup.locked_until
        if not case.reasons and until is not None and until > now:
            case.waits = True
            case.reasons.append(f"locked until {until.astimezone(dt.timezone.utc):%Y-%m-%d %H:%M} UTC, then it goes")
    _hold_parents(cases)
    return [_decision(case, policy) for case in cases.values()]


def _hold_unproven(cases: Mapping[str, _Case], good: Sequence[Kept], verified: Kept | None) -> None:
    """Where nothing is proven, nothing goes."""
    if verified is None:
        for case in cases.values():
            if not case.reasons:
                case.reasons.append(UNPROVEN if good else "none of its backups is good, so none goes")


def _is_too_old(backup: Kept, policy: Policy, now: dt.datetime) -> bool:
    return policy.max_age_seconds is not None and (now - backup.moment).total_seconds() > policy.max_age_seconds


def _by_class(cases: Mapping[str, _Case], good: Sequence[Kept], policy: Policy, now: dt.datetime) -> None:
    """The newest good backup of each of the newest periods."""
    if not policy.counts:
        for backup in good:
            cases[backup.backup_id].reasons.append(f"not older than {duration(policy.max_age_seconds or 0)}")
        return
    for word, number in policy.counts.items():
        period_of: Callable[[Kept], str] = (lambda backup: backup.backup_id) if word == "keep" else _calendar(word)
        rank, last = 0, ""
        for backup in good:
            period = period_of(backup)
            if period == last:
                continue
            rank, last = rank + 1, period
            if rank > number:
                break
            case = cases[backup.backup_id]
            case.reasons.append(f"newest {rank} of {number}" if word == "keep" else f"{word} {rank} of {number}")
            # The newest period may get a newer backup yet, which takes its place.
            if rank > 1 and word in _PERIODS:
                until = now + (number - rank) * _PERIODS[word][1]
                if policy.max_age_seconds is not None:
                    until = min(until, backup.moment + dt.timedelta(seconds=policy.max_age_seconds))
                case.stays_until = until if case.stays_until is None else max(case.stays_until, until)


def _calendar(word: str) -> Callable[[Kept], str]:
    return lambda backup: backup.moment.strftime(_PERIODS[word][0])


def _hold_parents(cases: Mapping[str, _Case]) -> None:
    """Whatever a kept backup builds on stays, however old it is: without it the kept one is nothing."""
    for case in list(cases.values()):
        child, parent = case, cases.get(case.backup.parent)
        while child.reasons and parent is not None:
            why = f"its increment {child.backup.backup_id} is kept"
            if any(reason.startswith("its increment ") for reason in parent.reasons):
                break  # all that it builds on is held already
            parent.reasons.append(why)
            child, parent = parent, cases.get(parent.backup.parent)


def _decision(case: _Case, policy: Policy) -> Decision:
    backup = case.backup
    if case.reasons:
        reasons = tuple(case.reasons)
        if case.too_old:
            reasons += (f"though older than {duration(policy.max_age_seconds or 0)}",)
        return Decision(backup.backup_id, True, reasons, case.stays_until, case.waits, case.too_old)
    if case.too_old:
        why = f"older than {duration(policy.max_age_seconds or 0)}"
    elif not backup.good:
        why = f"{backup.problem}, and a newer one is verified"
    else:
        why = f"beyond {policy.words}"
    return Decision(backup.backup_id, False, (why,), too_old=case.too_old)
