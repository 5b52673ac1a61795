# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet for people: whatever something is called, the pages say it and do nothing with it; a colour never stands alone."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.report import fleet_html, fleet_markdown
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet import Day, Fleet, Window
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_drawings import HEIGHT, WIDTH, calendar, marks, spans
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fleets import LOOKED_AT, a_fleet, a_system, everywhere
from support.pages import HOSTILE, Page, outside_of_code

SHAPE = {tag for tag, _attributes in Page(fleet_html.render(Fleet((everywhere("harmless"), a_system())))).elements}
ALLOWED = {
    "class", "style", "charset", "http-equiv", "content", "name", "lang", "aria-hidden", "focusable", "role", "aria-label", "points", "d",
    "x", "y", "x1", "y1", "x2", "y2", "width", "height", "viewbox", "cx", "cy", "r", "rx", "fill", "stroke", "stroke-width",
    "stroke-opacity", "stroke-dasharray", "stroke-dashoffset", "opacity", "preserveaspectratio", "open", "id", "href",
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_changes_what_the_page_is_made_of(text: str) -> None:
    page = Page(fleet_html.render(Fleet((everywhere(text), a_system()))))
    assert {tag for tag, _attributes in page.elements} <= SHAPE
    assert {name for _tag, attributes in page.elements for name in attributes} <= ALLOWED
    assert all(re.fullmatch("[a-z -]*", attributes.get("class") or "") for _tag, attributes in page.elements)
    assert all(re.fullmatch("#s[0-9]+", attributes["href"] or "") for _tag, attributes in page.elements if "href" in attributes)


@settings(max_examples=30)
@given(st.text())
def test_every_text_is_on_the_page_as_it_is(text: str) -> None:
    page = Page(fleet_html.render(Fleet((everywhere(f"<{text}>"),))))
    turning = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\0"
    shown = "".join("�" if character in turning else character for character in text)
    expected = f"<{shown}>".replace("\r\n", "\n").replace("\r", "\n")
    assert expected in [data.replace("\r\n", "\n").replace("\r", "\n") for data in page.texts]


@settings(max_examples=30)
@given(st.text(st.characters()))
def test_every_text_can_be_written_to_a_file(text: str) -> None:
    fleet = Fleet((everywhere(text),))
    fleet_html.render(fleet).encode()
    fleet_markdown.render(fleet).encode()
    fleet.to_bytes()


def test_the_page_needs_nothing_and_allows_itself_nothing() -> None:
    text = fleet_html.render(a_fleet(3))
    assert "default-src 'none'" in text
    assert not re.search(r"<(script|link|img|iframe|object|base|form)\b", text)
    assert not re.search(r"(src|action)=|href=\"[^#]|url\(|@import|https?:", text)


def test_the_same_facts_give_the_same_page() -> None:
    assert fleet_html.render(a_fleet(3)) == fleet_html.render(a_fleet(3))


def test_those_that_need_somebody_stand_first_each_with_its_word() -> None:
    texts = Page(fleet_html.render(a_fleet(3))).texts
    said = [text for text in texts if text in ("proven", "doubtful", "failing")]
    assert said[:3] == ["failing", "doubtful", "proven"]
    assert "1 of 3 systems failing" in texts
    assert "1 failing, 1 doubtful, 1 proven" in texts


def test_a_healthy_fleet_says_so() -> None:
    texts = Page(fleet_html.render(Fleet.of([a_system(), a_system(system="crm")]))).texts
    assert "All 2 systems proven" in texts
    assert "1 system proven" in Page(fleet_html.render(Fleet.of([a_system()]))).texts
    assert "No system was looked at." in Page(fleet_html.render(Fleet(()))).texts


def test_the_row_tells_what_was_promised_what_was_measured_and_when() -> None:
    row = fleet_html.render(Fleet.of([a_system()])).partition('<a class="name"')[2].partition("</section>")[0]
    for said in ("45 min", "6.87 min", "promised 60 min", "2026-11-21", "passed", "2026-11-20 07:00"):
        assert said in row


def test_each_system_has_everything_about_it() -> None:
    texts = " ".join(Page(fleet_html.render(Fleet.of([a_system()]))).texts)
    for said in (
        "What can be recovered", "any moment from 2026-11-13 07:00 UTC to about 2026-11-21 06:57 UTC", "then a gap", "34 moments",
        "sealed with age, signed", "gapless invoices.number by year", "median", "abroad", "s3, copied from offsite", "34 backups, 6.1 GiB",
        "master-key", "lk1:0f1e2d3c4b5a69788796a5b4c3d2e1f0", "the newest backups need it", "3 good", "4 of 4 fresh", "Seen by",
    ):  # fmt: skip
        assert said in texts, said


def test_in_a_large_fleet_only_what_needs_somebody_is_unfolded() -> None:
    page = Page(fleet_html.render(a_fleet(40)))
    systems = [attributes for tag, attributes in page.elements if tag == "details" and attributes.get("class") == "system"]
    assert len(systems) == 40
    assert sum("open" in attributes for attributes in systems) == 10
    assert len({attributes["id"] for _tag, attributes in page.elements if "id" in attributes}) == 40


def test_a_calendar_shows_each_day_once_and_marks_by_more_than_colour_what_is_not_good() -> None:
    days = [Day("2026-11-19", 2, 0, 10), Day("2026-11-20", 0, 1, 0), Day("2026-11-21", 1, 1, 10), Day("2025-01-01", 1, 0, 1)]
    page = Page(calendar(days, dt.date(2026, 11, 21)))
    titles = [text for text in page.texts if re.match(r"\d{4}-", text)]
    assert titles == [
        "2026-11-19: 2 backups, 10 B", "2026-11-20: no good backup, 1 not good", "2026-11-21: 1 backup, 10 B, 1 not good",
    ]  # fmt: skip
    assert sum(attributes.get("class") == "out" for _tag, attributes in page.elements) == 2
    label = next(attributes["aria-label"] for tag, attributes in page.elements if tag == "svg")
    assert label == "backups per day from 2026-08-24 to 2026-11-21: good ones on 2 of 90 days"


MOMENTS = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.timezone.utc))


