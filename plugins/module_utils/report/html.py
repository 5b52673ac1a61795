# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill report as one page: no network, no script, nothing beside it. Made from JSON, so it can be made anywhere.

Every text is escaped where it enters the page, and the page forbids itself scripts and anything from elsewhere, so that a
table's name is never more than a name.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, VERDICTS, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.html_style import ICON, STYLE
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.recovery import facts as recovery_facts
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.recovery import window
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.trend import Point, chart, summary
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration, many

__all__ = ["render"]

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
"""
_FOOT = "</main>\n</body>\n</html>\n"
_HEADLINES = {PASSED: "Passed", FAILED: "Failed", UNVERIFIED: "Unverified"}
_EMPTY = "''"
LISTED = 24
"""Drills that are listed below the charts; the charts hold all."""
_WORST_FIRST = (FAILED, UNVERIFIED, PASSED)
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
    parts = [_report(report, history)] if report else [_brand("drills")]
    if document.get("cases"):
        parts.append(_cases(document["cases"]))
    if document.get("machine"):
        parts.append(_section("Measured on", _facts((name.replace("_", " "), _text(value)) for name, value in document["machine"].items())))
    parts.append(_footer(report, document.get("seconds")))
    title = f"Drill {report.verdict}: {report.name} of {report.system}" if report else "Drills"
    return _HEAD.format(title=_text(title), style=STYLE) + "\n".join(parts) + _FOOT


def _report(report: DrillReport, history: Sequence[DrillReport]) -> str:
    return "\n".join(
        [
            _brand(f"{report.kind} {report.name} of system {report.system}"),
            _verdict(report),
            _figures(report),
            _warnings(report),
            _recovery(report),
            _history(report, history),
            _section("Checks", _checks(report.checks), _counts(report.checks)),
            _phases(report),
            _section("The drill", _facts(_about(report))),
        ]
    )


def _brand(what: str) -> str:
    return f'<header class="brand">{ICON}<span>Drill report: {_text(what)}</span></header>'


def _verdict(report: DrillReport) -> str:
    backup = f"Backup {_code(report.backup_id)} from {_code(report.repository)}" if report.backup_id else "No backup was found"
    state = f", the state of {report.snapshot_at:%Y-%m-%d %H:%M:%S} UTC" if report.snapshot_at else ""
    return (
        f'<div class="verdict {report.verdict}"><h1>{_HEADLINES[report.verdict]}</h1><p>{_sentence(report.reason)}</p>'
        f'<p class="soft">{backup}{state}</p></div>'
    )


def _figures(report: DrillReport) -> str:
    objective, judged = report.objective, report.verdict == PASSED  # what did not pass keeps no promise, however fast or young
    tiles = [
        _figure("RTO to a server that serves", report.service_ready_seconds, None, "from the empty target"),
        _figure("RTO to the last green check", report.verified_seconds, objective.rto_seconds, "nothing promised", judged=judged),
        _figure("RPO", report.rpo_seconds, objective.rpo_seconds, "nothing promised", report.rpo_note, judged),
    ]
    tone, sentence = _OBJECTIVES[objective.met]
    reason = f" {_sentence(objective.reason[:1].upper() + objective.reason[1:])}" if objective.reason else ""
    below = f'<p class="objective"><span class="mark {tone}">{sentence}</span>{reason}</p>'
    return f'<dl class="figures">{"".join(tiles)}</dl>{below}'


def _figure(label: str, seconds: float | None, promised: float | None, unpromised: str, note: str = "", judged: bool = True) -> str:
    """One measured time beside what was promised; the gauge is full where the promise is used up."""
    said = f"promised {duration(promised)}" if promised is not None else unpromised
    gauge, tone = "", "plain"
    if promised is not None and seconds is not None:
        used = min(max(seconds / promised, 0.01), 1.0) if promised > 0 else 1.0
        tone = "plain" if not judged else PASSED if seconds <= promised else FAILED
        gauge = f'<div class="gauge"><i style="width:{used:.1%}"></i></div>'
    value = _text(duration(seconds)) if seconds is not None else '<span class="unmeasured">not measured</span>'
    said += f"; {note}" if note else ""
    return (
        f'<div class="figure {tone}"><dt>{_text(label)}</dt><dd class="number">{value}</dd>'
        f'<dd class="promise">{_text(said)}</dd>{gauge}</div>'
    )


def _warnings(report: DrillReport) -> str:
    """Right below the figures: what they are worth."""
    if not report.warnings:
        return ""
    title = many(len(report.warnings), "warning")
    return f'<aside class="warnings"><h2>{_text(title)}</h2>{_list(report.warnings)}</aside>'


def _recovery(report: DrillReport) -> str:
    """The window one can recover to and where the drill went in it; nothing for a dump."""
    if report.recovery is None:
        return ""
    drawn = window(report)
    figure = f'<figure class="trend card">{drawn}</figure>' if drawn else ""
    return _section("Recovery", figure + _facts((name, _text(value)) for name, value, _foreign in recovery_facts(report)))


def _history(report: DrillReport, history: Sequence[DrillReport]) -> str:
    """RTO and RPO over this drill and the others of the same asset; nothing where there are none."""
    same = (report.system, report.kind, report.name)
    known = {(past.started_at, past.backup_id): past for past in (*history, report) if (past.system, past.kind, past.name) == same}
    if len(known) < 2:
        return ""
    drills = [known[key] for key in sorted(known)]
    rto = [Point(past.started_at, past.verdict, past.verified_seconds, past.objective.rto_seconds) for past in drills]
    rpo = [Point(past.started_at, past.verdict, past.rpo_seconds, past.objective.rpo_seconds) for past in drills]
    charts = "".join(
        f'<figure class="trend"><figcaption>{title}<br><span>{summary(points)}</span></figcaption>{chart(title, points)}</figure>'
        for title, points in (("RTO to the last green check", rto), ("RPO", rpo))
    )
    listed = "".join(map(_past, reversed(drills[-LISTED:])))
    more = f"the last {LISTED}, newest first" if len(drills) > LISTED else "newest first"
    details = f'<details><summary>Each drill, {more}</summary><ol class="past">{listed}</ol></details>'
    good = sum(past.good for past in drills)
    return _section("History", f'<div class="trends">{charts}</div>{details}', f"{good} of {many(len(drills), 'drill')} good")


def _past(report: DrillReport) -> str:
    cells = [f"{report.started_at:%Y-%m-%d %H:%M}"]
    for what, seconds in (("RTO", report.verified_seconds), ("RPO", report.rpo_seconds if report.verdict == PASSED else None)):
        cells.append(f"{what} {duration(seconds)}" if seconds is not None else f"{what} –")
    promise = {True: "promise kept", False: "promise broken", None: ""}[report.objective.met]
    return f"<li>{_mark(report.verdict)}{''.join(f'<span>{_text(cell)}</span>' for cell in (*cells, promise))}</li>"


def _checks(checks: Sequence[CheckResult]) -> str:
    """One row per check, those that did not pass first."""
    if not checks:
        return "<p>No check was made.</p>"
    head = '<div class="row head"><span>verdict</span><span>check</span><span>expected</span><span>found</span></div>'
    return f'<div class="card">{head}{"".join(map(_check, sorted(checks, key=lambda check: _WORST_FIRST.index(check.verdict))))}</div>'


def _check(check: CheckResult) -> str:
    detail = check.detail
    if check.found and detail.startswith(check.found):
        detail = detail[len(check.found) :].lstrip("; ")
    below = f'<p class="detail {check.verdict}">{_text(detail)}</p>' if detail else ""
    return (
        f'<div class="row">{_mark(check.verdict)}<span class="name">{_text(check.name)}</span>'
        f'<span class="expected">{_text(check.expected)}</span><span class="found">{_text(check.found)}</span>{below}</div>'
    )


def _counts(checks: Sequence[CheckResult]) -> str:
    """How many checks gave which verdict, the worst first."""
    counts = {verdict: sum(check.verdict == verdict for check in checks) for verdict in _WORST_FIRST}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def _phases(report: DrillReport) -> str:
    """Where the time went, in order; neighbours differ in shade, and the legend names and counts."""
    if not report.phases:
        return ""
    shades = [1 - 0.62 * position / max(len(report.phases) - 1, 1) for position in range(len(report.phases))]
    segments, legend = [], []
    for phase, shade in zip(report.phases, shades):
        segments.append(f'<i style="flex:{max(phase.seconds, 0):.4f} 1 0;opacity:{shade:.2f}"></i>')
        time = f'<span class="number soft">{_text(duration(phase.seconds))}</span>'
        legend.append(f'<li><i style="opacity:{shade:.2f}"></i><span>{_text(phase.name)}</span>{time}</li>')
    total = duration(sum(phase.seconds for phase in report.phases))
    body = f'<div class="bar" aria-hidden="true">{"".join(segments)}</div><ol class="legend">{"".join(legend)}</ol>'
    return _section("Where the time went", body, f"{total} in all")


def _about(report: DrillReport) -> Iterable[tuple[str, str]]:
    """What the reader of a bad report asks next."""
    isolation, teardown = report.isolation, report.teardown
    yield "isolated", _answer(isolation.isolated, "yes", "no", isolation.how, isolation.detail)
    yield "waived by name", _list(report.waived) or "nothing"
    yield "teardown", _answer(teardown.complete, "nothing is left", "something is left", teardown.detail, *teardown.left)
    if report.settings:
        yield "settings unlike production's", _settings(report.settings)
    if report.failure_at is not None:
        yield "failure assumed at", f"{report.failure_at:%Y-%m-%d %H:%M:%S} UTC"
    yield "drilled", f"{report.started_at:%Y-%m-%d %H:%M:%S} UTC to {report.finished_at:%H:%M:%S} UTC on {_code(report.host)}"


def _cases(cases: Sequence[Mapping[str, Any]]) -> str:
    rows = [_case(case) for case in cases]
    head = "<thead><tr><th>case</th><th>expected</th><th>verdict</th><th>reason</th><th>time</th></tr></thead>"
    wrong = sum(row.startswith('<tr class="unexpected">') for row in rows)
    said = f"{wrong} of {many(len(rows), 'case')} not as expected" if wrong else f"all {many(len(rows), 'case')} as expected"
    return _section(
        "What other backups were found to be", f'<div class="card"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>', said
    )


def _case(case: Mapping[str, Any]) -> str:
    held = case["verdict"] == case["expected"] and case.get("holds", True)
    cells = {
        "title": _text(case["name"]),
        "expected": _text(case["expected"]),
        "said": _mark(str(case["verdict"])),
        "reason": _text(case["reason"]),
        "seconds number": _text(duration(float(case["seconds"]))),
    }
    row = "".join(f'<td class="{name}">{content}</td>' for name, content in cells.items())
    return f"<tr>{row}</tr>" if held else f'<tr class="unexpected">{row}</tr>'


def _footer(report: DrillReport | None, seconds: Any) -> str:
    parts = [f"lifeboat.postgres {_text(report.lifeboat_version)}"] if report else ["lifeboat.postgres"]
    if seconds is not None:
        parts.append(f"all of it took {_text(duration(float(seconds)))}")
    return f"<footer>{', '.join(parts)}. A backup that was never restored is not a backup.</footer>"


def _section(title: str, body: str, aside: str = "") -> str:
    beside = f'<span class="soft number">{_text(aside)}</span>' if aside else ""
    return f"<section><h2>{_text(title)}{beside}</h2>{body}</section>"


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    """Names and values; the values are HTML already."""
    return f'<dl class="card facts">{"".join(f"<dt>{_text(name)}</dt><dd>{value}</dd>" for name, value in facts)}</dl>'


def _answer(good: bool, yes: str, no: str, *details: str) -> str:
    mark = f'<span class="mark {PASSED if good else FAILED}">{_text(yes if good else no)}</span>'
    return mark + "".join(f'<br><span class="soft">{_text(detail)}</span>' for detail in details if detail)


def _list(texts: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(text)}</li>' for text in texts)}</ul>" if texts else ""


def _settings(settings: Mapping[str, str]) -> str:
    items = "".join(f"<li>{_code(f'{name} = {value or _EMPTY}')}</li>" for name, value in settings.items())
    return f'<ul class="settings">{items}</ul>'


def _mark(verdict: str) -> str:
    return f'<span class="mark {verdict if verdict in VERDICTS else "plain"}">{_text(verdict)}</span>'


def _sentence(text: str) -> str:
    """A text with its full stop; an error brings its own."""
    return _text(text) + ("" if text.endswith((".", "…")) else ".")


def _code(value: Any) -> str:
    return f"<code>{_text(value)}</code>"


def _text(value: Any) -> str:
    """Any value as text that is nothing but text; characters that turn the direction of writing are shown, not obeyed."""
    return html.escape("".join("�" if character in _TURNING else character for character in str(value)), quote=True)


_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\0")
