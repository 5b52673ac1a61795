# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How single findings become one verdict with one reason. Pure, and the only place that decides it (law 2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, CheckResult

__all__ = ["Finding", "derive_verdict", "finding_of"]


@dataclass(frozen=True)
class Finding:
    """One thing the drill found out: a verdict, and one sentence that says why."""

    verdict: str
    reason: str = ""


def finding_of(result: CheckResult) -> Finding:
    """A check's answer as a finding."""
    parts = [f"expected {result.expected}" if result.expected else "", f"found {result.found}" if result.found else ""]
    said = ", ".join(part for part in parts if part) or result.detail or result.verdict
    return Finding(result.verdict, f"{result.name}: {said}")


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
