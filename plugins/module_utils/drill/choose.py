# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup is drilled, and from where: the newest one, whatever state it is in (law 2).

A newest backup that is broken is a failed drill. An older one is taken only when it is asked for by its id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import UNVERIFIED, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import LATEST, DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    IntegrityError,
    ManifestError,
    ObjectMissing,
    RepositoryError,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository

__all__ = ["KIND", "Found", "check_volumes", "choose", "read_manifest"]

KIND = "database"


@dataclass(frozen=True)
class Found:
    """Which backup to drill and from where. `unreachable` are repositories that could not be asked: unverified, each."""

    ref: layout.BackupRef
    repository: Repository
    unreachable: tuple[CheckResult, ...] = ()


def choose(plan: DrillPlan, repositories: Sequence[Repository]) -> Found:
    """The newest backup (or the one asked for) of all the repositories, from the first that lists it.

    A repository that cannot be listed may hold a newer one, so it makes the drill unverified, never silently shorter.
    Raises `RepositoryError` when none could be listed, `ObjectMissing` when there is no such backup.
    """
    found: dict[str, Repository] = {}
    unreachable = []
    for repository in repositories:
        try:
            for backup_id in _listed(repository, plan):
                found.setdefault(backup_id, repository)
        except RepositoryError as error:
            unreachable.append(
                CheckResult(f"repository {repository.name}", UNVERIFIED, "a listing of its backups", "could not be listed", str(error))
            )
    if len(unreachable) == len(repositories):
        raise RepositoryError("no repository could be listed", "; ".join(result.detail for result in unreachable))
    wanted = max(found, default="") if plan.backup_id == LATEST else plan.backup_id
    if wanted not in found:
        names = ", ".join(repr(repository.name) for repository in repositories)
        which = "no backup" if plan.backup_id == LATEST else f"no backup {plan.backup_id}"
        raise ObjectMissing(
            f"there is {which} of database {plan.name!r} of system {plan.system!r}",
            f"repositories {names}" if len(repositories) > 1 else f"repository {names}",
            "Check system and name, and whether backups run.",
        )
    return Found(layout.BackupRef(plan.system, KIND, plan.name, wanted), found[wanted], tuple(unreachable))


def read_manifest(found: Found) -> Manifest:
    """The manifest of the chosen backup; raises `ManifestError` when it is none or speaks of another backup."""
    key = layout.manifest_key(found.ref)
    where = f"{key} in repository {found.repository.name!r}"
    manifest = Manifest.from_bytes(found.repository.read(key), where)
    if manifest.ref != found.ref:
        raise ManifestError(f"the manifest speaks of another backup: {manifest.ref}", where, "It was copied or renamed.")
    return manifest


def check_volumes(found: Found, manifest: Manifest) -> None:
    """Every volume is there, in its right size, before the first byte is fetched; raises `IntegrityError` that names it."""
    for artifact in manifest.artifacts:
        for volume in artifact.volumes:
            info = found.repository.stat(layout.artifact_key(found.ref, volume.name))
            where = f"backup {found.ref.backup_id} in repository {found.repository.name!r}"
            if info is None:
                raise IntegrityError(f"{volume.name} is missing", where, "Drill another repository's copy, and copy it from there.")
            if info.size_bytes != volume.size_bytes:
                kind = "truncated" if info.size_bytes < volume.size_bytes else "not what was stored"
                raise IntegrityError(
                    f"{volume.name} is {kind}: {info.size_bytes} bytes, the manifest says {volume.size_bytes}",
                    where,
                    "Drill another repository's copy, and copy it from there.",
                )


def _listed(repository: Repository, plan: DrillPlan) -> list[str]:
    prefix = layout.manifests_prefix(plan.system, KIND, plan.name)
    refs = (layout.parse_manifest_key(info.key) for info in repository.list(prefix))
    return [ref.backup_id for ref in refs if ref is not None]
