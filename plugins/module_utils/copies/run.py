# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of `backup_copy`: from options to copies. Nothing is opened, so no key is needed.

The newest good backup of each period is copied. One that is broken and newer than that, or the newest of its asset, makes
the run fail in the end and is named each time: an older copy far away is better than none, but never a silent one.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.lock import host_lock
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.copies.due import Due, by_asset, due, from_the_future
from ansible_collections.lifeboat.postgres.plugins.module_utils.copies.plan import CopyPlan, Route
from ansible_collections.lifeboat.postgres.plugins.module_utils.copies.transfer import copy_backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    ConfigurationError,
    IntegrityError,
    LifeboatError,
    Locked,
    ManifestError,
    ObjectDamaged,
    ObjectMissing,
    RepositoryError,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.found_backup import Backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.inspection import inspect
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.patience import impatient
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

__all__ = ["run"]

_NEXT_STEP = "Look at the source first: backup_info with verify says what else is wrong there. What was copied is whole."


def run(given: Mapping[str, Any], check_mode: bool = False, progress: Callable[[str], None] = lambda message: None) -> dict[str, Any]:
    """Copy what is due on every route; with `check_mode` only say what would be.

    Raises `ConfigurationError`, `Locked`, and with the result `IntegrityError` (a backup at a source or a target is broken)
    or `RepositoryError` (a place failed).
    """
    plan = CopyPlan.from_options(given)
    copied: list[dict[str, Any]] = []
    faults: list[LifeboatError] = []
    warnings: list[str] = []
    for route in plan.routes:
        with contextlib.ExitStack() as stack:
            places = ((route.source, True), (route.target, check_mode))
            opened = [stack.enter_context(open_repository(name, plan.repositories[name], read_only=only)) for name, only in places]
            source, target = (impatient(repository, plan.stall_timeout_seconds) for repository in opened)
            if source.description() == target.description():
                raise ConfigurationError(f"repositories {source.name!r} and {target.name!r} are the same place", "backup_copy")
            if not check_mode:
                stack.enter_context(host_lock(plan.system, "copy", route.target, plan.lock_dir))
            try:
                job = _Job(plan, route, source, target, check_mode, progress)
                job.run()
            except (ConfigurationError, Locked):
                raise
            except LifeboatError as error:
                job.faults.append(error)
            copied += job.copied
            faults += job.faults
            warnings += job.warnings
    result = {"changed": bool(copied), "copied": copied, "problems": [str(fault) for fault in faults], "warnings": warnings}
    if copied:
        lines = "".join(f"{copy['target']}: {copy['kind']}/{copy['name']} {copy['backup_id']}\n" for copy in copied)
        result["diff"] = {"before": "", "after": lines}
    if faults:
        kind = RepositoryError if any(isinstance(fault, RepositoryError) for fault in faults) else IntegrityError
        shown = "; ".join(str(fault).rstrip(".") for fault in faults)
        raise kind(f"{len(copied)} copied, and not all is well: {shown}", next_step=_NEXT_STEP, result=result)
    return result


