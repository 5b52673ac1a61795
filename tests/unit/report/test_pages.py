# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report for people: whatever a table is called, the pages say it and do nothing with it."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ManifestError
from ansible_collections.lifeboat.postgres.plugins.module_utils.report import html, markdown
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport, Isolation, Objective, Phase, Teardown
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.trend import Point, chart
from hypothesis import given
from hypothesis import strategies as st
from support.pages import HOSTILE, Page, outside_of_code
from support.reports import a_history, a_report

SECONDS = st.none() | st.floats(0, 1e9)


def everywhere(text: str) -> DrillReport:
    """A report that has this text in every place that takes one."""
    return a_report(
        system=text,
        name=text,
        backup_id=text,
        repository=text,
        reason=text,
        rpo_note=text,
        host=text,
        lifeboat_version=text,
        objective=Objective(1, 1, None, text),
        phases=(Phase(text, 1.0),),
        checks=tuple(CheckResult(text, verdict, text, text, text) for verdict in ("passed", "failed", "unverified")),
        isolation=Isolation(False, text, text),
        settings={text: text},
        teardown=Teardown(False, 0.1, (text,), text),
        waived=(text,),
        warnings=(text,),
    )


def demo(text: str) -> dict[str, Any]:
    case = {"name": text, "expected": text, "verdict": text, "reason": text, "seconds": 1.5}
    return {"drill": everywhere(text).to_document(), "cases": [case], "machine": {text: text}, "seconds": 60.0}


def others(text: str) -> list[DrillReport]:
    """Earlier drills of the asset that `everywhere` is about, with this text wherever they take one."""
    return [dataclasses.replace(everywhere(text), started_at=past.started_at, verdict=past.verdict) for past in a_history()]