@given(st.dates(dt.date(2000, 1, 1), dt.date(2100, 1, 1)), st.lists(st.integers(0, 120)))
def test_whatever_days_there_are_the_calendar_stays_in_its_frame(until: dt.date, back: list[int]) -> None:
    days = [Day((until - dt.timedelta(days=number)).isoformat(), number % 7, number % 3, number) for number in set(back)]
    for x, y in re.findall(r'<rect [^>]*x="([^"]*)" y="([^"]*)"', calendar(days, until)):
        assert 0 <= float(x) <= WIDTH - 11
        assert 0 <= float(y) <= HEIGHT - 11


@given(st.lists(MOMENTS), st.lists(st.tuples(MOMENTS, MOMENTS | st.none())), MOMENTS, MOMENTS)
def test_whatever_moments_there_are_the_bars_stay_in_their_frame(
    points: list[dt.datetime], windows: list[tuple[dt.datetime, dt.datetime | None]], begin: dt.datetime, end: dt.datetime
) -> None:
    drawn = marks(sorted(points), begin, end) + spans([Window(first, until, 1, 1, True) for first, until in windows], begin, end)
    for x, width in re.findall(r'x="([^"]*)" y="[^"]*" width="([^"]*)"', drawn):
        assert 0 <= float(x) <= 720
        assert 0 <= float(width) <= 720


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_leaves_its_code_span_in_markdown(text: str) -> None:
    lines = outside_of_code(fleet_markdown.render(Fleet((everywhere(text), a_system())))).splitlines()
    harmless = outside_of_code(fleet_markdown.render(Fleet((everywhere("harmless"), a_system())))).splitlines()
    if text.strip():
        assert lines == harmless
    assert not any(sign in line for line in lines for sign in "`<>[]\\")


def test_the_markdown_tells_every_system_and_every_reason() -> None:
    text = fleet_markdown.render(a_fleet(3))
    assert text.startswith("# Fleet: 1 failing, 1 doubtful, 1 proven\n")
    assert "| **failing** | `licences` |" in text
    assert "- bad: `database/shop in offsite: 3.2 days old, and at most 26 h was promised`" in text
    assert "- weak: `two-recipients` of `encryption`" in text
    assert "- key `master-key` `lk1:0f1e2d3c4b5a69788796a5b4c3d2e1f0` in `vault`" in text


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    text = fleet_markdown.render(Fleet((everywhere("a \\| | `b`"), *a_fleet(3).systems)))
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({row.count("|") for row in block.splitlines()}) == 1


def test_a_fleet_of_nothing_known_has_a_page_too() -> None:
    blind = dataclasses.replace(
        a_system(),
        places=(),
        assets=(),
        archives=(),
        drills=(),
        protected_keys=(),
        audit=(),
        freshness=(),
        unknown=("nothing is known: no route",),
    )
    texts = " ".join(Page(fleet_html.render(Fleet((blind,)))).texts)
    assert "nothing is known: no route" in texts
    assert "not known" in texts
    assert f"{LOOKED_AT:%Y-%m-%d %H:%M}" in texts
