# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill report for a ticket.

Names of tables and values come from the database, so everything that is not our own word stands in a code span: no
renderer makes HTML, links, mentions or pictures of what is in one. A `|` would end a table's cell even there, and how a
backslash before it counts differs between renderers: `¦` stands for it. The JSON report holds every value exactly.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import PASSED
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.recovery import facts as recovery_facts
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration, shortened

__all__ = ["code", "render", "table"]

LONGEST = 400
NOTHING = "–"


def render(report: DrillReport) -> str:
    """The report as GitHub Flavored Markdown."""
    lines = [
        f"## Drill {report.verdict}: {code(report.kind)} {code(report.name)} of {code(report.system)}",
        "",
        code(report.reason),
        "",
        *table(("", ""), _facts(report)),
        "",
        *_recovery(report),
        "### Checks",
        "",
        *_checks(report),
        "",
        "### Phases",
        "",
        *table(("phase", "time"), ((code(phase.name), duration(phase.seconds)) for phase in report.phases)),
    ]
    for title, entries in (
        ("Warnings", [code(warning) for warning in report.warnings]),
        ("Settings of the throwaway server", [code(f"{name} = {value}") for name, value in report.settings.items()]),
    ):
        if entries:
            lines += ["", f"### {title}", "", *(f"- {entry}" for entry in entries)]
    return "\n".join(lines) + "\n"


def code(value: str) -> str:
    """Any text as a code span that it cannot leave, on one line, safe in a table."""
    text = " ".join(value.split()).replace("|", "¦")
    # Control and formatting characters could reorder or hide what follows (CVE-2021-42574).
    text = "".join("�" if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn") else character for character in text)
    if not text:
        return NOTHING
    text = shortened(text, LONGEST)
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _facts(report: DrillReport) -> list[tuple[str, str]]:
    objective = report.objective
    met = {True: "**met**", False: "**not met**", None: "not judged"}[objective.met]
    teardown = "complete" if report.teardown.complete else "**not complete**"
    started = f"{report.started_at:%Y-%m-%d %H:%M:%S} UTC"
    return [
        ("backup", f"{code(report.backup_id)} from {code(report.repository)}" if report.backup_id else "none found"),
        ("state of", _moment(report)),
        ("PostgreSQL", f"{code(report.server_version)}, restored on {code(report.postgresql)}"),
        ("RTO to a server that serves", _measured(report.service_ready_seconds)),
        ("RTO to the last green check", _measured(report.verified_seconds) + _promised(objective.rto_seconds)),
        ("RPO", _measured(report.rpo_seconds) + _promised(objective.rpo_seconds) + _said(report.rpo_note)),
        ("objective", met + _said(objective.reason)),
        ("isolated", ("yes" if report.isolation.isolated else "**no**") + _said(report.isolation.how, report.isolation.detail)),
        ("teardown", teardown + _said(report.teardown.detail, *report.teardown.left)),
        ("waived", ", ".join(map(code, report.waived)) or "nothing"),
        ("drilled", f"{started} on {code(report.host)}, by lifeboat.postgres {code(report.lifeboat_version)}"),
    ]


def _recovery(report: DrillReport) -> list[str]:
    rows = [(name, code(value) if foreign else value) for name, value, foreign in recovery_facts(report)]
    return ["### Recovery", "", *table(("", ""), rows), ""] if rows else []


def _checks(report: DrillReport) -> Iterable[str]:
    if not report.checks:
        return ["No check was made."]
    rows = (
        (
            check.verdict if check.verdict == PASSED else f"**{check.verdict}**",
            *map(code, (check.name, check.expected, check.found, check.detail)),
        )
        for check in report.checks
    )
    return table(("verdict", "check", "expected", "found", "detail"), rows)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """The lines of a table; cells are Markdown already."""
    return [_row(head), _row(("---",) * len(head)), *map(_row, rows)]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _moment(report: DrillReport) -> str:
    return f"{report.snapshot_at:%Y-%m-%d %H:%M:%S} UTC" if report.snapshot_at is not None else NOTHING


def _measured(seconds: float | None) -> str:
    return "not measured" if seconds is None else duration(seconds)


def _promised(seconds: float | None) -> str:
    return "" if seconds is None else f" (promised {duration(seconds)})"


def _said(*texts: str) -> str:
    said = ", ".join(code(text) for text in texts if text)
    return f": {said}" if said else ""
