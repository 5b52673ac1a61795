# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill as test results: well formed whatever is in it, and never better than the drill was."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.report import junit
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport, Isolation, Objective, Teardown
from hypothesis import given
from hypothesis import strategies as st
from support.pages import HOSTILE
from support.reports import a_report


def suite(report: DrillReport) -> ElementTree.Element:
    found = ElementTree.fromstring(junit.render(report).encode("utf-8")).find("testsuite")
    assert found is not None
    return found


def test_a_good_drill_has_a_case_for_each_check_and_no_failure() -> None:
    found = suite(a_report())
    assert (found.get("failures"), found.get("errors"), found.get("skipped")) == ("0", "0", "0")
    names = [case.get("name") for case in found.iter("testcase")]
    assert names == [*(check.name for check in a_report().checks), "objective", "isolation", "teardown", "verdict"]
    assert found.get("tests") == str(len(names))
    assert {one.get("name"): one.get("value") for one in found.iter("property")}["backup_id"] == a_report().backup_id


def test_what_failed_is_a_failure_and_what_is_unverified_an_error_and_never_skipped() -> None:
    checks = (CheckResult("a", "failed", "no gap", "3 missing", "4711"), CheckResult("b", "unverified", "", "", "no tool"))
    found = suite(a_report(verdict="failed", reason="a: 3 missing", checks=checks, objective=Objective(1, 1, None, "not measured")))
    assert (found.get("failures"), found.get("errors")) == ("2", "2")
    failure, *_others = found.iter("failure")
    assert failure.get("message") == "3 missing"
    assert failure.text == "expected: no gap\nfound: 3 missing\n4711"
    assert not list(found.iter("skipped"))


@pytest.mark.parametrize("verdict", ["failed", "unverified"])
def test_a_drill_that_did_not_pass_is_red_though_no_check_was_made(verdict: str) -> None:
    found = suite(a_report(verdict=verdict, checks=(), reason="no backup"))
    assert int(found.get("failures") or 0) + int(found.get("errors") or 0) == 1


def test_a_broken_promise_a_way_out_and_something_left_are_red() -> None:
    report = a_report(
        objective=Objective(1, 1, False, "RTO is 9 s over"), isolation=Isolation(False, "none"), teardown=Teardown(False, 1.0, ("/x",))
    )
    found = suite(report)
    assert (found.get("failures"), found.get("errors")) == ("2", "1")


@given(st.text(st.characters()))
def test_whatever_is_in_it_the_xml_can_be_read(text: str) -> None:
    check = CheckResult(text, "failed", text, text, text)
    found = suite(a_report(system=text, name=text, backup_id=text, repository=text, host=text, reason=text, checks=(check,)))
    assert sum(1 for _case in found.iter("testcase")) == 5


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_makes_an_element(text: str) -> None:
    found = suite(a_report(system=text, name=text, host=text, checks=(CheckResult(text, "failed", text, text, text),)))
    assert {element.tag for element in found.iter()} == {"testsuite", "properties", "property", "testcase", "failure"}
