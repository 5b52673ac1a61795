# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How single findings become one verdict with one reason, and measures a promise kept or broken. Pure.

The only place that decides it (law 2): the module, the catalogue, the reports and the command ask here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration, shortened

__all__ = ["Finding", "Objective", "derive_verdict", "finding_of", "is_good", "judge_objective"]

LONGEST = 300
"""Characters of a reason; the report's checks hold the rest."""


@dataclass(frozen=True)
class Finding:
    """One thing the drill found out: a verdict, and one sentence that says why."""

    verdict: str
    reason: str = ""


@dataclass(frozen=True)
class Objective:
    """What was promised, and whether it was kept: `met` is None when that cannot be said, `reason` says why."""

    rpo_seconds: float | None = None
    rto_seconds: float | None = None
    met: bool | None = None
    reason: str = ""

    @property
    def promised(self) -> bool:
        """Whether anything was."""
        return self.rpo_seconds is not None or self.rto_seconds is not None


def is_good(verdict: str, objective: Objective) -> bool:
    """Passed, and what was promised was kept. A promise of which that cannot be said was not kept."""
    return verdict == PASSED and (objective.met is True or not objective.promised)


def finding_of(result: CheckResult) -> Finding:
    """A check's answer as a finding: what was found and the details, or what was expected where there are none."""
    said = result.found or result.verdict
    if result.detail:
        said = result.detail if result.detail.startswith(said) else f"{said}: {result.detail}"
    elif result.expected:
        said += f"; expected {result.expected}"
    return Finding(result.verdict, shortened(f"{result.name}: {said}", LONGEST))


def derive_verdict(findings: Iterable[Finding]) -> Finding:
    """The worst of all (failed before unverified before passed) and its first cause; nothing found is unverified.

    Give the findings in the order in which the drill met them: the first one of the worst kind is the reason.
    """
    known = list(findings)
    for verdict in (FAILED, UNVERIFIED):
        for finding in known:
            if finding.verdict == verdict:
                return finding
    if not known:
        return Finding(UNVERIFIED, "Nothing was checked")
    return Finding(PASSED, f"All {len(known)} checks passed" if len(known) > 1 else "The check passed")


def judge_objective(
    rpo_objective: float | None,
    rto_objective: float | None,
    rpo_seconds: float | None,
    verified_seconds: float | None,
) -> Objective:
    """Whether what was measured keeps what was promised; all in seconds, None for not promised or not measured.

    The RTO is judged to the last green check, not to the server's first answer.
    """
    promised = [
        ("RPO", rpo_objective, rpo_seconds),
        ("RTO", rto_objective, verified_seconds),
    ]
    broken = [
        f"{what} is {duration(found - limit)} over the promised {duration(limit)}"
        for what, limit, found in promised
        if limit is not None and found is not None and found > limit
    ]
    unknown = [f"{what} could not be measured" for what, limit, found in promised if limit is not None and found is None]
    if rpo_objective is None and rto_objective is None:
        return Objective(reason="nothing was promised")
    met = False if broken else None if unknown else True
    return Objective(rpo_objective, rto_objective, met, "; ".join(broken + unknown))
