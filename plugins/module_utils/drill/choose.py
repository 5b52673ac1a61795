# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup is drilled, and from where: the newest one, whatever state it is in (law 2).

A newest backup that is broken is a failed drill. An older one is taken only when it is asked for by its id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, UNVERIFIED, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.digest_coverage import Coverage, coverage_of, read_part
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import LATEST, DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError, ManifestError, ObjectMissing, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.found_backup import Backup, Unread
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository

__all__ = ["KIND", "Found", "check_volumes", "choose", "found_in", "named_backup"]

KIND = "database"


@dataclass(frozen=True)
class Found:
    """Which backup to drill and from where. `results` is what is wrong with the other places that hold it, or may hold more.

    `reachable` are the repositories that could be listed. `signed_by` is the allowed key that signed the manifest, or "".
    """

    manifest: Manifest
    repository: Repository
    results: tuple[CheckResult, ...] = ()
    reachable: tuple[Repository, ...] = ()
    signed_by: str = ""
    digests: Coverage | None = None
    """Since when all tables were digested by the backups up to this one, where digests go in turn."""


def choose(plan: DrillPlan, repositories: Sequence[Repository]) -> Found:
    """The newest backup (or the one asked for) of all the repositories, from the first that holds it.

    A repository that cannot be listed may hold a newer one, so it makes the drill unverified, as one does whose manifest
    cannot be read; one whose manifest of this backup is broken or gone makes it failed. Raises `RepositoryError` when none
    can be listed or read, `ObjectMissing` when there is no such backup, `ManifestError` when its manifest is broken
    wherever it lies.
    """
    catalogue = Catalogue.load(repositories, plan.system, KIND, plan.name, plan.verify_keys)
    backup = catalogue.newest() if plan.backup_id == LATEST else named_backup(catalogue, plan.backup_id)
    if backup is None:
        names = ", ".join(repr(repository.name) for repository in repositories)
        which = "no backup" if plan.backup_id == LATEST else f"no backup {plan.backup_id}"
        raise ObjectMissing(
            f"there is {which} of database {plan.name!r} of system {plan.system!r}",
            f"repositories {names}" if len(repositories) > 1 else f"repository {names}",
            "Check system and name, and whether backups run.",
        )
    return found_in(catalogue, backup, repositories)


def found_in(catalogue: Catalogue, backup: Backup, repositories: Sequence[Repository]) -> Found:
    """Where this backup of a catalogue is taken from, and what is wrong with the other places."""
    results = [
        CheckResult(f"repository {name}", UNVERIFIED, "a listing of its backups", "could not be listed", why)
        for name, why in catalogue.unreachable.items()
    ]
    unread = catalogue.unread(backup.ref)
    for problem in backup.problems:
        name, _colon, why = problem.partition(": ")
        if name not in catalogue.unreachable:
            verdict = UNVERIFIED if name in unread else FAILED
            results.append(CheckResult(f"repository {name}", verdict, f"backup {backup.ref.backup_id}, whole", why))
    # From the first that holds it; but never from one whose manifest nobody of ours signed, where another one is.
    places = backup.repositories[:1] if backup.signed_by else backup.repositories
    repository = next(repository for repository in repositories if repository.name in places)
    reachable = tuple(repository for repository in repositories if repository.name not in catalogue.unreachable)
    return Found(backup.manifest, repository, tuple(results), reachable, backup.signed_by, _digests(catalogue, backup))


def _digests(catalogue: Catalogue, backup: Backup) -> Coverage | None:
    if not backup.summary.digested or read_part(backup.summary.digested)[1] == 1:
        return None
    # Twice the round: a backup that failed or was not whole is made good by the next round.
    upto = 2 * read_part(backup.summary.digested)[1]
    refs = [ref for ref in catalogue.refs if ref.name == backup.ref.name and ref.backup_id <= backup.ref.backup_id][:upto]
    return coverage_of((found.summary.digested, found.summary.snapshot_at) for found in catalogue.readable(refs) if found.good)


def named_backup(catalogue: Catalogue, backup_id: str) -> Backup | None:
    """The backup of this id, or None; raises `ManifestError` when its manifest is broken, `RepositoryError`."""
    for broken in catalogue.broken:
        if broken.key.endswith(f"/{backup_id}.json") and isinstance(broken, Unread):
            raise RepositoryError(
                f"the manifest of backup {backup_id} could not be read: {broken.reason}", f"repository {broken.repository!r}"
            )
        if broken.key.endswith(f"/{backup_id}.json"):
            raise ManifestError(f"the manifest of backup {backup_id} is broken: {broken.reason}", f"repository {broken.repository!r}")
    return next((backup for backup in catalogue.backups if backup.ref.backup_id == backup_id), None)


def check_volumes(found: Found) -> None:
    """Every volume is there, in its right size, before the first byte is fetched; raises `IntegrityError` that names it."""
    manifest = found.manifest
    for artifact in manifest.artifacts:
        for volume in artifact.volumes:
            info = found.repository.stat(layout.artifact_key(manifest.ref, volume.name))
            where = f"backup {manifest.backup_id} in repository {found.repository.name!r}"
            if info is None:
                raise IntegrityError(f"{volume.name} is missing", where, "Drill another repository's copy, and copy it from there.")
            if info.size_bytes != volume.size_bytes:
                kind = "truncated" if info.size_bytes < volume.size_bytes else "not what was stored"
                raise IntegrityError(
                    f"{volume.name} is {kind}: {info.size_bytes} bytes, the manifest says {volume.size_bytes}",
                    where,
                    "Drill another repository's copy, and copy it from there.",
                )
