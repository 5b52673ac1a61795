# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is called fresh, and what everything else is called."""

from __future__ import annotations

import datetime as dt

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.monitoring.judge import Expected, Seen, judge, judge_drill, judge_wal

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.timezone.utc)
DAY = 86400.0


def seen(hours_ago: float, problem: str = "", size_bytes: int = 1000, name: str = "") -> Seen:
    return Seen(name or f"b{hours_ago}", NOW - dt.timedelta(hours=hours_ago), size_bytes, problem)


@pytest.mark.parametrize(
    ("newest", "newest_good", "state", "words"),
    [
        (seen(1), seen(1), "fresh", ""),
        (seen(24), seen(24), "fresh", ""),
        (seen(25), seen(25), "late", "25 h old, and at most 24 h was promised"),
        (None, None, "missing", "there is no backup"),
        (seen(1, "evidence is missing"), None, "broken", "no backup is good; of the newest, b1: evidence is missing"),
        (seen(1, "torn"), seen(2), "broken", "the newest backup, b1, is not good: torn"),
        (seen(1, "torn"), seen(30), "broken", "the newest backup, b1, is not good: torn; 30 h old, and at most 24 h was promised"),
        (seen(-1), seen(-1), "future", "backup b-1 is dated 60 min ahead: a clock is wrong"),
        (seen(1, size_bytes=99), seen(1, size_bytes=99), "small", "it has 99 B, and 100 B at least were expected"),
    ],
)
def test_each_state_of_a_backup_has_its_name_and_its_reason(newest: Seen | None, newest_good: Seen | None, state: str, words: str) -> None:
    finding = judge(Expected("database", "shop", DAY, 100), "offsite", newest, newest_good, NOW)
    assert (finding.state, finding.reason) == (state, words)
    assert finding.good == (state == "fresh")


def test_nothing_is_late_where_nothing_was_promised() -> None:
    assert judge(Expected("files", "uploads"), "offsite", seen(9000), seen(9000), NOW).good


def test_a_clock_that_is_a_little_ahead_is_no_alarm() -> None:
    ahead = Seen("b", NOW + dt.timedelta(minutes=10))
    assert judge(Expected("database", "shop", DAY), "offsite", ahead, ahead, NOW).good


@pytest.mark.parametrize(
    ("last", "last_good", "state"),
    [
        (None, None, "missing"),
        (seen(1), seen(1), "fresh"),
        (seen(1, "failed: 3 rows are missing"), seen(5), "broken"),
        (seen(1, "was unverified: no pg_amcheck"), None, "broken"),
        (seen(800), seen(800), "late"),
    ],
)
def test_the_last_drill_has_to_be_good_and_not_too_long_ago(last: Seen | None, last_good: Seen | None, state: str) -> None:
    assert judge_drill("database/shop", last, last_good, 31 * DAY, NOW).state == state


@pytest.mark.parametrize(
    ("newest", "problems", "state"),
    [(None, 0, "missing"), (seen(0.5), 0, "fresh"), (seen(2), 0, "late"), (seen(0.5, "a gap"), 1, "broken")],
)
def test_a_log_is_late_has_a_gap_or_is_not_there(newest: Seen | None, problems: int, state: str) -> None:
    assert judge_wal("offsite", newest, problems, 3600.0, NOW).state == state
