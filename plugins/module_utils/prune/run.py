# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of `backup_prune`: from options to what went, and why. Each repository by itself: one that fails does not keep the others.

Keys go by what the data that are kept need, wherever those lie; as long as that cannot be told, none goes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.lock import host_lock
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill_history import last_drills
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    ConfigurationError,
    IntegrityError,
    LifeboatError,
    Locked,
    RepositoryError,
    RetentionRefused,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.needed import keeping_keys
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.job import Job
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.look import Asset
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.plan import PrunePlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.patience import impatient

__all__ = ["run"]

KEYS = "keys"
_LISTS = ("kept", "removed", "waiting", "orphans", "locks", "doubts", "problems", "warnings")
_NEXT_STEP = "What was removed is in the result; the rest stays until the next run."


@dataclass(frozen=True)
class _OfKeys:
    """As much of a manifest as decides which keys are needed."""

    ref: BackupRef
    keys: Mapping[str, str]


def run(given: Mapping[str, Any], check_mode: bool = False, progress: Callable[[str], None] = lambda message: None) -> dict[str, Any]:
    """Remove what no policy keeps from every repository; with `check_mode` only say what would go.

    Raises `ConfigurationError`, and with the result `RepositoryError` (a place failed), `RetentionRefused` (a listing or a
    clock is doubted, and nothing was removed there) or `IntegrityError` (a backup turned out to be damaged).
    """
    plan = PrunePlan.from_options(given)
    verdicts = _Verdicts(plan)
    jobs: list[Job] = []
    faults: list[LifeboatError] = []
    for name in plan.repositories:
        with contextlib.ExitStack() as stack:
            opened = stack.enter_context(open_repository(name, plan.repositories[name], read_only=check_mode))
            job = Job(plan, impatient(opened, plan.stall_timeout_seconds), check_mode, verdicts, progress)
            jobs.append(job)
            try:
                if not check_mode:
                    stack.enter_context(host_lock(plan.system, "prune", name, plan.lock_dir))
                job.run(lambda assets: _keys_held(plan, assets))
            except (ConfigurationError, Locked):
                raise
            except LifeboatError as error:
                faults.append(error)
    faults += [fault for job in jobs for fault in job.faults]
    faults += [IntegrityError(problem) for job in jobs for problem in job.problems]
    result = _result(plan, jobs, verdicts.warnings, faults)
    if faults:
        raise _worst(faults, result)
    return result


class _Verdicts:
    """What the last drills said of backups, asked once for each of them."""

    def __init__(self, plan: PrunePlan) -> None:
        self._plan = plan
        self._known: dict[BackupRef, str] = {}
        self.warnings: list[str] = []

    def __call__(self, refs: Collection[BackupRef]) -> Mapping[BackupRef, str]:
        new = set(refs) - set(self._known)
        if self._plan.report_repository is None or not new:
            return self._known
        with open_repository("reports", self._plan.report_repository, read_only=True) as opened:
            reports = impatient(opened, self._plan.stall_timeout_seconds)
            drills, unreadable = last_drills(reports, self._plan.system, new, self._plan.kind, self._plan.name)
        self._known.update({ref: drilled.verdict for ref, drilled in drills.items()})
        self._known.update(dict.fromkeys(new - set(drills), ""))
        self.warnings += [f"drill report {key} cannot be read: {reason}" for key, reason in unreadable]
        return self._known


def _keys_held(plan: PrunePlan, assets: list[Asset]) -> dict[BackupRef, str]:
    """Which backups of keys have to stay, by the data that lie in all repositories now; all of them where that cannot be told."""
    backups = [backup for asset in assets for backup in asset.backups.values()]
    if not backups:
        return {}
    needing: list[_OfKeys] = []
    why = ""
    for name, spec in plan.data_repositories.items():
        try:
            with open_repository(name, spec, read_only=True) as opened:
                repository = impatient(opened, plan.stall_timeout_seconds)
                catalogue = Catalogue.load([repository], plan.system, verify_keys=(), cache=plan.cache)
                needing += [_of_keys(backup.manifest) for backup in catalogue.backups if backup.ref.kind != KEYS]
                if any(f"/{KEYS}/" not in item.key for item in catalogue.broken):
                    why = f"a manifest in {name!r} cannot be read, so which keys it needs is not known"
        except LifeboatError as error:
            why = f"repository {name!r} cannot be looked at, so which keys are needed is not known: {error.what}"
    if not needing and not why:
        why = "no repository with the data is named, so which keys are needed is not known (data_repositories)"
    if why:
        return {backup.ref: why for backup in backups}
    return keeping_keys(needing, [_of_keys(backup.manifest) for backup in backups])


def _of_keys(manifest: Manifest) -> _OfKeys:
    return _OfKeys(manifest.ref, getattr(manifest, "keys", {}))


def _result(plan: PrunePlan, jobs: list[Job], warnings: list[str], faults: list[LifeboatError]) -> dict[str, Any]:
    result: dict[str, Any] = {word: [entry for job in jobs for entry in getattr(job, word)] for word in _LISTS}
    result["warnings"] = [*warnings, *result["warnings"], *plan.alignment.gaps()]
    result["document"] = plan.alignment.document()
    result["problems"] = [str(fault) for fault in faults]
    result["changed"] = any(job.changed for job in jobs)
    result["repositories"] = {
        job.repository.name: {
            "policy": plan.policy(job.repository.name, "", "").words,
            "kept": len(job.kept),
            "removed": len(job.removed),
            "waiting": len(job.waiting),
            "orphans": len(job.orphans),
            "uploads": job.uploads,
            "wal": job.wal,
            "read_whole": job.read,
        }
        for job in jobs
    }
    lines = [_line(entry, entry["reasons"][0]) for entry in result["removed"]]
    lines += [_line(entry, "remains of a killed run") for entry in result["orphans"]]
    for job in jobs:
        if job.wal.get("files"):
            lines.append(f"{job.repository.name}: {job.wal['files']} files of WAL, {job.wal['first']} to {job.wal['last']}\n")
    if lines:
        result["diff"] = {"before": "".join(lines), "after": ""}
    return result


def _line(entry: Mapping[str, Any], why: str) -> str:
    return f"{entry['repository']}: {entry['kind']}/{entry['name']} {entry['backup_id']} ({why})\n"


def _worst(faults: list[LifeboatError], result: Mapping[str, Any]) -> LifeboatError:
    """One error for all: of the kind that says most about what to do."""
    kind: type[LifeboatError] = IntegrityError
    for kind in (RepositoryError, RetentionRefused, IntegrityError):
        if any(isinstance(fault, kind) for fault in faults):
            break
    if len(faults) == 1:
        only = faults[0]
        return _with_result(only, result)
    shown = "; ".join(str(fault).rstrip(".") for fault in faults)
    return kind(f"{len(result['removed'])} backups were removed, and not all is well: {shown}", next_step=_NEXT_STEP, result=result)


def _with_result(error: LifeboatError, result: Mapping[str, Any]) -> LifeboatError:
    error.result = dict(result)
    return error