class _Job:
    """One route: what was copied on it, what went wrong, and what the operator should know."""

    def __init__(
        self,
        plan: CopyPlan,
        route: Route,
        source: Repository,
        target: Repository,
        check_mode: bool,
        progress: Callable[[str], None],
    ) -> None:
        self.plan, self.route, self.source, self.target = plan, route, source, target
        self.check_mode, self.progress = check_mode, progress
        self.copied: list[dict[str, Any]] = []
        self.done: set[BackupRef] = set()
        self.faults: list[LifeboatError] = []
        self.warnings: list[str] = []

    def run(self) -> None:
        self.catalogue = Catalogue.load(
            [self.source, self.target], self.plan.system, self.plan.kind, self.plan.name, verify_keys=self.plan.verify_keys
        )
        for name, reason in self.catalogue.unreachable.items():
            raise RepositoryError(f"repository {name!r} cannot be listed: {reason.rstrip('.')}", f"copies to {self.target.name!r}")
        at_source = [ref for ref in self.catalogue.refs if self.source.name in self.catalogue.places(ref)]
        at_target = [ref for ref in self.catalogue.refs if self.target.name in self.catalogue.places(ref)]
        for ref in from_the_future(at_source, now()):
            self.warnings.append(f"backup {ref.backup_id} of {ref.kind}/{ref.name} is dated ahead of this host's clock; it is not copied")
        if self.plan.backup_id is not None:
            self._one([ref for ref in at_source if ref.backup_id == self.plan.backup_id], at_target)
            return
        if not at_source:
            self._nothing(ObjectMissing("there is no backup to copy", f"repository {self.source.name!r}", "Check system, kind and name."))
        held = by_asset(at_target)
        for asset, refs in by_asset(at_source).items():
            self._asset(refs, held.get(asset, []))

    def _one(self, found: list[BackupRef], at_target: list[BackupRef]) -> None:
        if not found:
            raise ObjectMissing(f"there is no backup {self.plan.backup_id}", f"repository {self.source.name!r}", "Check system and id.")
        for ref in found:
            if ref not in at_target:
                self._copy_first_good(Due(ref.backup_id, (ref,)))

    def _asset(self, refs: list[BackupRef], held: list[BackupRef]) -> None:
        wanted = due(refs, held, self.route.cadence, now())
        for period in wanted:
            if not self._copy_first_good(period):
                break
        # What was looked at just now has been said; else the newest backup of the asset is looked at in every run, and its
        # newest copy too.
        looked_at = {ref for period in wanted for ref in period.candidates}
        jumped = from_the_future([*refs, *held], now())
        for ref in dict.fromkeys([*[r for r in refs if r not in jumped][:1], *[r for r in held if r not in jumped][:1]]):
            if ref not in looked_at:
                self.faults += self._faults_of(ref, all_places=True)[1]

    def _copy_first_good(self, period: Due) -> bool:
        """Copy the newest good backup of the period; False when a place failed, so that going on would leave a gap."""
        for ref in period.candidates:
            backup, faults = self._faults_of(ref)
            self.faults += faults
            if backup is None or faults:
                continue
            try:
                for link in [*self._parents(backup), backup]:
                    self._copy(link)
            except (ObjectDamaged, ObjectMissing, ManifestError, IntegrityError) as error:
                self.faults.append(self._broken(ref, str(error)))
                continue
            except RepositoryError as error:
                self.faults.append(RepositoryError(f"backup {ref.backup_id} was not copied: {error.what}", error.where, error.next_step))
                return False
            return True
        return True

    def _parents(self, backup: Backup) -> list[Backup]:
        """What an incremental backup builds on and the target lacks, oldest first: a chain is one unit.

        Raises `IntegrityError` for a link that is not good.
        """
        missing: list[Backup] = []
        link = backup
        while link.summary.parent:
            ref = dataclasses.replace(link.ref, backup_id=link.summary.parent)
            parent, faults = self._faults_of(ref)
            if parent is None or faults:
                raise faults[0] if faults else self._broken(ref, "it is not there, and others build on it")
            if self.target.name not in self.catalogue.places(ref) and ref not in self.done:
                missing.append(parent)
            link = parent
        return missing[::-1]

    def _copy(self, backup: Backup) -> None:
        ref = backup.ref
        entry = self._entry(backup)
        if not self.check_mode:
            self.progress(f"copying {ref.kind}/{ref.name} {ref.backup_id} from {self.source.name!r} to {self.target.name!r}")
            done = copy_backup(self.source, self.target, backup.manifest, self.plan.stall_timeout_seconds, self.plan.parallel)
            speed = done.moved_bytes / done.seconds if done.seconds else 0.0
            entry |= {"moved_bytes": done.moved_bytes, "seconds": round(done.seconds, 3), "bytes_per_second": round(speed, 1)}
        self.copied.append(entry)
        self.done.add(ref)

    def _faults_of(self, ref: BackupRef, all_places: bool = False) -> tuple[Backup | None, list[LifeboatError]]:
        """The backup, and what is wrong with it: by its manifests, then by the sizes of what lies at the source.

        What is wrong with it at the target only counts with `all_places`: a copy mends a manifest that is gone there.
        """
        try:
            backup = self.catalogue.get(ref)
        except ManifestError as error:
            return None, [self._broken(ref, str(error))]
        if backup is None:
            return None, []
        elsewhere = f"{self.target.name}: "
        problems = [problem for problem in backup.problems if all_places or not problem.startswith(elsewhere)]
        if not problems and not all_places:
            problems = list(inspect([backup], [self.source], "sizes")[0].problems[len(backup.problems) :])
        return backup, [self._broken(ref, "; ".join(problems))] if problems else []

    def _broken(self, ref: BackupRef, why: str) -> IntegrityError:
        return IntegrityError(f"backup {ref.backup_id} of {ref.kind}/{ref.name} is not good: {why.rstrip('.')}", self.source.name)

    def _entry(self, backup: Backup) -> dict[str, Any]:
        ref = backup.ref
        return {
            "backup_id": ref.backup_id,
            "kind": ref.kind,
            "name": ref.name,
            "source": self.source.name,
            "target": self.target.name,
            "snapshot_at": format_moment(backup.manifest.snapshot_at),
            "size_bytes": backup.manifest.size_bytes,
        }

    def _nothing(self, error: ObjectMissing) -> None:
        """Nothing to copy is a fault; only before the first backup, which check mode has not taken, it is not."""
        if not self.check_mode:
            raise error
        self.warnings.append(str(error))
