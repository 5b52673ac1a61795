# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may go: the sixth law holds for whatever backups, policy and clock there are, and the classes are those of the calendar."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import RetentionRefused
from ansible_collections.lifeboat.postgres.plugins.module_utils.retention import Decision, Kept, Policy, decide
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.timezone.utc)
UTC = dt.timezone.utc
NUMBERS = st.integers(0, 9)
DAYS = st.none() | st.integers(1, 500)
POLICIES = st.builds(
    lambda hourly, daily, weekly, monthly, yearly, keep, days: Policy(
        hourly, daily, weekly, monthly, yearly, keep, None if days is None else days * 86400.0
    ),
    *[NUMBERS] * 6,
    DAYS,
)


@st.composite
def histories(draw: Any) -> list[Kept]:
    """Backups of one asset: some broken, some verified, some that build on the one before, at any hours of the last years."""
    minutes = sorted(draw(st.sets(st.integers(0, 3 * 366 * 24 * 60), max_size=12)), reverse=True)
    backups: list[Kept] = []
    for number, ago in enumerate(minutes):
        moment = NOW - dt.timedelta(minutes=ago)
        parent = backups[-1].backup_id if backups and draw(st.booleans()) else ""
        problem = draw(st.sampled_from(["", "", "", "cut", "its drill failed"]))
        locked = draw(st.none() | st.integers(-100, 100))
        backups.append(
            Kept(
                f"{moment:%Y%m%dT%H%M%SZ}-{number:08x}",
                moment,
                verified=not problem and draw(st.booleans()),
                drilled=not problem and draw(st.integers(0, 5)) == 0,
                problem=problem,
                failed=problem.startswith("its"),
                parent=parent,
                held=draw(st.sampled_from(["", "", "a kept backup needs it"])),
                locked_until=None if locked is None else NOW + dt.timedelta(days=locked),
            )
        )
    shuffled: list[Kept] = draw(st.permutations(backups))
    return shuffled


def kept_of(decisions: Sequence[Decision]) -> set[str]:
    return {decision.backup_id for decision in decisions if decision.keep}


@given(histories(), POLICIES)
@settings(deadline=None, max_examples=60)
def test_the_sixth_law_holds_for_every_history_and_policy(backups: list[Kept], policy: Policy) -> None:
    decisions = decide(backups, policy, NOW)
    kept = kept_of(decisions)
    assert sorted(decision.backup_id for decision in decisions) == sorted(one.backup_id for one in backups)
    assert all(decision.reasons for decision in decisions)
    by_id = {one.backup_id: one for one in backups}
    good = sorted((one for one in backups if one.good), key=lambda one: one.moment)
    verified = [one for one in good if one.verified]
    if not verified:
        assert kept == set(by_id), "nothing goes before something is verified"
        return
    assert verified[-1].backup_id in kept
    assert good[-1].backup_id in kept
    drilled = [one for one in good if one.drilled]
    assert not drilled or drilled[-1].backup_id in kept
    for backup_id in kept:
        assert not by_id[backup_id].parent or by_id[backup_id].parent in kept, "a kept backup lost what it builds on"
    assert all(one.backup_id in kept for one in backups if one.held)
    for decision in decisions:
        until = by_id[decision.backup_id].locked_until
        assert decision.keep or until is None or until <= NOW, "a locked one waits"


@given(histories(), POLICIES)
@settings(deadline=None, max_examples=60)
def test_deciding_again_about_what_was_left_removes_nothing(backups: list[Kept], policy: Policy) -> None:
    kept = kept_of(decide(backups, policy, NOW))
    left = [one for one in backups if one.backup_id in kept]
    assert kept_of(decide(left, policy, NOW)) == kept


@given(histories(), POLICIES, st.integers(0, 5000))
@settings(deadline=None, max_examples=60)
def test_a_clock_that_jumps_ahead_and_weeks_of_failures_change_nothing_where_no_age_is_set(
    backups: list[Kept], policy: Policy, days: int
) -> None:
    ageless = Policy(**policy.counts)
    unlocked = [dataclasses.replace(one, locked_until=None) for one in backups]
    later = NOW + dt.timedelta(days=days)
    assert kept_of(decide(unlocked, ageless, NOW)) == kept_of(decide(unlocked, ageless, later))