SHAPE = {tag for tag, _attributes in Page(html.render(demo("harmless"), a_history() + others("harmless"))).elements}


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_changes_what_the_page_is_made_of(text: str) -> None:
    page = Page(html.render(demo(text), others(text)))
    assert {tag for tag, _attributes in page.elements} <= SHAPE
    allowed = {"class", "style", "charset", "http-equiv", "content", "name", "lang", "aria-hidden", "focusable"}
    allowed |= {"role", "aria-label", "points", "d", "x", "y", "x1", "y1", "x2", "y2", "width", "height"}
    drawing = {"viewbox", "cx", "cy", "r", "fill", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-dashoffset"}
    assert {name for _tag, attributes in page.elements for name in attributes} <= allowed | drawing
    assert all(re.fullmatch("[a-z -]*", attributes.get("class") or "") for _tag, attributes in page.elements)


@given(st.text())
def test_every_text_is_on_the_page_as_it_is(text: str) -> None:
    page = Page(html.render(demo(f"<{text}>")))
    shown = "".join(
        "�" if character in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\0" else character for character in text
    )
    expected = f"<{shown}>".replace("\r\n", "\n").replace("\r", "\n")
    assert expected in [data.replace("\r\n", "\n").replace("\r", "\n") for data in page.texts]


def test_the_page_needs_nothing_and_allows_itself_nothing() -> None:
    text = html.render({"drill": a_report().to_document(), "cases": [], "machine": {}})
    assert "default-src 'none'" in text
    assert not re.search(r"<(script|link|img|iframe|object|base|form)\b", text)
    assert not re.search(r"(src|href|action)=|url\(|@import|https?:", text)


def test_the_page_tells_verdict_figures_checks_and_phases() -> None:
    texts = " ".join(Page(html.render(a_report().to_document())).texts)
    for said in (
        "Passed",
        "6.2 s",
        "9.9 s",
        "45 min",
        "promised 60 min",
        "The objective is met.",
        "gapless invoices.number",
        "restore",
        "nothing is left",
    ):
        assert said in texts


def test_the_history_is_drawn_and_told() -> None:
    page = Page(html.render(a_report().to_document(), a_history()))
    texts = " ".join(page.texts)
    labels = [attributes["aria-label"] or "" for _tag, attributes in page.elements if "aria-label" in attributes]
    assert labels[0].startswith("RTO to the last green check, 15 drills from 2025-09-27 to 2026-11-21: from 4 s to 9.9 s, median 7.2 s")
    assert labels[1].startswith("RPO, 15 drills")
    marks = [attributes.get("class") for _tag, attributes in page.elements]
    assert [marks.count(mark) for mark in ("cross failed", "cross unverified", "dot failed")] == [2, 2, 1]
    assert marks.count("dot passed") == 2 * 15 - 4 - 1
    for said in ("12 of 15 drills good", "Each drill, newest first", "promise broken", "promised 15 min", "2026-10-22 04:00"):
        assert said in texts


def test_one_drill_alone_has_no_history_and_other_databases_are_not_its_own() -> None:
    assert '<svg class="chart"' not in html.render(a_report().to_document())
    assert '<svg class="chart"' not in html.render(a_report().to_document(), [a_report(), *a_history(name="licences")])


def test_many_drills_are_drawn_all_and_listed_in_part() -> None:
    page = Page(html.render(a_report().to_document(), a_history(60)))
    assert "Each drill, the last 24, newest first" in page.texts
    assert sum(tag in ("circle", "rect") or "cross" in (attributes.get("class") or "") for tag, attributes in page.elements) == 2 * 61 + 2


@given(st.lists(st.builds(Point, st.datetimes(), st.sampled_from(["passed", "failed", "unverified"]), SECONDS, SECONDS)))
def test_whatever_was_measured_is_drawn_inside_of_its_frame(points: list[Point]) -> None:
    drawn = chart("RTO", sorted(points, key=lambda point: point.at))
    for x, y in re.findall(r'(?:cx|x)="([^"]*)" (?:cy|y)="([^"]*)"', drawn):
        assert 0 <= float(x) <= 360
        assert 0 <= float(y) <= 150


def test_warnings_stand_above_the_checks() -> None:
    texts = Page(html.render(a_report(warnings=("this backup is NOT SEALED: …", "isolation was waived")).to_document())).texts
    assert texts.index("2 warnings") < texts.index("Checks")
    assert texts.index("this backup is NOT SEALED: …") < texts.index("Checks")


def test_a_backup_that_did_not_pass_keeps_no_promise_in_green() -> None:
    report = a_report(verdict="failed", verified_seconds=None, objective=Objective(3600, 900, None, "RTO could not be measured"))
    tiles = [attributes["class"] for tag, attributes in Page(html.render(report.to_document())).elements if tag == "div"]
    assert [tile for tile in tiles if tile and tile.startswith("figure")] == ["figure plain"] * 3


def test_what_did_not_pass_stands_first() -> None:
    checks = tuple(CheckResult(verdict, verdict) for verdict in ("passed", "unverified", "failed"))
    texts = Page(html.render(a_report(verdict="failed", checks=checks).to_document())).texts
    assert [text for text in texts if text in ("passed", "unverified", "failed")] == ["failed"] * 2 + ["unverified"] * 2 + ["passed"] * 2
    assert "1 failed, 1 unverified, 1 passed" in texts


def test_a_case_that_went_otherwise_than_expected_is_marked() -> None:
    cases = [
        {"name": "flipped bit", "expected": "failed", "verdict": "passed", "reason": "", "seconds": 1},
        {"name": "cut", "expected": "failed", "verdict": "failed", "reason": "of another cause", "seconds": 1, "holds": False},
        {"name": "healthy", "expected": "passed", "verdict": "passed", "reason": "", "seconds": 1, "holds": True},
    ]
    page = Page(html.render({"cases": cases}))
    assert sum(attributes.get("class") == "unexpected" for _tag, attributes in page.elements) == 2
    assert "2 of 3 cases not as expected" in page.texts


def test_a_drill_that_found_no_backup_has_a_page_too() -> None:
    report = a_report(
        verdict="unverified", backup_id="", repository="", snapshot_at=None, failure_at=None, service_ready_seconds=None,
        verified_seconds=None, rpo_seconds=None, phases=(), checks=(), settings={}, objective=Objective(0, 0, None, ""),
    )  # fmt: skip
    assert "No backup was found" in " ".join(Page(html.render(report.to_document())).texts)
    assert "none found" in markdown.render(report)


def test_a_page_is_not_made_of_something_else() -> None:
    with pytest.raises(ManifestError):
        html.render({"drill": {"schema": 1}})


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_leaves_its_code_span_in_markdown(text: str) -> None:
    lines = outside_of_code(markdown.render(everywhere(text))).splitlines()
    harmless = outside_of_code(markdown.render(everywhere("harmless"))).splitlines()
    if text.strip():
        assert lines == harmless
    assert not any(sign in line for line in lines for sign in "`<>[]\\")


@given(st.text())
def test_a_code_span_is_one_line_that_ends_where_it_should(text: str) -> None:
    span = markdown.code(text)
    assert outside_of_code(f"a {span} b") in ("a CODE b", "a – b")
    assert "\n" not in span
    assert "|" not in span


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    rows = [line for line in markdown.render(everywhere("a \\| | `b`")).splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {3, 6}


def test_the_ticket_tells_verdict_figures_and_failed_checks() -> None:
    checks = (CheckResult("gapless invoices.number", "failed", "no gap", "1 number missing: 4711", ""),)
    text = markdown.render(a_report(verdict="failed", checks=checks))
    assert text.startswith("## Drill failed: `database` `shop` of `shop`\n")
    assert "| RTO to the last green check | 9.9 s (promised 15 min) |" in text
    assert "| **failed** | `gapless invoices.number` | `no gap` | `1 number missing: 4711` | – |" in text
