# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pages are put together from: the page itself, texts that are nothing but text, marks, sections, lists, checks. Pure.

Every text is escaped where it enters a page, and a page forbids itself scripts and anything from elsewhere, so that a
table's name is never more than a name.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, VERDICTS, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.html_style import ICON, STYLE
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.trend import Point, chart, summary
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration

__all__ = [
    "WORST_FIRST", "brand", "checks_of", "code", "counts_of", "facts", "figure", "items", "mark", "page", "section", "sentence", "text",
    "trends",
]  # fmt: skip

WORST_FIRST = (FAILED, UNVERIFIED, PASSED)
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


def page(title: str, parts: Iterable[str], style: str = "") -> str:
    """The whole page; `parts` are HTML, `style` is what this page needs beyond the common sheet."""
    return _HEAD.format(title=text(title), style=STYLE + style) + "\n".join(parts) + _FOOT


def brand(what: str) -> str:
    return f'<header class="brand">{ICON}<span>{text(what)}</span></header>'


def section(title: str, body: str, aside: str = "") -> str:
    beside = f'<span class="soft number">{text(aside)}</span>' if aside else ""
    return f"<section><h2>{text(title)}{beside}</h2>{body}</section>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values; the values are HTML already."""
    return f'<dl class="card facts">{"".join(f"<dt>{text(name)}</dt><dd>{value}</dd>" for name, value in pairs)}</dl>'


def figure(label: str, seconds: float | None, promised: float | None, unpromised: str, note: str = "", judged: bool = True) -> str:
    """One measured time beside what was promised; the gauge is full where the promise is used up."""
    said = f"promised {duration(promised)}" if promised is not None else unpromised
    gauge, tone = "", "plain"
    if promised is not None and seconds is not None:
        used = min(max(seconds / promised, 0.01), 1.0) if promised > 0 else 1.0
        tone = "plain" if not judged else PASSED if seconds <= promised else FAILED
        gauge = f'<div class="gauge"><i style="width:{used:.1%}"></i></div>'
    value = text(duration(seconds)) if seconds is not None else '<span class="unmeasured">not measured</span>'
    said += f"; {note}" if note else ""
    return (
        f'<div class="figure {tone}"><dt>{text(label)}</dt><dd class="number">{value}</dd>'
        f'<dd class="promise">{text(said)}</dd>{gauge}</div>'
    )


def trends(rto: Sequence[Point], rpo: Sequence[Point]) -> str:
    """RTO and RPO over the drills of one asset, side by side; in the order of time."""
    charts = "".join(
        f'<figure class="trend"><figcaption>{title}<br><span>{summary(points)}</span></figcaption>{chart(title, points)}</figure>'
        for title, points in (("RTO to the last green check", rto), ("RPO", rpo))
    )
    return f'<div class="trends">{charts}</div>'


def checks_of(checks: Sequence[CheckResult]) -> str:
    """One row per check, those that did not pass first."""
    if not checks:
        return "<p>No check was made.</p>"
    head = '<div class="row head"><span>verdict</span><span>check</span><span>expected</span><span>found</span></div>'
    return f'<div class="card">{head}{"".join(map(_check, sorted(checks, key=lambda check: WORST_FIRST.index(check.verdict))))}</div>'


def _check(check: CheckResult) -> str:
    detail = check.detail
    if check.found and detail.startswith(check.found):
        detail = detail[len(check.found) :].lstrip(":; ")
    below = f'<p class="detail {check.verdict}">{text(detail)}</p>' if detail else ""
    return (
        f'<div class="row">{mark(check.verdict)}<span class="name">{text(check.name)}</span>'
        f'<span class="expected">{text(check.expected)}</span><span class="found">{text(check.found)}</span>{below}</div>'
    )


def counts_of(checks: Sequence[CheckResult]) -> str:
    """How many checks gave which verdict, the worst first."""
    counts = {verdict: sum(check.verdict == verdict for check in checks) for verdict in WORST_FIRST}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def items(texts: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{text(one)}</li>' for one in texts)}</ul>" if texts else ""


def mark(verdict: str, said: str | None = None) -> str:
    """A verdict with its sign and its colour, by its own word or another one."""
    return f'<span class="mark {verdict if verdict in VERDICTS else "plain"}">{text(verdict if said is None else said)}</span>'


def sentence(value: str) -> str:
    """A text with its full stop; an error brings its own."""
    return text(value) + ("" if value.endswith((".", "…")) else ".")


def code(value: Any) -> str:
    return f"<code>{text(value)}</code>"


def text(value: Any) -> str:
    """Any value as text that is nothing but text; characters that turn the direction of writing are shown, not obeyed."""
    shown = "".join("�" if character in _TURNING or "\ud800" <= character <= "\udfff" else character for character in str(value))
    return html.escape(shown, quote=True)


_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\0")
