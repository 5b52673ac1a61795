# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of the demo found, and how a drill's answer is held against what it must say."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from cases import CASES, MOMENTS, Case
from places import DemoError
from playbook import Outcome
from progress import Progress


@dataclass(frozen=True)
class Row:
    """One line of the last table."""

    name: str
    expected: str
    verdict: str
    reason: str
    seconds: float
    holds: bool


@dataclass
class Findings:
    """What a run of the demo found."""

    rows: list[Row] = field(default_factory=list)
    drill: dict[str, Any] = field(default_factory=dict)
    recovery: dict[str, Any] = field(default_factory=dict)
    drill_markdown: str = ""
    machine: dict[str, Any] = field(default_factory=dict)

    @property
    def all_hold(self) -> bool:
        """Every case was run, and each ended as it must."""
        return len(self.rows) == 1 + len(CASES) + len(MOMENTS) and all(row.holds for row in self.rows)

    def cases(self) -> list[dict[str, Any]]:
        """The rows as `.demo/report.json` holds them."""
        return [asdict(row) for row in self.rows]


def judge(case: Case, outcome: Outcome, progress: Progress, findings: Findings) -> None:
    """Compare what a drill said with what it must say."""
    if outcome.title != case.name:
        raise DemoError(f"the drill of {case.name!r} was to answer, but {outcome.title!r} did: {outcome.message}")
    report = report_of(outcome)
    verdict = str(report.get("verdict") or ("passed" if outcome.ok else "refused"))
    reason = " ".join(str(report.get("reason") or outcome.message).split())
    holds = case.holds(verdict, reason) and outcome.ok == (case.expected == "passed")
    findings.rows.append(Row(case.name, case.expected, verdict, reason, round(outcome.seconds, 2), holds))
    progress.done("drill", f"{case.name}: {verdict}" + ("" if holds else f", NOT AS EXPECTED: {reason}"), outcome.seconds, verdict)


def report_of(outcome: Outcome) -> dict[str, Any]:
    """The drill's report in the module's result; empty when it refused before there was one."""
    report = outcome.result.get("report")
    return report if isinstance(report, dict) else {}
