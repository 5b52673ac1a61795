# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drill report as a document: stable, strict, and judged in one place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ManifestError
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.verdict import (
    Finding,
    Objective,
    derive_verdict,
    finding_of,
    judge_objective,
)
from hypothesis import given
from hypothesis import strategies as st
from support.reports import a_report

CONTRACT = {
    "schema", "system", "backup_id", "verdict", "objective", "service_ready_seconds", "verified_seconds", "rpo_seconds", "rpo_note",
    "phases", "checks", "isolation", "settings", "started_at", "finished_at", "teardown",
}  # fmt: skip


def test_a_report_comes_back_as_it_was() -> None:
    report = a_report(snapshot_at=None, rpo_seconds=None, rpo_note="no backup", waived=("isolation",), warnings=("älter",))
    assert DrillReport.from_bytes(report.to_bytes()) == report
    assert report.to_bytes() == DrillReport.from_bytes(report.to_bytes()).to_bytes()


def test_the_contract_is_kept() -> None:
    document = a_report().to_document()
    assert set(document) >= CONTRACT
    assert set(document["checks"][0]) == {"name", "verdict", "expected", "found", "detail"}
    assert set(document["phases"][0]) == {"name", "seconds"}
    assert "met" in document["objective"]
    assert document["started_at"] == "2026-11-21T04:00:00.000000Z"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 2}, "schema 2"),
        ({"verdict": "good"}, "'verdict': expected one of failed, passed, unverified, found 'good'"),
        ({"checks": [{"name": "x"}]}, "'checks': fields missing"),
        ({"checks": {}}, "expected a list"),
        ({"verified_seconds": "9"}, "expected a number"),
        ({"verified_seconds": True}, "expected a number"),
        ({"started_at": "yesterday"}, "is not a moment"),
        ({"objective": {"rpo_seconds": None, "rto_seconds": None, "met": 1, "reason": ""}}, "expected true or false"),
        ({"more": 1}, r"not known: \['more'\]"),
        ({"settings": {"fsync": 1}}, "expected text"),
        ({"host": None}, "'host': expected text"),
    ],
)
def test_what_is_not_a_report_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ManifestError, match=said) as caught:
        DrillReport.from_document({**a_report().to_document(), **change}, "offsite")
    assert caught.value.where == "offsite"


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"schema": 1}'])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        DrillReport.from_bytes(data)


def test_no_number_that_json_lacks_gets_in_or_out() -> None:
    with pytest.raises(ValueError, match="JSON"):
        a_report(verified_seconds=float("nan")).to_bytes()
    text = json.dumps({**a_report().to_document(), "verified_seconds": float("inf")})
    with pytest.raises(ManifestError, match="expected a number"):
        DrillReport.from_bytes(text.encode())


@pytest.mark.parametrize(
    ("measured", "met", "reason"),
    [
        ((3600, 900, 3599, 900), True, ""),
        ((3600, 900, 3601, 10), False, "RPO is 1 s over the promised 60 min"),
        ((3600, 900, 7200, 1000), False, "RPO is 60 min over the promised 60 min; RTO is 100 s over the promised 15 min"),
        ((3600, 900, None, 10), None, "RPO could not be measured"),
        ((3600, 900, 7200, None), False, "RPO is 60 min over the promised 60 min; RTO could not be measured"),
        ((3600, None, 10, None), True, ""),
        ((None, None, 10, 10), None, "nothing was promised"),
    ],
)
def test_the_objective_is_met_only_when_all_of_it_was_measured_and_kept(
    measured: tuple[Any, Any, Any, Any], met: bool | None, reason: str
) -> None:
    objective = judge_objective(*measured)
    assert (objective.met, objective.reason) == (met, reason)


def test_good_is_passed_and_every_promise_kept() -> None:
    assert not a_report(objective=Objective(3600, 900, None, "RPO could not be measured")).good
    assert a_report().good
    assert a_report(objective=Objective()).good
    assert not a_report(objective=Objective(1, 1, False, "late")).good
    assert not a_report(verdict="unverified").good


verdicts = st.sampled_from(["passed", "failed", "unverified"])


@given(st.lists(st.builds(Finding, verdicts, st.text())))
def test_the_worst_finding_decides_and_the_first_of_its_kind_is_the_reason(findings: list[Finding]) -> None:
    derived = derive_verdict(findings)
    found = [finding.verdict for finding in findings]
    if "failed" in found:
        assert derived == findings[found.index("failed")]
    elif "unverified" in found:
        assert derived == findings[found.index("unverified")]
    else:
        assert derived.verdict == ("passed" if found else "unverified")


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (CheckResult("integer o.c", "failed", "whole numbers", "c is real"), "integer o.c: c is real; expected whole numbers"),
        (CheckResult("rows", "failed", "9 rows", "8 rows", "t: 1, not 2"), "rows: 8 rows: t: 1, not 2"),
        (CheckResult("gapless", "failed", "…", "17 missing", "17 missing; 18 too"), "gapless: 17 missing; 18 too"),
        (CheckResult("decrypt", "unverified", "", "could not be checked", "no key"), "decrypt: could not be checked: no key"),
        (CheckResult("x", "unverified"), "x: unverified"),
    ],
)
def test_a_checks_answer_becomes_one_sentence(result: CheckResult, reason: str) -> None:
    assert finding_of(result) == Finding(result.verdict, reason)


def test_a_reason_has_an_end() -> None:
    assert len(finding_of(CheckResult("x", "failed", "", "y" * 5000)).reason) == 300
