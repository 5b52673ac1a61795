# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what was seen of an asset to what becomes of its backups: proof where one is missing, then locks.

A backup is verified when its last drill passed, or when it was read whole. Reading costs, so it is done only where something would go that
now stays for want of proof: of the newest good backup, once, and remembered.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.found_backup import Backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.inspection import inspect
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.look import Asset
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.state import Memory
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.retention import CLOCKS_DIFFER_BY, Decision, Kept, Policy, decide

__all__ = ["Decided", "decide_asset", "learned"]

_TRIES = 3
"""So many of the newest are read, when one after the other turns out to be damaged."""


@dataclass
class Decided:
    """`verified` are the ids of all backups that are verified, `read_now` of those that were read whole for it (or would be)."""

    asset: Asset
    decisions: list[Decision] = field(default_factory=list)
    verified: set[str] = field(default_factory=set)
    read_now: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)

    @property
    def going(self) -> list[Decision]:
        return [decision for decision in self.decisions if not decision.keep]


def decide_asset(
    asset: Asset,
    policy: Policy,
    at: dt.datetime,
    repository: Repository,
    held: Mapping[str, str],
    read_whole: bool,
    check_mode: bool,
    progress: Callable[[str], None],
) -> Decided:
    """Decide about one asset. `held` are backups that something else keeps, with the reason. Raises `RepositoryError`."""
    found = Decided(asset)
    kept = {one.backup_id: dataclasses.replace(one, held=held.get(one.backup_id, "")) for one in asset.kept}
    # Those that a wrong clock dated take no part; that they are there was accepted by name.
    ahead = [one for one in kept.values() if one.moment > at + CLOCKS_DIFFER_BY]
    for one in ahead:
        del kept[one.backup_id]
    if asset.broken:
        why = f"left as it is: a manifest of {asset.title} is broken, and may have built on it"
        found.decisions = [Decision(one.backup_id, True, (why,)) for one in kept.values()]
    else:
        if read_whole:
            _prove(found, kept, policy, at, repository, check_mode, progress)
        _look_for_locks(found, kept, policy, at, repository)
    found.decisions += [Decision(one.backup_id, True, ("left as it is: it is dated in the future",)) for one in ahead]
    found.verified = {one.backup_id for one in kept.values() if one.verified}
    return found


def _prove(
    found: Decided,
    kept: dict[str, Kept],
    policy: Policy,
    at: dt.datetime,
    repository: Repository,
    check_mode: bool,
    progress: Callable[[str], None],
) -> None:
    """Read the newest good backup whole where that lets something go; check mode takes it for good."""
    for _try in range(_TRIES):
        good = [one for one in kept.values() if one.good]
        newest = max(good, key=lambda one: (one.moment, one.backup_id), default=None)
        if newest is None or newest.verified:
            return
        proven = dataclasses.replace(newest, verified=True)
        now_going = _going(list(kept.values()), policy, at)
        if not _going([*({**kept, newest.backup_id: proven}.values())], policy, at) - now_going:
            return
        found.read_now.append(newest.backup_id)
        problem = "" if check_mode else _read_whole(found.asset, newest.backup_id, repository, progress)
        if not problem:
            kept[newest.backup_id] = proven
            return
        kept[newest.backup_id] = dataclasses.replace(newest, problem=problem)
        found.damaged[newest.backup_id] = problem


def _going(kept: list[Kept], policy: Policy, at: dt.datetime) -> set[str]:
    return {decision.backup_id for decision in decide(kept, policy, at) if not decision.keep}


def _read_whole(asset: Asset, backup_id: str, repository: Repository, progress: Callable[[str], None]) -> str:
    """What is wrong with a backup or with one that it builds on, every byte read; "" when nothing is."""
    backup: Backup | None = asset.backups[backup_id]
    seen: set[str] = set()
    while backup is not None and backup.ref.backup_id not in seen:
        seen.add(backup.ref.backup_id)
        progress(f"reading {asset.title} {backup.ref.backup_id} in {repository.name!r}: nothing goes before one is verified")
        problems = inspect([backup], [repository], "digests")[0].problems
        if problems:
            return problems[0]
        backup = asset.backups.get(backup.summary.parent)
    return ""


def _look_for_locks(found: Decided, kept: dict[str, Kept], policy: Policy, at: dt.datetime, repository: Repository) -> None:
    """Decide, ask the store about what would go, and decide again: what is locked waits, and so does what it builds on."""
    decisions = decide(list(kept.values()), policy, at)
    for decision in decisions:
        if not decision.keep:
            ref = BackupRef(next(iter(found.asset.backups.values())).ref.system, found.asset.kind, found.asset.name, decision.backup_id)
            until = repository.locked_until(layout.manifest_key(ref))
            if until is not None and until > at:
                kept[decision.backup_id] = dataclasses.replace(kept[decision.backup_id], locked_until=until)
    found.decisions = decide(list(kept.values()), policy, at)


def learned(memory: Memory, decided: Iterable[Decided]) -> Memory:
    """With what reading backups whole has shown."""
    verified, damaged = dict(memory.verified), dict(memory.damaged)
    for found in decided:
        verified[found.asset.title] = frozenset(found.verified)
        damaged.update(found.damaged)
    return Memory(memory.seen, verified, damaged)