@given(histories(), POLICIES, st.integers(0, 5000))
@settings(deadline=None, max_examples=60)
def test_however_far_the_clock_jumps_the_last_good_ones_stay(backups: list[Kept], policy: Policy, days: int) -> None:
    kept = kept_of(decide(backups, policy, NOW + dt.timedelta(days=days)))
    good = sorted((one for one in backups if one.good), key=lambda one: one.moment)
    assert not good or good[-1].backup_id in kept
    assert not [one for one in good if one.verified] or [one for one in good if one.verified][-1].backup_id in kept


@given(histories(), POLICIES, st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]))
@settings(deadline=None, max_examples=60)
def test_the_zone_of_a_clock_decides_nothing(backups: list[Kept], policy: Policy, zone: str) -> None:
    local = [dataclasses.replace(one, moment=one.moment.astimezone(ZoneInfo(zone))) for one in backups]
    assert decide(local, policy, NOW.astimezone(ZoneInfo(zone))) == decide(backups, policy, NOW)


@given(histories(), st.integers(1, 400))
@settings(deadline=None, max_examples=60)
def test_what_is_too_old_goes_unless_the_law_keeps_it(backups: list[Kept], days: int) -> None:
    policy = Policy(keep=9, monthly=9, max_age_seconds=days * 86400.0)
    decisions = decide(backups, policy, NOW)
    by_id = {one.backup_id: one for one in backups}
    law = (
        "newest good",
        "newest verified",
        "newest that passed a drill",
        "its increment",
        "locked until",
        "a kept backup needs it",
        "none of its backups is",
    )
    for decision in decisions:
        if NOW - by_id[decision.backup_id].moment > dt.timedelta(days=days) and decision.keep:
            assert decision.too_old
            assert any(reason.startswith(law) for reason in decision.reasons), decision
            assert any("older than" in reason or reason.startswith("none of") for reason in decision.reasons), "and that is said"


def nightly(days: int, *, first: dt.datetime = NOW, verified: int = 0) -> list[Kept]:
    """One backup a night, newest first; number `verified` is the verified one."""
    moments = [first - dt.timedelta(days=day) for day in range(days)]
    return [Kept(f"{moment:%Y%m%dT%H%M%SZ}-{day:08x}", moment, verified=day == verified) for day, moment in enumerate(moments)]


def test_daily_weekly_and_monthly_keep_the_newest_of_each_of_the_newest_periods() -> None:
    decisions = decide(nightly(400), Policy(daily=7, weekly=4, monthly=12), NOW)
    kept = [decision.backup_id[:8] for decision in decisions if decision.keep]
    assert kept == [
        "20261121", "20261120", "20261119", "20261118", "20261117", "20261116", "20261115",
        "20261108", "20261101", "20261031", "20260930", "20260831", "20260731", "20260630", "20260531",
        "20260430", "20260331", "20260228", "20260131", "20251231",
    ]  # fmt: skip
    reasons = {decision.backup_id[:8]: decision.reasons for decision in decisions}
    assert reasons["20261121"] == ("daily 1 of 7", "weekly 1 of 4", "monthly 1 of 12", "newest good", "newest verified")
    assert reasons["20261119"] == ("daily 3 of 7",)
    assert reasons["20260505"] == ("beyond daily 7, weekly 4, monthly 12",)


def test_a_week_belongs_to_the_year_that_has_its_thursday() -> None:
    around = nightly(14, first=dt.datetime(2027, 1, 5, 3, tzinfo=UTC))
    kept = kept_of(decide(around, Policy(weekly=3), dt.datetime(2027, 1, 5, 4, tzinfo=UTC)))
    # 2026-12-28 to 2027-01-03 is one week, the 53rd of 2026.
    assert [backup_id[:8] for backup_id in sorted(kept)] == ["20261227", "20270103", "20270105"]


