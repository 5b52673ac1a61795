# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill report as one page: no network, no script, nothing beside it. Made from JSON, so it can be made anywhere.

The pieces, and how a text stays a text, are in report/html_parts.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.html_parts import (
    brand,
    checks_of,
    code,
    counts_of,
    facts,
    figure,
    items,
    mark,
    page,
    section,
    sentence,
    text,
    trends,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.recovery import facts as recovery_facts
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.recovery import window
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.trend import Point
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration, many

__all__ = ["render"]

_HEADLINES = {PASSED: "Passed", FAILED: "Failed", UNVERIFIED: "Unverified"}
_EMPTY = "''"
LISTED = 24
"""Drills that are listed below the charts; the charts hold all."""
_OBJECTIVES = {
    True: (PASSED, "The objective is met."),
    False: (FAILED, "The objective is not met."),
    None: ("plain", "The objective was not judged."),
}


def render(document: Mapping[str, Any], history: Sequence[DrillReport] = ()) -> str:
    """The page of a drill report's document, or of a mapping that holds one as `drill`; `history` are reports of other drills
    of the same asset, drawn together with this one.

    Such a mapping may also have `cases` (each `name`, `expected`, `verdict`, `reason`, `seconds`), `machine` (facts by
    name) and `seconds`, as the demo has. Raises `ManifestError` for a report that is not well formed.
    """
    drill = document if "schema" in document else document.get("drill")
    report = DrillReport.from_document(drill) if drill else None
    parts = [_report(report, history)] if report else [brand("Drill report: drills")]
    if document.get("cases"):
        parts.append(_cases(document["cases"]))
    if document.get("machine"):
        parts.append(section("Measured on", facts((name.replace("_", " "), text(value)) for name, value in document["machine"].items())))
    parts.append(_footer(report, document.get("seconds")))
    title = f"Drill {report.verdict}: {report.name} of {report.system}" if report else "Drills"
    return page(title, parts)


def _report(report: DrillReport, history: Sequence[DrillReport]) -> str:
    return "\n".join(
        [
            brand(f"Drill report: {report.kind} {report.name} of system {report.system}"),
            _verdict(report),
            _figures(report),
            _warnings(report),
            _recovery(report),
            _history(report, history),
            section("Checks", checks_of(report.checks), counts_of(report.checks)),
            _phases(report),
            section("The drill", facts(_about(report))),
        ]
    )


def _verdict(report: DrillReport) -> str:
    backup = f"Backup {code(report.backup_id)} from {code(report.repository)}" if report.backup_id else "No backup was found"
    state = f", the state of {report.snapshot_at:%Y-%m-%d %H:%M:%S} UTC" if report.snapshot_at else ""
    return (
        f'<div class="verdict {report.verdict}"><h1>{_HEADLINES[report.verdict]}</h1><p>{sentence(report.reason)}</p>'
        f'<p class="soft">{backup}{state}</p></div>'
    )


def _figures(report: DrillReport) -> str:
    objective, judged = report.objective, report.verdict == PASSED  # what did not pass keeps no promise, however fast or young
    tiles = [
        figure("RTO to a server that serves", report.service_ready_seconds, None, "from the empty target"),
        figure("RTO to the last green check", report.verified_seconds, objective.rto_seconds, "nothing promised", judged=judged),
        figure("RPO", report.rpo_seconds, objective.rpo_seconds, "nothing promised", report.rpo_note, judged),
    ]
    tone, said = _OBJECTIVES[objective.met]
    reason = f" {sentence(objective.reason[:1].upper() + objective.reason[1:])}" if objective.reason else ""
    below = f'<p class="objective">{mark(tone, said)}{reason}</p>'
    return f'<dl class="figures">{"".join(tiles)}</dl>{below}'


def _warnings(report: DrillReport) -> str:
    """Right below the figures: what they are worth."""
    if not report.warnings:
        return ""
    title = many(len(report.warnings), "warning")
    return f'<aside class="warnings"><h2>{text(title)}</h2>{items(report.warnings)}</aside>'


def _recovery(report: DrillReport) -> str:
    """The window one can recover to and where the drill went in it; nothing for a dump."""
    if report.recovery is None:
        return ""
    drawn = window(report)
    drawing = f'<figure class="trend card">{drawn}</figure>' if drawn else ""
    return section("Recovery", drawing + facts((name, text(value)) for name, value, _foreign in recovery_facts(report)))


def _history(report: DrillReport, history: Sequence[DrillReport]) -> str:
    """RTO and RPO over this drill and the others of the same asset; nothing where there are none."""
    same = (report.system, report.kind, report.name)
    known = {(past.started_at, past.backup_id): past for past in (*history, report) if (past.system, past.kind, past.name) == same}
    if len(known) < 2:
        return ""
    drills = [known[key] for key in sorted(known)]
    rto = [Point(past.started_at, past.verdict, past.verified_seconds, past.objective.rto_seconds) for past in drills]
    rpo = [Point(past.started_at, past.verdict, past.rpo_seconds, past.objective.rpo_seconds) for past in drills]
    listed = "".join(map(_past, reversed(drills[-LISTED:])))
    more = f"the last {LISTED}, newest first" if len(drills) > LISTED else "newest first"
    details = f'<details><summary>Each drill, {more}</summary><ol class="past">{listed}</ol></details>'
    good = sum(past.good for past in drills)
    return section("History", trends(rto, rpo) + details, f"{good} of {many(len(drills), 'drill')} good")


def _past(report: DrillReport) -> str:
    cells = [f"{report.started_at:%Y-%m-%d %H:%M}"]
    for what, seconds in (("RTO", report.verified_seconds), ("RPO", report.rpo_seconds if report.verdict == PASSED else None)):
        cells.append(f"{what} {duration(seconds)}" if seconds is not None else f"{what} –")
    promise = {True: "promise kept", False: "promise broken", None: ""}[report.objective.met]
    return f"<li>{mark(report.verdict)}{''.join(f'<span>{text(cell)}</span>' for cell in (*cells, promise))}</li>"


def _phases(report: DrillReport) -> str:
    """Where the time went, in order; neighbours differ in shade, and the legend names and counts."""
    if not report.phases:
        return ""
    shades = [1 - 0.62 * position / max(len(report.phases) - 1, 1) for position in range(len(report.phases))]
    segments, legend = [], []
    for phase, shade in zip(report.phases, shades):
        segments.append(f'<i style="flex:{max(phase.seconds, 0):.4f} 1 0;opacity:{shade:.2f}"></i>')
        time = f'<span class="number soft">{text(duration(phase.seconds))}</span>'
        legend.append(f'<li><i style="opacity:{shade:.2f}"></i><span>{text(phase.name)}</span>{time}</li>')
    total = duration(sum(phase.seconds for phase in report.phases))
    body = f'<div class="bar" aria-hidden="true">{"".join(segments)}</div><ol class="legend">{"".join(legend)}</ol>'
    return section("Where the time went", body, f"{total} in all")


def _about(report: DrillReport) -> Iterable[tuple[str, str]]:
    """What the reader of a bad report asks next."""
    isolation, teardown = report.isolation, report.teardown
    yield "isolated", _answer(isolation.isolated, "yes", "no", isolation.how, isolation.detail)
    yield "waived by name", items(report.waived) or "nothing"
    yield "teardown", _answer(teardown.complete, "nothing is left", "something is left", teardown.detail, *teardown.left)
    if report.settings:
        yield "settings unlike production's", _settings(report.settings)
    if report.failure_at is not None:
        yield "failure assumed at", f"{report.failure_at:%Y-%m-%d %H:%M:%S} UTC"
    yield "drilled", f"{report.started_at:%Y-%m-%d %H:%M:%S} UTC to {report.finished_at:%H:%M:%S} UTC on {code(report.host)}"


def _cases(cases: Sequence[Mapping[str, Any]]) -> str:
    rows = [_case(case) for case in cases]
    head = "<thead><tr><th>case</th><th>expected</th><th>verdict</th><th>reason</th><th>time</th></tr></thead>"
    wrong = sum(row.startswith('<tr class="unexpected">') for row in rows)
    said = f"{wrong} of {many(len(rows), 'case')} not as expected" if wrong else f"all {many(len(rows), 'case')} as expected"
    return section(
        "What other backups were found to be", f'<div class="card"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>', said
    )


def _case(case: Mapping[str, Any]) -> str:
    held = case["verdict"] == case["expected"] and case.get("holds", True)
    cells = {
        "title": text(case["name"]),
        "expected": text(case["expected"]),
        "said": mark(str(case["verdict"])),
        "reason": text(case["reason"]),
        "seconds number": text(duration(float(case["seconds"]))),
    }
    row = "".join(f'<td class="{name}">{content}</td>' for name, content in cells.items())
    return f"<tr>{row}</tr>" if held else f'<tr class="unexpected">{row}</tr>'


def _footer(report: DrillReport | None, seconds: Any) -> str:
    parts = [f"lifeboat.postgres {text(report.lifeboat_version)}"] if report else ["lifeboat.postgres"]
    if seconds is not None:
        parts.append(f"all of it took {text(duration(float(seconds)))}")
    return f"<footer>{', '.join(parts)}. A backup that was never restored is not a backup.</footer>"


def _answer(good: bool, yes: str, no: str, *details: str) -> str:
    said = mark(PASSED if good else FAILED, yes if good else no)
    return said + "".join(f'<br><span class="soft">{text(detail)}</span>' for detail in details if detail)


def _settings(settings: Mapping[str, str]) -> str:
    listed = "".join(f"<li>{code(f'{name} = {value or _EMPTY}')}</li>" for name, value in settings.items())
    return f'<ul class="settings">{listed}</ul>'
