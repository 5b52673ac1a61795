# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which base backup a point-in-time recovery begins with: the newest one that ended before the target (law 2).

One that began after the target plays no part. Of the others the newest counts, whatever state it is in: when it is broken, the
drill has failed, and an older one is taken only when it is asked for by its id.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.chain import chain_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.choose import Found, found_in, named_backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.moment import RecoveryTarget
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import LATEST, DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ManifestError, ObjectMissing
from ansible_collections.lifeboat.postgres.plugins.module_utils.found_backup import Backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest, WalRange
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn

__all__ = ["KIND", "choose_base", "wal_of", "why_not"]

KIND = "base"


def choose_base(plan: DrillPlan, repositories: Sequence[Repository]) -> tuple[Found, list[Manifest]]:
    """The base backup to begin with, and all links of its chain, oldest first, itself last.

    Raises `ObjectMissing` when none ended before the target, `ManifestError` for a broken one, `RepositoryError`.
    """
    catalogue = Catalogue.load(repositories, plan.system, KIND, plan.name, plan.verify_keys)
    backup = _asked(catalogue, plan) if plan.backup_id != LATEST else _newest_before(catalogue, plan)
    found = found_in(catalogue, backup, repositories)
    return found, chain_of(found.manifest, lambda ref: _link(catalogue, ref, found))


def wal_of(manifest: Manifest) -> WalRange:
    """The log that a base backup needs; raises `ManifestError` when its manifest does not say."""
    if manifest.wal is None:
        raise ManifestError("the manifest of a base backup does not say which log it needs", f"backup {manifest.backup_id}")
    return manifest.wal


def why_not(manifest: Manifest, target: RecoveryTarget) -> str:
    """Why this base backup cannot lead to the target, or ""."""
    wal = wal_of(manifest)
    if target.timeline and wal.timeline > target.timeline:
        return f"it was taken on timeline {wal.timeline}, the target is on {target.timeline}"
    if target.moment is not None and manifest.snapshot_at >= target.moment:
        return f"it ended at {manifest.snapshot_at.isoformat(sep=' ')}, which is not before the target"
    if target.lsn is not None and Lsn.parse(wal.stop_lsn) > target.lsn:
        return f"it ended at {wal.stop_lsn}, which is not before the target"
    return ""


def _newest_before(catalogue: Catalogue, plan: DrillPlan) -> Backup:
    reason, seen = "", 0
    for ref in catalogue.refs:
        # A backup's id tells when it began; what began after the target cannot have ended before it, readable or not.
        if plan.target.moment is not None and layout.moment_of(ref.backup_id) > plan.target.moment:
            reason = reason or f"backup {ref.backup_id} began after the target"
            seen += 1
            continue
        backup = catalogue.get(ref)
        if backup is None:
            continue
        seen += 1
        reason = why_not(backup.manifest, plan.target)
        if not reason:
            return backup
        reason = f"the oldest one is {ref.backup_id}: {reason}"
    what = f"of system {plan.system!r}"
    if not seen:
        raise ObjectMissing(f"there is no base backup {plan.name!r} {what}", "", "Check system and name, and whether base backups run.")
    raise ObjectMissing(f"no base backup {plan.name!r} {what} ended before the target ({plan.target})", reason, "Choose a later target.")


def _asked(catalogue: Catalogue, plan: DrillPlan) -> Backup:
    backup = named_backup(catalogue, plan.backup_id)
    if backup is None:
        raise ObjectMissing(f"there is no base backup {plan.backup_id} called {plan.name!r} of system {plan.system!r}")
    reason = why_not(backup.manifest, plan.target)
    if reason:
        raise ObjectMissing(f"base backup {plan.backup_id} does not lead to the target: {reason}", "", "Choose an older base backup.")
    return backup


def _link(catalogue: Catalogue, ref: BackupRef, found: Found) -> Manifest | None:
    """A parent in the same repository as what builds on it: a chain is one unit."""
    backup = catalogue.get(ref) if ref in catalogue.refs else None
    return backup.manifest if backup is not None and found.repository.name in backup.repositories else None
