# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill report for what reads test results (CI servers, AWX's and GitLab's pages): JUnit's XML, a case per check. Pure.

What was unverified is an error there and not skipped: whoever counts skipped cases as good would take it for passed (law 2).
"""

from __future__ import annotations

import html
from collections.abc import Iterator

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport

__all__ = ["render"]


def render(report: DrillReport) -> str:
    """The report as one suite. Beside the checks, the objective, the isolation, the teardown and the verdict itself are cases.

    What was waived, and every warning, is the suite's output: also of a drill that passed (law 5).
    """
    cases = [*report.checks, *_own(report)]
    seconds = (report.finished_at - report.started_at).total_seconds()
    red = f'failures="{_count(cases, FAILED)}" errors="{_count(cases, UNVERIFIED)}" skipped="0"'
    counts = f'tests="{len(cases)}" {red} time="{seconds:.3f}"'
    name = f"drill of {report.kind} {report.name}, system {report.system}"
    facts = {
        "backup_id": report.backup_id,
        "repository": report.repository,
        "verdict": report.verdict,
        "service_ready_seconds": report.service_ready_seconds,
        "verified_seconds": report.verified_seconds,
        "rpo_seconds": report.rpo_seconds,
        "lifeboat_version": report.lifeboat_version,
    }
    properties = "".join(f'<property name="{key}" value="{_text(value)}"/>' for key, value in facts.items() if value is not None)
    classname = _text(".".join(part.replace(".", "_") for part in (report.system, report.kind, report.name)))
    where = f'timestamp="{report.started_at:%Y-%m-%dT%H:%M:%S}" hostname="{_text(report.host)}"'
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites {counts}>\n<testsuite name="{_text(name)}" {counts} {where}>\n'
        f"<properties>{properties}</properties>\n{''.join(_case(case, classname) for case in cases)}{_output(report)}"
        "</testsuite>\n</testsuites>\n"
    )


def _own(report: DrillReport) -> Iterator[CheckResult]:
    objective, isolation, teardown = report.objective, report.isolation, report.teardown
    if objective.promised:
        kept = {True: PASSED, False: FAILED, None: UNVERIFIED}[objective.met]
        yield CheckResult("objective", kept, "every promise is kept", "", objective.reason)
    yield CheckResult("isolation", PASSED if isolation.isolated else UNVERIFIED, "no way out", isolation.how, isolation.detail)
    yield CheckResult("teardown", PASSED if teardown.complete else FAILED, "nothing is left", ", ".join(teardown.left), teardown.detail)
    yield CheckResult("verdict", report.verdict, PASSED, report.verdict, report.reason)


def _output(report: DrillReport) -> str:
    said = [*(f"waived: {name}" for name in report.waived), *report.warnings]
    return f"<system-out>{_text(chr(10).join(said))}</system-out>\n" if said else ""


def _count(cases: list[CheckResult], verdict: str) -> int:
    return sum(case.verdict == verdict for case in cases)


def _case(case: CheckResult, classname: str) -> str:
    begin = f'<testcase classname="{classname}" name="{_text(case.name)}"'
    if case.verdict == PASSED:
        return f"{begin}/>\n"
    tag = "failure" if case.verdict == FAILED else "error"
    said = case.found or case.detail or case.verdict
    parts = (("expected: ", case.expected), ("found: ", case.found), ("", case.detail))
    lines = "\n".join(f"{word}{value}" for word, value in parts if value)
    return f'{begin}><{tag} type="{case.verdict}" message="{_text(said)}">{_text(lines)}</{tag}></testcase>\n'


def _text(value: object) -> str:
    """Any value as XML's text; a character that XML 1.0 does not know, not even escaped, is shown as one that is missing."""
    return html.escape("".join(character if _known(ord(character)) else "�" for character in str(value)), quote=True)


def _known(code: int) -> bool:
    return code in (0x9, 0xA, 0xD) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or 0x10000 <= code <= 0x10FFFF
