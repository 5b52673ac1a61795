# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in one repository, as who prunes needs to know it: backups, whether they are whole, and what belongs to none.

One listing of manifests and one of artifacts; what is kept of a million keys is one entry per backup. No byte of a backup is read here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.found_backup import Backup, Unread
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import KINDS, BackupRef
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.doubts import Listed, dates_differ
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.plan import PrunePlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.state import Memory
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.retention import Kept
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import moment

__all__ = ["Asset", "Orphan", "Sight", "Verdicts", "asset_of", "look"]

PASSED, FAILED = "passed", "failed"
Verdicts = Callable[[Collection[BackupRef]], Mapping[BackupRef, str]]


@dataclass
class Orphan:
    """Artifacts of a backup that does not exist: a run that was killed, or one that is under way."""

    ref: BackupRef
    objects: int = 0
    size_bytes: int = 0
    newest: dt.datetime | None = None


@dataclass
class Asset:
    """The backups of one kind and name here, as `retention.decide` takes them, and the same as the catalogue has them.

    `broken` are manifests of it that are none.
    """

    kind: str
    name: str
    kept: list[Kept] = field(default_factory=list)
    backups: dict[str, Backup] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass
class Sight:
    """What was seen. `listed` are all backups; `broken` manifests that are none, in words."""

    assets: dict[tuple[str, str], Asset]
    listed: list[Listed]
    broken: list[str]
    orphans: list[Orphan]

    @property
    def newest_stored(self) -> dt.datetime | None:
        return max((one.stored for one in self.listed if one.stored is not None), default=None)


def asset_of(ref: BackupRef) -> str:
    return f"{ref.kind}/{ref.name}"


def look(repository: Repository, plan: PrunePlan, memory: Memory, drilled: Verdicts) -> Sight:
    """Everything about the plan's system in this repository; `drilled` gives the verdicts of the last drills of backups.

    Raises `RepositoryError` when anything of it cannot be listed or read: half a sight is none.
    """
    catalogue = Catalogue.load([repository], plan.system, plan.kind, plan.name, plan.verify_keys, plan.cache)
    backups = catalogue.backups
    broken = catalogue.broken
    for item in broken:
        if isinstance(item, Unread):
            raise RepositoryError("a manifest could not be read, so nothing is known of its backup", item.key, item.reason)
    sight = Sight({}, [], [f"{item.key}: {item.reason}" for item in broken], [])
    for item in broken:
        ref = layout.parse_manifest_key(item.key)
        if ref is not None:
            _asset(sight, ref).broken.append(item.reason)
    known = set(catalogue.refs)
    verdicts = drilled(known)
    sizes, orphans = _artifacts(repository, plan, known)
    sight.orphans = orphans
    is_copy = plan.is_copy(repository.name)
    for backup in backups:
        ref = backup.ref
        stored = catalogue.stored_at(ref, repository.name)
        found = Listed(asset_of(ref), ref.backup_id, moment(backup.summary.snapshot_at), stored)
        sight.listed.append(found)
        asset = _asset(sight, ref)
        asset.backups[ref.backup_id] = backup
        date = "" if is_copy or "dates" in plan.accept else dates_differ(found)
        asset.kept.append(_kept(backup, found, sizes.get(ref, 0), date, memory, verdicts.get(ref, "")))
    return sight


def _asset(sight: Sight, ref: BackupRef) -> Asset:
    return sight.assets.setdefault((ref.kind, ref.name), Asset(ref.kind, ref.name))


def _kept(backup: Backup, found: Listed, there_bytes: int, date: str, memory: Memory, verdict: str) -> Kept:
    problem = backup.problems[0] if backup.problems else date
    if not problem and there_bytes < backup.summary.size_bytes:
        problem = f"{there_bytes} of its {backup.summary.size_bytes} bytes are here"
    problem = problem or memory.damaged.get(backup.ref.backup_id, "")
    failed = not problem and verdict == FAILED
    verified = verdict == PASSED or backup.ref.backup_id in memory.verified.get(found.asset, ())
    return Kept(
        backup.ref.backup_id,
        found.moment,
        verified=verified and not problem and not failed,
        drilled=verdict == PASSED and not problem,
        problem="its drill failed" if failed else problem,
        failed=failed,
        parent=backup.summary.parent,
    )


def _artifacts(repository: Repository, plan: PrunePlan, known: set[BackupRef]) -> tuple[dict[BackupRef, int], list[Orphan]]:
    """The bytes that lie here of each backup, and of what is none."""
    sizes: dict[BackupRef, int] = {}
    orphans: dict[BackupRef, Orphan] = {}
    for prefix in _prefixes(plan):
        folder, ref = "", None
        for info in repository.list(prefix):
            here = info.key.rpartition("/")[0]
            if here != folder:
                folder, ref = here, _ref(plan.system, here)
            if ref is None:
                continue
            if ref in known:
                sizes[ref] = sizes.get(ref, 0) + info.size_bytes
                continue
            orphan = orphans.setdefault(ref, Orphan(ref))
            orphan.objects += 1
            orphan.size_bytes += info.size_bytes
            if info.modified is not None:
                orphan.newest = max(orphan.newest or info.modified, info.modified)
    return sizes, list(orphans.values())


def _prefixes(plan: PrunePlan) -> Iterator[str]:
    root = layout.encode_name(plan.system)
    for kind in KINDS if plan.kind is None else (plan.kind,):
        yield f"{root}/{kind}/" + (f"{layout.encode_name(plan.name)}/" if plan.name is not None else "")


def _ref(system: str, folder: str) -> BackupRef | None:
    """The backup whose artifacts lie in a folder, or None for a folder that no writer of ours made."""
    parts = folder.split("/")
    if len(parts) != 4 or parts[1] not in KINDS:
        return None
    # As the manifest's name would be, so that the same strictness decides what is ours.
    ref = layout.parse_manifest_key(f"{parts[0]}/manifests/{parts[1]}/{parts[2]}/{parts[3]}.json")
    if ref is None or ref.system != system or layout.backup_prefix(ref) != f"{folder}/":
        return None
    return ref
