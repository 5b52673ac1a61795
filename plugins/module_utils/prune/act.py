# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing, in an order in which a kill at any moment leaves nothing that looks like a backup and is none.

The manifest goes first (law 1: then the backup no longer exists), its older versions before the one that readers see; then the artifacts.
What a killed run leaves has no manifest, and the next one finds it among the orphans.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, field

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ObjectLocked, RepositoryError, RetentionRefused
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Erased, Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now

__all__ = ["Moment", "hidden_manifest", "lengthen_locks", "lock_wanted", "remove_backup", "remove_orphan"]

_GOOD_FOR_SECONDS = 3600.0
_CLOCK_MAY_DRIFT_SECONDS = 60.0


@dataclass
class Moment:
    """When it was decided. A decision is good for an hour, and only while the clock goes on as it should."""

    at: dt.datetime = field(default_factory=now)
    ticks: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Raises `RetentionRefused` when what was decided must be decided anew."""
        passed = time.monotonic() - self.ticks
        if abs((now() - self.at).total_seconds() - passed) > _CLOCK_MAY_DRIFT_SECONDS:
            raise RetentionRefused("the clock of this host jumped while backups were removed", next_step="Set it, and run it again.")
        if passed > _GOOD_FOR_SECONDS:
            raise RetentionRefused("what was decided an hour ago is not acted on any more", next_step="Run it again: it goes on from here.")


def remove_backup(repository: Repository, ref: BackupRef) -> Erased:
    """Remove a backup. `locked` of the answer is not empty when a lock keeps it or a part of it.

    Raises `AccessDenied` when the credential may not, `RepositoryError` when the backup is still there, or there again, afterwards.
    """
    key = layout.manifest_key(ref)
    marker = _erase_key(repository, key)
    if marker.locked:
        return marker
    if repository.stat(key) is not None:
        raise RepositoryError(f"the manifest of {ref.backup_id} is still there after it was removed", key, "Look at the store.")
    return _sum(marker, _erase_artifacts(repository, ref))


def remove_orphan(repository: Repository, ref: BackupRef) -> Erased:
    """Remove the artifacts of a backup that does not exist; raises `RetentionRefused` when it does by now.

    Looked for by the manifest's own name, because a listing that ends early would make orphans of all that it left out.
    """
    key = layout.manifest_key(ref)
    if repository.stat(key) is not None:
        raise RetentionRefused(
            f"backup {ref.backup_id} of {ref.kind}/{ref.name} was not listed and exists",
            key,
            "The listing cannot be believed; look at the store.",
        )
    erased = _erase_artifacts(repository, ref)
    if repository.stat(key) is not None:
        raise RepositoryError(
            f"backup {ref.backup_id} was finished by another run while its remains were removed, and is not whole",
            key,
            "Remove it, and let the other run copy it again.",
        )
    return erased


def hidden_manifest(repository: Repository, ref: BackupRef) -> bool:
    """Whether an older version of the manifest is there: then no run was killed, somebody hid a backup."""
    key = layout.manifest_key(ref)
    return any(version.key == key and not version.marker for version in repository.everything(key))


def lengthen_locks(repository: Repository, ref: BackupRef, volumes: list[str], until: dt.datetime) -> bool:
    """Lock a backup until then, the manifest last: it says how far all of them are. False when it is not locked at all, or for as long."""
    key = layout.manifest_key(ref)
    held = repository.locked_until(key)
    if held is None or held >= until:
        return False
    for name in volumes:
        repository.lengthen_lock(layout.artifact_key(ref, name), until)
    repository.lengthen_lock(key, until)
    return True


def lock_wanted(stored: dt.datetime, span: dt.timedelta, stays_until: dt.datetime | None, at: dt.datetime) -> dt.datetime | None:
    """Until when a backup should be locked by now, or None while the lock that it came with is young enough. Pure.

    Half-way through a lock, it is due again: for as long as a new backup is locked, and never beyond what its class keeps it.
    """
    if stays_until is None or stored + span > at + span / 2:
        return None
    return min(stays_until, at + span)


def _erase_key(repository: Repository, key: str) -> Erased:
    try:
        return repository.erase([version for version in repository.everything(key) if version.key == key])
    except ObjectLocked:
        return Erased(locked=(key,))


def _erase_artifacts(repository: Repository, ref: BackupRef) -> Erased:
    return repository.erase(list(repository.everything(layout.backup_prefix(ref))))


def _sum(one: Erased, other: Erased) -> Erased:
    return Erased(one.removed + other.removed, one.hidden + other.hidden, (*one.locked, *other.locked))
