# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Schedules: what an operator says, as times of a crontab, of systemd, and as moments."""

from __future__ import annotations

import datetime as dt

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.schedule import Schedule, parse_cron, parse_schedule
from hypothesis import given, settings
from hypothesis import strategies as st

SEED = "shop\0db1\0databases"
START = dt.datetime(2026, 1, 1)


def parsed(text: str, seed: str = SEED) -> Schedule:
    found = parse_schedule(text, "schedule", seed)
    assert found is not None
    return found


def turns(schedule: Schedule, count: int, start: dt.datetime = START) -> list[dt.datetime]:
    found = []
    for _number in range(count):
        start = schedule.after(start)
        found.append(start)
    return found


@pytest.mark.parametrize(
    ("text", "cron"),
    [
        ("30 2 * * *", "30 2 * * *"),
        ("*/15 8-18 * * mon-fri", "0,15,30,45 8-18 * * 1-5"),
        ("0 0 1,15 jan-mar 7", "0 0 1,15 1-3 0"),
        ("Daily at 03:15", "15 3 * * *"),
        ("weekly on Sunday at 02:30", "30 2 * * 0"),
        ("monthly on 3 at 04:05", "5 4 3 * *"),
        ("every minute", ""),
        ("every 1m", "* * * * *"),
    ],
)
def test_what_names_a_time_gets_that_time(text: str, cron: str) -> None:
    if not cron:
        with pytest.raises(ConfigurationError, match="is no schedule"):
            parsed(text)
        return
    assert parsed(text).cron == cron


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("hourly", 3600), ("every 2h", 7200), ("every 15 minutes", 900), ("every 5m", 300), ("every 900s", 900), ("every 1d", 86400),
        ("daily", 86400), ("weekly", 604800), ("every 7 days", 604800), ("every 604800s", 604800), ("every 12h", 43200),
    ],
)  # fmt: skip
def test_what_names_a_cadence_comes_at_that_distance(text: str, seconds: int) -> None:
    found = turns(parsed(text), 20)
    assert {(later - earlier).total_seconds() for earlier, later in zip(found, found[1:])} == {seconds}


def test_hosts_do_not_all_come_at_once_and_each_comes_at_the_same_time_in_every_run() -> None:
    times = {parsed("daily", f"shop\0db{number}\0databases").cron for number in range(60)}
    assert len(times) > 40
    assert parsed("daily").cron == parsed("daily").cron
    assert all(int(cron.split()[1]) < 6 for cron in times), "in the first hours of the day"
    assert len({parsed("every 15m", f"shop\0db{number}\0base").minutes[0] for number in range(60)}) > 8


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0 25 * * *", "hour 25 is not between 0 and 23 (schedule)."),
        ("61 * * * *", "minute 61 is not between 0 and 59 (schedule)."),
        ("0 0 31 2 *", "'0 0 31 2 *' never comes: no month of it has such a day (schedule). Name a day that there is."),
        ("*/0 * * * *", "'*/0' is no minute: nothing is in it"),
        ("30-10 * * * *", "'30-10' is no minute: nothing is in it"),
        ("0 0 * * funday", "'funday' is no day of the week"),
        ("0 0 * *", "is no schedule"),
        ("every 0 days", "'every 0 days' is no schedule (schedule). The least is every minute"),
        ("every 7h", "'every 7h' fits into no clock"),
        ("every 2 days", "fits into no clock"),
        ("every 90s", "whole minutes"),
        ("dayly", "Did you mean 'daily'?"),
        ("daily at 24:00", "24:00 is no time of day"),
        ("weekly on sonday", "Did you mean 'sunday'?"),
        ("monthly on 31", "'31' is no day that every month has"),
        ("daily on monday", "take weekly on that day"),
        ("@daily", "is no schedule"),
    ],
)
def test_an_impossible_schedule_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_schedule(text, "schedule", SEED)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "never", " Never "])
def test_never_is_no_schedule_at_all(text: str) -> None:
    assert parse_schedule(text, "schedule", SEED) is None


def test_a_day_of_the_month_and_one_of_the_week_are_each_enough_as_cron_has_it() -> None:
    schedule = parse_cron("0 0 13 * 5", "schedule")
    days = {moment.date() for moment in turns(schedule, 200)}
    assert all(day.day == 13 or day.isoweekday() == 5 for day in days)
    assert any(day.day == 13 and day.isoweekday() != 5 for day in days)
    assert schedule.calendars == ("*-*-13 00:00:00 UTC", "Fri *-*-* 00:00:00 UTC")


def test_a_leap_day_comes_though_it_is_eight_years_away() -> None:
    assert parse_cron("0 0 29 2 *", "s").after(dt.datetime(2096, 3, 1)) == dt.datetime(2104, 2, 29)


FIELD = [
    st.one_of(st.just("*"), st.integers(low, high).map(str), st.integers(2, 9).map(lambda step: f"*/{step}"))
    for low, high in ((0, 59), (0, 23), (1, 28), (1, 12), (0, 7))
]
MOMENTS = st.datetimes(dt.datetime(2024, 1, 1), dt.datetime(2030, 1, 1)).map(lambda moment: moment.replace(second=0, microsecond=0))


@settings(max_examples=60, deadline=None)
@given(st.tuples(*FIELD).map(" ".join), MOMENTS)
def test_the_next_and_the_last_turn_enclose_the_moment_and_the_fields_read_back_are_the_same(text: str, moment: dt.datetime) -> None:
    schedule = parse_cron(text, "schedule")
    assert parse_cron(schedule.cron, "schedule") == schedule
    last, following = schedule.until(moment), schedule.after(moment)
    assert last <= moment < following
    assert schedule.after(last) == following
    assert schedule.until(following - dt.timedelta(minutes=1)) == last
