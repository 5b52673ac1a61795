# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet for a ticket or a chat: a table of the systems, and of each that is not proven every reason.

What is not our own word stands in a code span, as in a drill's Markdown (report/markdown.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet import Fleet, Place, System
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_light import (
    Light,
    counted,
    oldest_backup,
    promised,
    worst,
    worst_first,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.markdown import NOTHING, code, table
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration, many

__all__ = ["render"]


def render(fleet: Fleet) -> str:
    """The fleet as GitHub Flavored Markdown."""
    judged = worst_first(fleet)
    lines = [f"# Fleet: {counted(judged) or 'no system'}", ""]
    if judged:
        lines += [f"Found {max(system.looked_at for system, _light in judged):%Y-%m-%d %H:%M} UTC.", ""]
        lines += table(("", "system", "RPO", "RTO", "last drill", "newest backup"), (_row(system, light) for system, light in judged))
    for system, light in judged:
        lines += ["", f"## {code(system.system)}: {light.word}", "", *_of(system, light)]
    return "\n".join(lines) + "\n"


def _row(system: System, light: Light) -> tuple[str, ...]:
    word = light.word if light.verdict == PASSED else f"**{light.word}**"
    moment = oldest_backup(system)
    return (
        word,
        code(system.system),
        *(_measured(system, what) for what in ("rpo", "rto")),
        _drilled(system),
        f"{moment:%Y-%m-%d %H:%M} UTC" if moment is not None else "none",
    )


def _measured(system: System, what: str) -> str:
    found, limit = worst(system, what), promised(system, what)
    said = duration(found.seconds) if found.seconds is not None else "not measured"
    if limit is None:
        return said
    over = found.seconds is not None and found.seconds > limit
    return f"{'**' if over else ''}{said}{'**' if over else ''} (promised {duration(limit)})"


def _drilled(system: System) -> str:
    lasts = [drills.last for drills in system.drills]
    if not lasts:
        return NOTHING
    if None in lasts:
        return "**never**"
    oldest = min(last.started_at for last in lasts if last is not None)
    return f"{oldest:%Y-%m-%d}"


def _of(system: System, light: Light) -> Iterator[str]:
    for verdict, said in light.reasons:
        yield f"- {'bad' if verdict == FAILED else 'in doubt'}: {code(said)}"
    if light.reasons:
        yield ""
    rows: list[tuple[str, ...]] = []
    for drills in system.drills:
        last = drills.last
        if last is None:
            rows.append((code(f"{drills.kind} {drills.name}"), "**never**", NOTHING, NOTHING, NOTHING))
            continue
        rows.append(
            (
                code(f"{drills.kind} {drills.name}"),
                f"{last.verdict if last.verdict == PASSED else f'**{last.verdict}**'} {last.started_at:%Y-%m-%d %H:%M} UTC",
                *(duration(seconds) if seconds is not None else NOTHING for seconds in (last.verified_seconds, last.rpo_seconds)),
                many(len(last.checks), "check"),
            )
        )
    if rows:
        yield from table(("drill", "verdict", "RTO", "RPO", "checks"), rows)
        yield ""
    yield from table(("repository", "backups", "not good", "from", "to"), map(_place, system.places))
    for key in system.protected_keys:
        yield from ("", f"- key {code(key.name)} {code(key.fingerprint or key.needed)} in {code(key.vault)}{_problem(key.problem)}")
    weak = [finding for finding in system.audit if finding.verdict == "weak"]
    if weak:
        yield ""
    for finding in weak:
        yield f"- weak: {code(finding.rule)} of {code(finding.where)}: {code(finding.detail)} {code(finding.advice)}"


def _place(place: Place) -> tuple[str, ...]:
    if place.problem:
        return (code(place.name), f"**not reached**: {code(place.problem)}", NOTHING, NOTHING, NOTHING)
    reach = (f"{at:%Y-%m-%d}" if at is not None else NOTHING for at in (place.oldest, place.newest))
    return (code(place.name), str(place.backups), str(place.bad), *reach)


def _problem(said: str) -> str:
    return f": **{code(said)}**" if said else ""
