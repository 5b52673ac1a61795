# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a drill is due: whatever happened before, never later than the age that was asked for, and never twice within it for nothing."""

from __future__ import annotations

import datetime as dt

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.due import Past, judge_due, overdue
from hypothesis import given
from hypothesis import strategies as st

NOW = dt.datetime(2026, 11, 21, 2, 10, tzinfo=dt.timezone.utc)
DAY = 86400.0
MONTH = 31 * DAY

ages = st.floats(min_value=1, max_value=400 * DAY)
pasts = st.lists(
    st.builds(
        Past,
        st.floats(min_value=-60 * DAY, max_value=400 * DAY).map(lambda seconds: NOW - dt.timedelta(seconds=seconds)),
        st.booleans(),
        st.sampled_from([0, 14, 15, 18]),
    ),
    max_size=8,
)


def ago(days: float, good: bool = True, major: int = 15) -> Past:
    return Past(NOW - dt.timedelta(days=days), good, major)


@pytest.mark.parametrize(
    ("past", "newest_major", "due", "reason"),
    [
        ([], 15, True, "it was never drilled, as far as can be seen from here"),
        ([ago(3)], 15, False, "its last good drill is of 2026-11-18, and the next is due on 2026-12-19"),
        ([ago(3), ago(5, good=False)], 15, False, "its last good drill is of 2026-11-18, and the next is due on 2026-12-19"),
        ([ago(3, good=False), ago(5)], 15, True, "its last drill, of 2026-11-18, was not good"),
        ([ago(32)], 15, True, "its last good drill is 32 days old, and one every 31 days is due"),
        ([ago(3)], 18, True, "its newest backup is of PostgreSQL 18, and its last good drill was of 15"),
        ([ago(3, major=18)], 15, True, "its newest backup is of PostgreSQL 15, and its last good drill was of 18"),
        ([ago(3, major=0)], 18, False, "its last good drill is of 2026-11-18, and the next is due on 2026-12-19"),
        ([ago(3)], 0, False, "its last good drill is of 2026-11-18, and the next is due on 2026-12-19"),
        ([ago(-5)], 15, True, "its drills are dated ahead of this host's clock"),
        ([ago(-5), ago(40)], 15, True, "its last good drill is 40 days old, and one every 31 days is due"),
    ],
)
def test_each_cause_has_its_sentence(past: list[Past], newest_major: int, due: bool, reason: str) -> None:
    found = judge_due(MONTH, past, NOW, newest_major)
    assert (found.due, found.reason) == (due, reason)


def test_a_look_at_the_same_hour_each_day_is_not_a_day_late_for_some_seconds_or_summer_time() -> None:
    for early in (7, 3600):
        last = Past(NOW + dt.timedelta(seconds=early) - dt.timedelta(seconds=MONTH), True, 15)
        assert judge_due(MONTH, [last], NOW, 15).due
    assert not judge_due(MONTH, [ago(30)], NOW, 15).due


@given(ages, pasts, st.sampled_from([0, 15, 18]))
def test_what_is_not_due_had_a_good_drill_within_the_age_that_was_its_last(age: float, past: list[Past], newest: int) -> None:
    found = judge_due(age, past, NOW, newest)
    if found.due:
        assert found.next_due is None
        return
    known = [drill for drill in past if drill.at <= NOW + dt.timedelta(minutes=15)]
    last = max(known, key=lambda drill: drill.at)
    assert any(drill.good for drill in known if drill.at == last.at)
    assert NOW - last.at < dt.timedelta(seconds=age)
    assert found.last_good == last.at
    assert found.next_due is not None
    assert NOW < found.next_due <= last.at + dt.timedelta(seconds=age)


@given(ages, pasts, st.sampled_from([0, 15, 18]))
def test_it_is_due_by_the_moment_that_it_names_and_at_every_later_one(age: float, past: list[Past], newest: int) -> None:
    found = judge_due(age, past, NOW, newest)
    if found.next_due is not None:
        assert judge_due(age, [drill for drill in past if drill.at <= NOW], found.next_due, newest).due or any(
            drill.at > NOW for drill in past
        )
    elif all(drill.at <= NOW for drill in past):
        assert judge_due(age, past, NOW + dt.timedelta(days=400), newest).due


@given(ages, pasts, st.sampled_from([0, 15, 18]))
def test_a_good_drill_of_this_very_moment_is_enough_whatever_came_before(age: float, past: list[Past], newest: int) -> None:
    earlier = [drill for drill in past if drill.at < NOW]
    assert not judge_due(age, [*earlier, Past(NOW, True, newest)], NOW, newest).due


@given(ages, pasts, st.permutations(range(8)), st.sampled_from([0, 15, 18]))
def test_the_order_in_which_reports_are_found_says_nothing(age: float, past: list[Past], order: list[int], newest: int) -> None:
    moments = {drill.at for drill in past}
    if len(moments) == len(past):
        shuffled = [past[number] for number in order if number < len(past)]
        assert judge_due(age, shuffled, NOW, newest) == judge_due(age, past, NOW, newest)


@given(ages, pasts)
def test_drills_of_the_future_keep_none_away(age: float, past: list[Past]) -> None:
    real = [drill for drill in past if drill.at <= NOW]
    ahead = [Past(NOW + dt.timedelta(days=1 + number), True, 15) for number in range(3)]
    assert judge_due(age, [*real, *ahead], NOW, 15).due == judge_due(age, real, NOW, 15).due


def test_a_day_of_patience_is_given_before_somebody_is_told() -> None:
    assert overdue(MONTH, NOW - dt.timedelta(days=31.9), NOW) == ""
    said = overdue(MONTH, NOW - dt.timedelta(days=33), NOW)
    assert said == "overdue: the last good drill is 33 days old, and one every 31 days was promised"
