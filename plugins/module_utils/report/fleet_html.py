# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet as one page: a row per system, the worst first, and below everything about each. No network, no script.

Made from the document alone, so that the same facts give the same page. What one system's part looks like is in
report/fleet_html_system.py; the pieces, and how a text stays a text, are in report/html_parts.py.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet import Fleet, System
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_html_system import details_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_light import (
    WORDS,
    Light,
    counted,
    oldest_backup,
    promised,
    worst,
    worst_first,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_style import FLEET_STYLE
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.html_parts import WORST_FIRST, brand, mark, page, section, text
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration, many

__all__ = ["OPEN", "render"]

OPEN = 3
"""Of so many systems each is unfolded; of more, those that are proven are folded."""
_COLUMNS = ("", "system", "RPO", "RTO", "last drill", "newest backup")
_MINUTES = dt.timedelta(minutes=5)


def render(fleet: Fleet) -> str:
    """The whole page."""
    judged = worst_first(fleet)
    rows = "".join(_row(number, system, light) for number, (system, light) in enumerate(judged, 1))
    head = f'<div class="row head">{"".join(f"<span>{column}</span>" for column in _COLUMNS)}</div>'
    many_systems = len(judged) > OPEN
    parts = [
        brand(f"Fleet report: {many(len(judged), 'system')}"),
        _headline(judged),
        section("Systems", f'<div class="card fleet">{head}{rows}</div>' if judged else "<p>No system was looked at.</p>", counted(judged)),
        *(
            details_of(number, system, light, unfolded=not many_systems or light.verdict != PASSED)
            for number, (system, light) in enumerate(judged, 1)
        ),
        _footer(fleet),
    ]
    return page(f"Fleet: {counted(judged) or 'no system'}", parts, FLEET_STYLE)


def _headline(judged: Sequence[tuple[System, Light]]) -> str:
    verdict = judged[0][1].verdict if judged else UNVERIFIED
    same = sum(light.verdict == verdict for _system, light in judged)
    whole = many(len(judged), "system")
    said = f"{whole} {WORDS[verdict]}" if same == len(judged) else f"{same} of {whole} {WORDS[verdict]}"
    if same == len(judged) > 1:
        said = f"All {said}"
    moments = [system.looked_at for system, _light in judged]
    when = ""
    if moments:
        first, last = min(moments), max(moments)
        span = f"{first:%Y-%m-%d %H:%M} UTC" if last - first < _MINUTES else f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
        when = f'<p class="soft">Found {span}. A later look that finds the same leaves this page as it is.</p>'
    return f'<div class="verdict {verdict}"><h1>{said}</h1><p>{_MEANING[verdict]}</p>{when}</div>'


_MEANING = {
    PASSED: "Every backup is as fresh as promised, and the last drill of each passed and kept what was promised.",
    UNVERIFIED: "Something is not known, or is set up so that it may fail. What is not known does not count as good.",
    FAILED: "Something is known to be bad: it is named below, with its system.",
}


def _row(number: int, system: System, light: Light) -> str:
    name = f'<a class="name" href="#s{number}">{text(system.system)}</a>'
    measured = (_measured(system, what) for what in ("rpo", "rto"))
    cells = [mark(light.verdict, light.word), name, *measured, _drilled(system), _backed_up(system)]
    if light.reasons:
        more = f" (and {len(light.reasons) - 1} more)" if len(light.reasons) > 1 else ""
        cells.append(f'<span class="said">{text(light.reasons[0][1])}{more}</span>')
    return f'<div class="row{" failing" if light.verdict == FAILED else ""}">{"".join(cells)}</div>'


def _measured(system: System, what: str) -> str:
    """What was measured, marked by whether it keeps what was promised."""
    found, limit = worst(system, what), promised(system, what)
    seconds = found.seconds
    if seconds is None:
        said = '<span class="soft">not measured</span>'
    elif limit is None:
        said = f'<span class="number">{duration(seconds)}</span>'
    else:
        said = mark(PASSED if seconds <= limit else FAILED, duration(seconds))
    of = f"promised {duration(limit)}" if limit is not None else "nothing promised"
    return _cell(what.upper(), f'{said} <span class="of">{of}</span>')


def _drilled(system: System) -> str:
    """The last drill of the asset that was drilled longest ago; one that never was stands before all."""
    if not system.drills:
        return _cell("last drill", mark(UNVERIFIED, "not known" if system.unknown else "never"))
    never = any(drills.last is None for drills in system.drills)
    lasts = [drills.last for drills in system.drills if drills.last is not None]
    if never or not lasts:
        return _cell("last drill", mark(UNVERIFIED, "never"))
    oldest = min(last.started_at for last in lasts)
    verdict = min((last.verdict for last in lasts), key=WORST_FIRST.index)
    return _cell("last drill", f'{mark(verdict, f"{oldest:%Y-%m-%d}")} <span class="of">{verdict}</span>')


def _backed_up(system: System) -> str:
    moment = oldest_backup(system)
    places = [place for place in system.places if not place.copy_from]
    none = mark(FAILED, "none") if places else mark(UNVERIFIED, "not known")
    said = f'<span class="number">{moment:%Y-%m-%d %H:%M}</span>' if moment is not None else none
    reached = sum(not place.problem for place in places)
    of = f"{reached} of {len(places)} places reached" if reached < len(places) else ""
    return _cell("newest backup", f'{said} <span class="of">{of}</span>' if of else said)


def _cell(label: str, content: str) -> str:
    return f'<span><span class="label">{label}</span>{content}</span>'


def _footer(fleet: Fleet) -> str:
    versions = sorted({system.lifeboat_version for system in fleet.systems})
    return f"<footer>lifeboat.postgres {text(', '.join(versions))}. A backup that was never restored is not a backup.</footer>"
