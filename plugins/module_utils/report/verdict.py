# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How single findings become one verdict with one reason. Pure, and the only place that decides it (law 2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import shortened

__all__ = ["Finding", "derive_verdict", "finding_of"]

LONGEST = 300
"""Characters of a reason; the report's checks hold the rest."""


@dataclass(frozen=True)
class Finding:
    """One thing the drill found out: a verdict, and one sentence that says why."""

    verdict: str
    reason: str = ""


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
