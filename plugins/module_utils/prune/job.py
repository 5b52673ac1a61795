# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One repository: look, doubt, decide, act. Whatever is doubted ends it before the first removal."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import AccessDenied, LifeboatError, RetentionRefused
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune import act
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.decisions import Decided, decide_asset, learned
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.doubts import (
    Doubt,
    Seen,
    clock_doubts,
    is_stale,
    listing_doubts,
    too_many,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.look import Asset, Orphan, Sight, Verdicts, look
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.plan import PrunePlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.remains import many_orphans, old_orphans, require_listed
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.state import Memory, part_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.wal import Cut, cut_of, old_wal
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Erased, Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.retention import UNPROVEN, Decision
from ansible_collections.lifeboat.postgres.plugins.module_utils.retired import write_retired
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

__all__ = ["Job"]

Holding = Callable[[list[Asset]], Mapping[BackupRef, str]]
"""Which backups of keys something needs, with the reason."""


class Job:
    """One repository of a run: what it found and did, as plain data; `problems` make the run fail, `warnings` do not."""

    def __init__(
        self, plan: PrunePlan, repository: Repository, check_mode: bool, verdicts: Verdicts, progress: Callable[[str], None]
    ) -> None:
        self.plan, self.repository, self.check_mode = plan, repository, check_mode
        self._verdicts, self._progress = verdicts, progress
        self._at = act.Moment()
        self.kept: list[dict[str, Any]] = []
        self.removed: list[dict[str, Any]] = []
        self.waiting: list[dict[str, Any]] = []
        self.orphans: list[dict[str, Any]] = []
        self.locks: list[dict[str, Any]] = []
        self.wal: dict[str, Any] = {}
        self.uploads = 0
        self._stale = ""
        self._store_now: dt.datetime | None = None
        self.read: list[str] = []
        self.doubts: list[str] = []
        self.problems: list[str] = []
        self.faults: list[LifeboatError] = []
        self.warnings: list[str] = []

    def run(self, holding: Holding) -> None:
        """Raises `RetentionRefused` when nothing was removed for a doubt, `RepositoryError` when the place fails."""
        memory = Memory() if self.plan.state is None else self.plan.state.read(self.repository, self.plan.system)
        sight, decided = self._look_and_decide(memory, holding)
        if any(found.read_now for found in decided) and not self.check_mode:
            # To read takes hours where backups are large: look again, with what is known now.
            memory = learned(memory, decided)
            self._at, self.doubts, self.warnings = act.Moment(), [], []
            sight, decided = self._look_and_decide(memory, holding)
        now = self._at.at
        there = sum(len(asset.kept) for asset in sight.assets.values())
        # What is being written now looks old to a clock that jumped.
        orphans = [] if self._stale else old_orphans(sight.orphans, self.plan.orphan_age_seconds, self._store_now or now, now)
        self._refuse([*self._too_many(decided), *many_orphans(orphans, there)])
        require_listed(self.repository, sight.orphans, now)
        self._report_kept(decided)
        if not self.check_mode:
            self._remember(memory, decided)
        self._lengthen_locks(decided, sight)
        self._remove(decided, sight)
        self._remove_orphans(orphans)
        if not self._stale:
            self._remove_uploads(self._store_now or now)
        self._remove_wal(decided)

    def _look_and_decide(self, memory: Memory, holding: Holding) -> tuple[Sight, list[Decided]]:
        self._store_now = self.repository.clock()
        sight = look(self.repository, self.plan, memory, self._verdicts)
        now, seen = self._at.at, part_of(memory.seen, self.plan.kind, self.plan.name)
        self._refuse(clock_doubts(now, self._store_now, sight.newest_stored, seen))
        there = sum(len(asset.kept) for asset in sight.assets.values())
        self._refuse(listing_doubts(sight.listed, sight.broken, now, seen, there))
        self._stale = "" if "stale" in self.plan.accept else is_stale(sight.listed, now, self._store_now)
        return sight, self._decide(sight, holding)

    @property
    def changed(self) -> bool:
        return bool(self.removed or self.orphans or self.uploads or self.locks or self.wal.get("files"))

    def _refuse(self, doubts: list[Doubt]) -> None:
        """Raise for doubts that were not accepted by name; all of them are said at once."""
        self.doubts += [doubt.sentence for doubt in doubts]
        open_ones = [doubt for doubt in doubts if doubt.word not in self.plan.accept]
        self.warnings += [f"{self.repository.name}: accepted: {doubt.sentence}" for doubt in doubts if doubt not in open_ones]
        if open_ones:
            words = sorted({doubt.word for doubt in open_ones if doubt.word})
            hint = f"Look at it; if all is well, say accept: [{', '.join(words)}]." if words else "Set the clock that is wrong."
            raise RetentionRefused(
                "nothing was removed: " + "; ".join(doubt.sentence for doubt in open_ones), f"repository {self.repository.name!r}", hint
            )

    def _decide(self, sight: Sight, holding: Holding) -> list[Decided]:
        held = holding([asset for asset in sight.assets.values() if asset.kind == "keys"])
        decided = []
        for _title, asset in sorted(sight.assets.items()):
            policy = self.plan.policy(self.repository.name, asset.kind, asset.name)
            if self._stale and policy.max_age_seconds is not None:
                # Without the age that was promised, what it alone limits would all go or all stay: all of it stays.
                policy = dataclasses.replace(policy, max_age_seconds=None)
                if f"{self.repository.name}: {self._stale}" not in self.problems:
                    self.problems.append(f"{self.repository.name}: {self._stale}")
            own = {ref.backup_id: why for ref, why in held.items() if (ref.kind, ref.name) == (asset.kind, asset.name)}
            found = decide_asset(asset, policy, self._at.at, self.repository, own, self.plan.read_whole, self.check_mode, self._progress)
            for backup_id, why in found.damaged.items():
                self.problems.append(f"{self.repository.name}: backup {backup_id} of {asset.title} is damaged: {why}")
            self.read += [f"{asset.title} {backup_id}" for backup_id in found.read_now]
            decided.append(found)
        return decided

    def _too_many(self, decided: list[Decided]) -> list[Doubt]:
        doubts = []
        for found in decided:
            doubt = too_many(found.asset.title, len(found.decisions), len(found.going), self.plan.max_remove, self.plan.as_share)
            doubts += [] if doubt is None else [doubt]
        return doubts

    def _report_kept(self, decided: list[Decided]) -> None:
        for found in decided:
            for decision in found.decisions:
                if decision.keep:
                    (self.waiting if decision.waits else self.kept).append(self._entry(found.asset, decision))
            if any(UNPROVEN in decision.reasons for decision in found.decisions):
                self.warnings.append(f"{self.repository.name}: no backup of {found.asset.title} is verified, so none of them goes")
            late = [decision.backup_id for decision in found.decisions if decision.keep and decision.too_old]
            if late:
                self.warnings.append(
                    f"{self.repository.name}: {many(len(late), 'backup')} of {found.asset.title} past the allowed age, and kept: {late[0]}"
                )

    def _remember(self, memory: Memory, decided: list[Decided]) -> None:
        """What will be left, before the first removal: a run that is killed leaves more than that, which is no loss."""
        if self.plan.state is None:
            return
        left = {} if memory.seen is None else dict(memory.seen.left)
        part = part_of(memory.seen, self.plan.kind, self.plan.name)
        for asset in () if part is None else part.left:
            del left[asset]
        verified = {asset: ids for asset, ids in memory.verified.items() if asset in left}
        for found in decided:
            kept = [decision.backup_id for decision in found.decisions if decision.keep]
            left[found.asset.title] = (len(kept), max(kept, default=""))
            verified[found.asset.title] = frozenset(found.verified & set(kept))
        self.plan.state.write(self.repository, self.plan.system, Memory(Seen(self._at.at, left), verified))

    def _lengthen_locks(self, decided: list[Decided], sight: Sight) -> None:
        """Keep what a longer class took over locked as it goes along, never for longer than a new backup is."""
        days = self.plan.repositories[self.repository.name].get("object_lock_days")
        if days is None:
            return
        span = dt.timedelta(days=int(days))
        stored = {one.backup_id: one.stored or one.moment for one in sight.listed}
        for found in decided:
            for decision in found.decisions:
                until = act.lock_wanted(stored[decision.backup_id], span, decision.stays_until, self._at.at)
                if until is not None:
                    self._lengthen(found.asset, decision, until)

    def _lengthen(self, asset: Asset, decision: Decision, until: dt.datetime) -> None:
        backup = asset.backups[decision.backup_id]
        held = self.repository.locked_until(layout.manifest_key(backup.ref))
        # A day more or less is no reason to ask for it each night.
        if held is not None and held < until - dt.timedelta(days=1):
            if not self.check_mode:
                self._at.check()
                names = [volume.name for artifact in backup.manifest.artifacts for volume in artifact.volumes]
                try:
                    act.lengthen_locks(self.repository, backup.ref, names, until)
                except AccessDenied as error:
                    self.faults.append(error)  # what may go is no less certain for it
                    return
            self.locks.append({**self._which(backup.ref), "until": format_moment(until)})

    def _remove(self, decided: list[Decided], sight: Sight) -> None:
        for found in decided:
            proof = [decision.backup_id for decision in found.decisions if "newest verified" in decision.reasons]
            if not self.check_mode:
                self._say_what_goes(found)
            for number, decision in enumerate(found.going):
                ref = found.asset.backups[decision.backup_id].ref
                if not self.check_mode:
                    self._at.check()
                    if number == 0:
                        self._require_there(found.asset.backups[proof[0]].ref)
                    self._progress(f"removing {ref.kind}/{ref.name} {ref.backup_id} from {self.repository.name!r}: {decision.reasons[0]}")
                    erased = act.remove_backup(self.repository, ref)
                    self._said(erased)
                    if erased.locked:
                        self.waiting.append({**self._entry(found.asset, decision), "reasons": ["locked by the store"]})
                        if layout.manifest_key(ref) in erased.locked:
                            continue
                self.removed.append(self._entry(found.asset, decision))

    def _say_what_goes(self, found: Decided) -> None:
        """For whoever finds these backups elsewhere, and misses them here."""
        backups = (found.asset.backups[decision.backup_id] for decision in found.going)
        ids = [backup.ref.backup_id for backup in backups if sum(not reason for reason in backup.summary.repositories.values()) > 1]
        if ids:
            write_retired(self.repository, self.plan.system, found.asset.kind, found.asset.name, ids)

    def _require_there(self, ref: BackupRef) -> None:
        """What everything else may go for is still there at the moment of acting."""
        if self.repository.stat(layout.manifest_key(ref)) is None:
            raise RetentionRefused(
                f"the newest verified backup {ref.backup_id} of {ref.kind}/{ref.name} is gone since it was listed",
                f"repository {self.repository.name!r}",
                "Something else removes backups there; find out what.",
            )

    def _remove_orphans(self, orphans: list[Orphan]) -> None:
        for orphan in orphans:
            if act.hidden_manifest(self.repository, orphan.ref):
                self.problems.append(
                    f"{self.repository.name}: backup {orphan.ref.backup_id} of {orphan.ref.kind}/{orphan.ref.name} was hidden by something"
                    " else: an older version of its manifest is there; nothing of it was removed"
                )
                continue
            if not self.check_mode:
                self._at.check()
                erased = act.remove_orphan(self.repository, orphan.ref)
                self._said(erased)
                if erased.locked and not erased.removed:
                    self.waiting.append({**self._which(orphan.ref), "reasons": ["remains of a killed run, locked by the store"]})
                    continue
            self.orphans.append({**self._which(orphan.ref), "objects": orphan.objects, "size_bytes": orphan.size_bytes})

    def _remove_uploads(self, at: dt.datetime) -> None:
        if self.plan.kind is not None:
            return
        try:
            for leftover in self.repository.leftovers(f"{layout.encode_name(self.plan.system)}/"):
                if (at - leftover.modified).total_seconds() > self.plan.orphan_age_seconds:
                    if not self.check_mode:
                        self.repository.discard(leftover)
                    self.uploads += 1
        except AccessDenied as error:
            self.warnings.append(f"{self.repository.name}: uploads that were never completed are left there: {error}")

    def _remove_wal(self, decided: list[Decided]) -> None:
        if not self.plan.wal or (self.plan.kind not in (None, "base") or self.plan.name is not None):
            return
        bases = [found for found in decided if found.asset.kind == "base"]
        if not bases:
            return
        if any(found.asset.broken for found in bases):
            self.wal = {"files": 0, "why": "a manifest of a base backup is broken"}
            return
        gone = {entry["backup_id"] for entry in self.removed}
        cut = cut_of(backup.manifest for found in bases for backup_id, backup in found.asset.backups.items() if backup_id not in gone)
        if not isinstance(cut, Cut):
            self.wal = {"files": 0, "why": cut}
            return
        if not self.check_mode:
            self._at.check()
        old = old_wal(self.repository, self.plan.system, cut, remove=not self.check_mode)
        self.wal = {"needed_from": cut.first_kept, "needed_by": cut.backup_id, **dataclasses.asdict(old)}
        self._said(Erased(hidden=old.hidden))

    def _said(self, erased: Erased) -> None:
        warning = (
            f"{self.repository.name}: the credential may not remove versions (s3:DeleteObjectVersion); what was removed is hidden, and"
            " stays until a lifecycle rule of the bucket takes it"
        )
        if erased.hidden and warning not in self.warnings:
            self.warnings.append(warning)

    def _entry(self, asset: Asset, decision: Decision) -> dict[str, Any]:
        backup = asset.backups[decision.backup_id]
        return {
            **self._which(backup.ref),
            "snapshot_at": backup.summary.snapshot_at,
            "size_bytes": backup.summary.size_bytes,
            "reasons": list(decision.reasons),
        }

    def _which(self, ref: BackupRef) -> dict[str, Any]:
        return {"repository": self.repository.name, "kind": ref.kind, "name": ref.name, "backup_id": ref.backup_id}
