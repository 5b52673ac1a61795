# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a report that a recovery to a moment has: its window, the archive's lag, and where the drill went."""

from __future__ import annotations

import datetime as dt
import re
from typing import Optional

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.report import html, markdown
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport, PointInTime
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.recovery import HEIGHT, WIDTH, lag_seconds, window
from hypothesis import given
from hypothesis import strategies as st
from support.reports import STARTED, a_recovery, a_report

MOMENTS = st.none() | st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2027, 1, 1), timezones=st.just(dt.timezone.utc))


def a_drill(**fields: object) -> DrillReport:
    return a_report(kind="base", name="cluster", snapshot_at=STARTED - dt.timedelta(seconds=90), recovery=a_recovery(**fields))


def test_page_and_ticket_tell_the_window_the_lag_and_where_the_drill_went() -> None:
    page, ticket = html.render(a_drill().to_document()), markdown.render(a_drill())
    for text in (page, ticket):
        for words in (
            "any moment from 2026-11-21 01:00:00 UTC to about 2026-11-21 03:58:45 UTC",
            "75 s since the last segment arrived",
            "61 s, what a failure at the worst moment would have lost",
            "136 segments, from 9/2A000120 to 9/B1FFFFF8",
            "redo done at 9/B1FFFFF8",
            "2026-11-21 03:58:30 UTC",
            "20261120T010000Z-1a2b3c4d, 20261121T010000Z-2b3c4d5e",
        ):
            assert words in text, words
    assert '<svg class="chart window"' in page
    assert "### Recovery" in ticket


def test_a_dump_has_no_such_part() -> None:
    assert "<h2>Recovery" not in html.render(a_report().to_document())
    assert "### Recovery" not in markdown.render(a_report())


def test_a_drill_that_failed_early_tells_what_it_came_to_know() -> None:
    report = a_report(verdict="failed", snapshot_at=None, recovery=PointInTime("the latest state"))
    text = markdown.render(report)
    assert "| target | `the latest state` |" in text
    assert "| heartbeat | none in the recovered database |" in text
    assert "can be recovered to" not in text
    assert '<svg class="chart window"' not in html.render(report.to_document())


def test_the_lag_is_never_negative() -> None:
    assert lag_seconds(a_drill()) == 75
    assert lag_seconds(a_drill(window_until=STARTED + dt.timedelta(seconds=5))) == 0
    assert lag_seconds(a_drill(window_until=None)) is None
    assert lag_seconds(a_report()) is None


@given(MOMENTS, MOMENTS, MOMENTS, MOMENTS)
def test_whatever_the_moments_are_the_drawing_stays_in_its_frame(
    begin: Optional[dt.datetime], until: Optional[dt.datetime], state: Optional[dt.datetime], failure: Optional[dt.datetime]
) -> None:
    drawn = window(a_report(snapshot_at=state, failure_at=failure, recovery=a_recovery(window_from=begin, window_until=until)))
    assert bool(drawn) == (begin is not None)
    for name, most in (("x", WIDTH), ("cx", WIDTH), ("width", WIDTH), ("y", HEIGHT), ("cy", HEIGHT)):
        assert all(0 <= float(value) <= most for value in re.findall(rf' {name}="([^"]+)"', drawn))


@pytest.mark.parametrize("text", ["</dd><script>alert(1)</script>", "`|` **x** | y", "[x](http://example.invalid)"])
def test_the_servers_own_words_stay_words(text: str) -> None:
    report = a_drill(stopped=text, target=text)
    page = html.render(report.to_document())
    assert "<script" not in page
    row = next(line for line in markdown.render(report).splitlines() if line.startswith("| stopped |"))
    assert row.count(" | ") == 1