def test_the_hour_that_summer_time_repeats_is_two_hours() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    moments = [dt.datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=fold) for fold in (0, 1)]
    backups = [Kept(f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}-{fold:08x}", moment, verified=True) for fold, moment in enumerate(moments)]
    assert len(kept_of(decide(backups, Policy(hourly=2), NOW))) == 2


def test_one_that_is_dated_in_the_future_refuses_everything() -> None:
    ahead = Kept("20270101T000000Z-00000000", NOW + dt.timedelta(hours=2), verified=True)
    with pytest.raises(RetentionRefused, match=r"20270101T000000Z-00000000 is dated ahead"):
        decide([*nightly(9), ahead], Policy(daily=1), NOW)


def test_a_broken_backup_takes_no_ones_place() -> None:
    backups = nightly(10, verified=3)
    cut = [Kept(one.backup_id, one.moment, problem="cut") for one in backups[:3]]
    decisions = decide([*cut, *backups[3:]], Policy(daily=2), NOW)
    assert [decision.keep for decision in decisions] == [True] * 5 + [False] * 5
    assert decisions[0].reasons == ("left as it is: cut",)
    assert decisions[3].reasons[0] == "daily 1 of 2"


def test_what_failed_its_drill_goes_when_a_newer_one_is_verified_and_not_before() -> None:
    newest, *others = nightly(5, verified=2)
    failed = [Kept(one.backup_id, one.moment, problem="its drill failed", failed=True) for one in (newest, others[3])]
    decisions = decide([failed[0], *others[:3], failed[1]], Policy(keep=4), NOW)
    assert decisions[0].keep
    assert not decisions[4].keep
    assert decisions[4].reasons == ("its drill failed, and a newer one is verified",)


def test_a_chain_stays_as_long_as_one_link_does_and_says_for_which() -> None:
    backups = nightly(6, verified=0)
    chain = [
        Kept(one.backup_id, one.moment, one.verified, parent=after.backup_id if number < 3 else "")
        for number, (one, after) in enumerate(itertools.zip_longest(backups, backups[1:], fillvalue=backups[-1]))
    ]
    decisions = decide(chain, Policy(keep=1, max_age_seconds=86400.0 * 1.5), NOW)
    assert [decision.keep for decision in decisions] == [True] * 4 + [False] * 2
    assert decisions[3].reasons == (f"its increment {chain[2].backup_id} is kept", "though older than 36 h")


def test_a_locked_one_waits_and_so_does_what_it_builds_on() -> None:
    first, second, parent = nightly(3, verified=0)
    locked = Kept(second.backup_id, second.moment, parent=parent.backup_id, locked_until=NOW + dt.timedelta(days=3))
    decisions = decide([first, locked, parent], Policy(keep=1), NOW)
    assert decisions[1].waits
    assert decisions[1].reasons == ("locked until 2026-11-24 12:00 UTC, then it goes",)
    assert decisions[2].keep


def test_how_long_a_class_keeps_it_is_known_once_its_period_is_over_and_never_beyond_the_age() -> None:
    decisions = {d.backup_id[:8]: d for d in decide(nightly(100), Policy(daily=3, monthly=12, max_age_seconds=90 * 86400.0), NOW)}
    assert decisions["20261121"].stays_until is None, "the newest of a month that still goes on"
    assert decisions["20261120"].stays_until == NOW + dt.timedelta(days=1)
    assert decisions["20261031"].stays_until == dt.datetime(2026, 10, 31, 12, tzinfo=UTC) + dt.timedelta(days=90)


@pytest.mark.parametrize(
    ("policy", "backups", "why"),
    [
        (Policy(), nightly(3), "no retention is set"),
        (Policy(daily=1), nightly(3, verified=9), "none of its backups is verified, so none goes"),
        (
            Policy(daily=1),
            [Kept(f"20261120T120000Z-0000000{number}", NOW, problem="its drill failed", failed=True) for number in range(2)],
            "left as it is: its drill failed",
        ),
    ],
)
def test_where_nothing_may_go_each_says_why(policy: Policy, backups: list[Kept], why: str) -> None:
    decisions = decide(backups, policy, NOW)
    assert all(decision.keep for decision in decisions)
    assert decisions[-1].reasons == (why,)


def test_a_class_is_named_though_nothing_is_verified_yet() -> None:
    assert [decision.reasons[0] for decision in decide(nightly(2, verified=9), Policy(daily=7), NOW)] == ["daily 1 of 7", "daily 2 of 7"]


def test_an_age_alone_keeps_everything_that_is_younger() -> None:
    decisions = decide(nightly(10), Policy(max_age_seconds=5 * 86400.0), NOW)
    assert [decision.keep for decision in decisions] == [True] * 6 + [False] * 4
    assert decisions[9].reasons == ("older than 5 days",)
