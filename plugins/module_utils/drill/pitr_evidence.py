# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence of production at a position of its log: where a recovery has to stop for it, and the comparison when it has."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import PASSED, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.choose_base import wal_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.fetch import Fetcher
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.moment import EVIDENCE, RecoveryTarget
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, ManifestError
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.compare import compare
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import Evidence
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.recovered import after_recovery
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import EvidencePoint, Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["aimed", "compared", "evidence_at", "point_of"]


def point_of(plan: DrillPlan, manifest: Manifest) -> EvidencePoint | None:
    """The evidence that the target is the position of; None for any other target."""
    database = plan.target.evidence_of
    return next((point for point in manifest.evidence if database and point.database == database), None)


def aimed(plan: DrillPlan, manifest: Manifest) -> DrillPlan:
    """The plan with a target that PostgreSQL knows: where evidence of its database was taken behind this base backup.

    Raises `ConfigurationError` when there is none: without evidence nothing is said about the backup. Any other target stays.
    """
    if plan.target.kind != EVIDENCE:
        return plan
    database = plan.pitr.database
    point = next((point for point in manifest.evidence if point.database == database), None)
    if point is None:
        others = ", ".join(repr(point.database) for point in manifest.evidence)
        raise ConfigurationError(
            f"base backup {manifest.backup_id} has no evidence of database {database!r}",
            "target.evidence",
            f"It has some of {others}: name it as database." if others else "Take base backups with evidence, or choose another target.",
        )
    try:
        lsn = Lsn.parse(point.lsn)
    except ValueError as error:
        raise ManifestError(f"evidence of database {database!r} lies nowhere: {error}", f"backup {manifest.backup_id}") from None
    target = RecoveryTarget.at_evidence(database, lsn, plan.target.timeline or wal_of(manifest).timeline)
    return dataclasses.replace(plan, pitr=dataclasses.replace(plan.pitr, target=target))


def evidence_at(fetcher: Fetcher, point: EvidencePoint) -> Evidence:
    """The opened evidence; raises `ManifestError`, `EvidenceError`, and what fetching raises."""
    artifact = next((artifact for artifact in fetcher.manifest.artifacts if artifact.name == point.artifact), None)
    if artifact is None:
        raise ManifestError(f"the evidence {point.artifact!r} is not in the backup", f"backup {fetcher.manifest.backup_id}")
    evidence = Evidence.from_bytes(fetcher.evidence(artifact), point.artifact)
    if evidence.database != point.database or (evidence.later_rows is None) != point.exact:
        raise ManifestError(f"{point.artifact!r} is not the evidence that the manifest speaks of", f"backup {fetcher.manifest.backup_id}")
    return evidence


def compared(evidence: Evidence, point: EvidencePoint, connection: Connection[Any]) -> tuple[list[CheckResult], list[str]]:
    """The recovered database against production, and notes. Where the evidence is not exact nothing fails, and the notes say so."""
    expected, said = after_recovery(evidence, connection)
    notes = [said] if said else []
    if not point.exact:
        notes.append(f"the recovered state was not compared for equality: evidence of database {point.database!r} is {point.how}")
    word = "exact" if point.exact else "not exact"
    place = CheckResult("evidence", PASSED, f"what production was at {point.lsn} of its log", f"{word}: {point.how}")
    return [place, *compare(expected, connection)], notes
