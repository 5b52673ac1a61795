# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a system of the fleet stands: one light with its word, and every reason. Pure; the only place that decides it.

`proven`: its backups are as fresh as promised, the last drills passed and kept what was promised, and nothing weak is known.
`failing`: something is known to be bad. `doubtful`: something is not known, or was set up so that it may fail; what could
not be looked at never counts as good (law 2).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED
from ansible_collections.lifeboat.postgres.plugins.module_utils.monitoring.judge import FRESH
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet import Fleet, Judged, System

__all__ = ["WORDS", "Light", "Worst", "counted", "judge", "oldest_backup", "promised", "worst", "worst_first"]

WORDS = {PASSED: "proven", UNVERIFIED: "doubtful", FAILED: "failing"}
_WORST_FIRST = (FAILED, UNVERIFIED, PASSED)
_DATA = ("database", "base")
_WEAK_STATES = ("unknown", "future")


@dataclass(frozen=True)
class Light:
    """`verdict` is one of passed, unverified, failed; `word` is how it is said of a system. `reasons` are verdict and sentence,
    the worst first; none for what is proven."""

    verdict: str
    reasons: tuple[tuple[str, str], ...]

    @property
    def word(self) -> str:
        return WORDS[self.verdict]


@dataclass(frozen=True)
class Worst:
    """The longest of what the last drills of all assets measured, in seconds, and of which asset; `missing` are those whose last
    drill did not measure it, or that had none."""

    seconds: float | None = None
    asset: str = ""
    missing: tuple[str, ...] = ()


def judge(system: System) -> Light:
    """The light of one system."""
    reasons = list(_reasons(system))
    for verdict in (FAILED, UNVERIFIED):
        if any(one == verdict for one, _sentence in reasons):
            return Light(verdict, tuple(sorted(dict.fromkeys(reasons), key=lambda reason: reason[0] != FAILED)))
    return Light(PASSED, ())


def worst_first(fleet: Fleet) -> list[tuple[System, Light]]:
    """Every system with its light; those that need somebody first, then by name."""
    judged = [(system, judge(system)) for system in fleet.systems]
    return sorted(judged, key=lambda pair: (_WORST_FIRST.index(pair[1].verdict), pair[0].system))


def counted(judged: Sequence[tuple[System, Light]]) -> str:
    """How many systems stand how, the worst first."""
    counts = {verdict: sum(light.verdict == verdict for _system, light in judged) for verdict in _WORST_FIRST}
    return ", ".join(f"{count} {WORDS[verdict]}" for verdict, count in counts.items() if count)


def worst(system: System, what: str) -> Worst:
    """The worst measured `rto` (to the last green check) or `rpo` over all assets. What did not pass has measured nothing."""
    found, missing = Worst(), []
    for drills in system.drills:
        asset, last = f"{drills.kind}/{drills.name}", drills.last
        seconds = None if last is None or last.verdict != PASSED else last.verified_seconds if what == "rto" else last.rpo_seconds
        if seconds is None:
            missing.append(asset)
        elif found.seconds is None or seconds > found.seconds:
            found = Worst(seconds, asset)
    return Worst(found.seconds, found.asset, tuple(missing))


def promised(system: System, what: str) -> float | None:
    """What was promised of `rto` or `rpo`, in seconds: by the objective, else what the last drills were held against, the strictest."""
    if system.objective.anything:
        return system.objective.rto_seconds if what == "rto" else system.objective.rpo_seconds
    objectives = [drills.last.objective for drills in system.drills if drills.last is not None]
    limits = [one.rto_seconds if what == "rto" else one.rpo_seconds for one in objectives]
    return min((limit for limit in limits if limit is not None), default=None)


def oldest_backup(system: System) -> dt.datetime | None:
    """The moment that the newest good backup holds, of the asset where that lies back the farthest; None where one has none.

    The data themselves count; roles and the like only where there is nothing else.
    """
    data = [asset for asset in system.assets if asset.kind in _DATA] or system.assets
    moments = [asset.newest_at for asset in data]
    return None if None in moments else min((moment for moment in moments if moment is not None), default=None)


def _reasons(system: System) -> Iterator[tuple[str, str]]:
    for sentence in system.unknown:
        yield UNVERIFIED, sentence
    for place in system.places:
        if place.problem:
            yield UNVERIFIED, f"repository {place.name} cannot be listed: {place.problem}"
    if system.places and not system.assets and all(not place.problem for place in system.places):
        yield FAILED, "there is no backup"
    if not system.objective.anything and not system.unknown:
        yield UNVERIFIED, "nothing was promised (lifeboat_objective), so no age is judged"
    for finding in system.freshness:
        if finding.what != "drill" and finding.state != FRESH:
            yield UNVERIFIED if finding.state in _WEAK_STATES else FAILED, finding.words()
    yield from _drilled(system, [finding for finding in system.freshness if finding.what == "drill"])
    logs = {finding.repository for finding in system.freshness if finding.what == "log"}
    for archive in system.archives:
        if archive.problems and archive.repository not in logs:
            yield UNVERIFIED, f"the log in {archive.repository}: {archive.problems[0]}"
    for key in system.protected_keys:
        if key.problem:
            yield (FAILED if key.vault else UNVERIFIED), f"key {key.name}{f' in {key.vault}' if key.vault else ''}: {key.problem}"
    for audited in system.audit:
        if audited.verdict == "weak":
            yield UNVERIFIED, f"{audited.where}: {audited.detail}"


def _drilled(system: System, judged: Sequence[Judged]) -> Iterator[tuple[str, str]]:
    """The last drill of each asset by its own verdict; what was never drilled or not for long is in doubt, and not yet bad."""
    for drills in system.drills:
        asset = f"{drills.kind}/{drills.name}"
        if drills.last is None:
            yield UNVERIFIED, f"{asset}: it was never drilled: a backup that was never restored is none"
        elif not drills.last.good:
            yield _of_drill(asset, drills.last)
    for finding in judged:
        if finding.state == "late":
            yield UNVERIFIED, finding.words()


def _of_drill(asset: str, last: DrillReport) -> tuple[str, str]:
    if last.verdict == PASSED:
        said = last.objective.reason or "what was promised was not kept"
        return (FAILED if last.objective.met is False else UNVERIFIED), f"{asset}: its last drill passed, but {said}"
    return last.verdict, f"{asset}: its last drill {'failed' if last.verdict == FAILED else 'was unverified'}: {last.reason}"
