# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens in a point-in-time drill, in its order: a base backup, the log after it, a stop at the target, and the proof."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import PASSED, Check, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.runner import run_checks
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill import guard, logical
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import account_for
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.chain import Chain, own_chain
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.choose import Found, check_volumes
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.choose_base import choose_base, wal_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.control import PgControlData, check_label, furnish, read_control
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.errands import Errands
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.feeder import Feeder
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.fetch import Fetcher
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.frame import Frame
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.image import Image
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.lost import how_much_was_lost, last_beat
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.markers import markers
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.pages import PgAmcheck, PgChecksums, amcheck, data_checksums
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.physical import BasePrograms, RestoredBase, Room, restore_base
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.pitr_archive import DrillArchive, needs_no_archive
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.pitr_evidence import aimed, compared, evidence_at, point_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.prepare import look_before, sealing_notes
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.recovering import Recovering, check_libraries
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.recovery import Recovered
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.target import Target
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import Workspace
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import Evidence
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import EvidencePoint, Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import PointInTime
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import opener
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

__all__ = ["PitrStory"]

_APPLICATION = "lifeboat drill checks"


class PitrStory(Frame):
    """The drill of a base backup and the log after it."""

    def __init__(self, plan: DrillPlan, progress: Callable[[str], None]) -> None:
        super().__init__(plan, progress)
        self._told = PointInTime(str(plan.target))
        self._progress = progress
        self._checksums = False
        self._files: tuple[Path, ...] = ()
        self._chosen: Found
        self._point: EvidencePoint | None = None
        self._evidence: Evidence | None = None

    @property
    def recovery(self) -> PointInTime:
        return self._told

    @property
    def state_at(self) -> dt.datetime | None:
        told = self._told
        moments = [moment for moment in (told.heartbeat, told.last_commit) if moment is not None]
        if moments or not told.reached_lsn:
            return max(moments, default=None)
        return told.window_from  # nothing was committed since the base ended

    def rpo(self, failure_at: dt.datetime) -> tuple[float | None, str]:
        return how_much_was_lost(self._told, self.plan.target, self.state_at, failure_at)

    def _drill(self, repositories: Sequence[Repository]) -> None:
        plan, watch = self.plan, self.watch
        with watch.phase("choose", f"find the base backup that ended before the target: {plan.target}"):
            self.found, links = choose_base(plan, repositories)
            self._chosen = found = self.found
            self._take(found.results)
            manifest = found.manifest
            self.plan = plan = aimed(plan, manifest)
            self._point = point_of(plan, manifest)
            self._tell(target=str(plan.target))
            self._tell(chain=tuple(link.backup_id for link in links), base_lsn=wal_of(manifest).stop_lsn, window_from=manifest.snapshot_at)
            self.warnings += sealing_notes(manifest)
        with watch.phase("guard", f"guards for base backup {manifest.backup_id} from {found.repository.name}"):
            self._reap_earlier()
            prepared = look_before(plan, found, try_writing=True)
            self.postgresql = prepared.programs.postgres.version
            guard.check_space(plan, *links)
            programs = _Programs(prepared.programs.postgres.major, plan, prepared.programs.image)
            self.warnings += prepared.notes
            if found.signed_by:
                self._take([CheckResult("signature", PASSED, "signed by one of verify_keys", f"signed by {found.signed_by}")])
        account = account_for(plan.run_as)
        self._workspace = workspace = Workspace.create(plan.work_dir, account)
        with watch.phase("archive", "look whether the archive leads to the target without a hole"):
            archive = DrillArchive(plan, found.repository, manifest, workspace.fetched)
            chain = own_chain(wal_of(manifest)) if needs_no_archive(plan, manifest) else archive.checked_chain()
            self._take_chain(chain)
        if self._point is not None:
            with watch.phase("evidence", "fetch and open the evidence"):
                self._evidence = evidence_at(prepared.fetcher, self._point)
        with watch.phase("isolation", "prove on an empty server that there is no way out"):
            self._target = target = Target(plan, manifest, prepared.programs, workspace, account)
            check_libraries(target, plan)
            self._prove(target)
        watch.begin_recovery()
        base = self._lay(links, target, programs)
        with watch.phase("recovery", f"replay up to {many(chain.count, 'segment')}, to {plan.target}"):
            recovered = self._recover(target, programs, archive, chain, base)
            self._take([_success(recovered)])
        with watch.phase("service", f"log in to database {plan.pitr.database!r}"):
            logical.log_in(target, plan.pitr.database)
            watch.service_ready()
        self._fetch_keys(manifest, self.state_at)
        with watch.phase("checks", "ask what must be there, what must not, and the checks"):
            self._check(target, programs, manifest, str(recovered.lsn))
        if all(result.verdict == PASSED for result in self.checks):
            watch.verified()

    def _tell(self, **more: object) -> None:
        self._told = dataclasses.replace(self._told, **more)  # type: ignore[arg-type]

    def _take_chain(self, chain: Chain) -> None:
        self.warnings += chain.notes
        self._tell(
            timeline=chain.timeline,
            first_segment=chain.first,
            last_segment=chain.last,
            window_until=chain.newest,
            gap_seconds=chain.gap_seconds,
        )
        found = f"{many(chain.count, 'segment')}, {chain.first} to {chain.last}"
        if chain.included:
            self._take([CheckResult("WAL in the backup", PASSED, "every segment to the base backup's own end", found)])
            return
        self._take([CheckResult("WAL archive", PASSED, "every segment from the base backup on", found)])

    def _prove(self, target: Target) -> None:
        """The very confinement that the recovery will run in is tried with an empty server, since a recovering one cannot write."""
        self.isolation = target.isolation
        try:
            empty = target.start()
        finally:
            self.isolation = target.isolation
        if not target.isolation.isolated:
            self.warnings.append(f"isolation was waived: {target.isolation.detail}")
        empty.stop()
        target.workspace.empty_data(target.account)

    def _lay(self, links: Sequence[Manifest], target: Target, programs: _Programs) -> RestoredBase:
        """The base backup and what it builds on, unpacked and compared with what the server wrote about it."""
        plan, workspace, confinement = self.plan, target.workspace, target.confinement
        repository = self._chosen.repository
        fetchers = []
        for link in links:
            if link is not links[-1]:
                # The newest one was looked at by the guards.
                if "signature" not in plan.waive:
                    guard.check_signature(link, plan.verify_keys)
                check_volumes(Found(link, repository))
            key = opener(link.encryption, plan.identity_file, passphrase_file=plan.passphrase_file)
            fetchers.append(Fetcher(repository, link, key))
        room = Room(workspace.path, workspace.data, target.account, confinement.command, target.environment)
        wanted = BasePrograms(target.programs.postgres.major, plan.bin_dir, len(links) > 1, target.programs.image)
        return restore_base(fetchers, room, wanted, self.watch.phase)

    def _recover(self, target: Target, programs: _Programs, archive: DrillArchive, chain: Chain, base: RestoredBase) -> Recovered:
        wal = wal_of(base.manifest)
        data, account = base.data, target.account
        check_label(data, wal)
        control = read_control(target, programs.controldata, data)
        self.warnings += furnish(data, account)
        self._checksums, self._files = control.checksums, base.writable
        feed = target.workspace.room("feed", account)
        with Feeder(feed, chain, archive.fetch, account.gid) as feeder:
            recovering = Recovering(target, self.plan, chain, feeder, control, Lsn.parse(wal.stop_lsn), base.writable, self._progress)
            recovered = recovering.run()
        self.settings = target.running.settings
        self._tell(
            reached_lsn=str(recovered.lsn), stopped=recovered.stopped, last_commit=recovered.last_commit, segments=recovered.segments
        )
        return recovered

    def _check(self, target: Target, programs: _Programs, manifest: Manifest, reached: str) -> None:
        plan = self.plan
        terms = plan.pitr
        connect = functools.partial(logical.session, target, terms.database, _APPLICATION)
        with connect() as conn, database_errors("the recovered database"):
            installed = [str(row[0]) for row in conn.execute("SELECT extname FROM pg_catalog.pg_extension").fetchall()]
            available = [str(row[0]) for row in conn.execute("SELECT name FROM pg_catalog.pg_available_extensions").fetchall()]
            beat = last_beat(conn)
        if beat is not None:
            self._tell(heartbeat=beat)
        guard.check_extensions(installed, available, target.running.major, target.programs.where)
        if plan.checks_left_out:
            groups = ", ".join(plan.check_groups)
            self.warnings.append(f"asked were the checks of {groups}; {many(plan.checks_left_out, 'other check')} were left out")
        if self._evidence is not None and self._point is not None:
            with connect() as conn:
                results, notes = compared(self._evidence, self._point, conn)
            self._take(results)
            self.warnings += notes
        # What was recorded for checks is an equation, too.
        recorded = self._evidence.checks if self._evidence is not None and self._point is not None and self._point.exact else {}
        asked: list[Check] = [*markers(terms.must_exist, terms.must_not_exist), *plan.checks]
        moment = self.state_at or manifest.snapshot_at
        self._take(run_checks(asked, connect, recorded, moment, Errands(target, terms.database), reached, self._keys))
        if programs.amcheck is not None:
            self._take([amcheck(target, programs.amcheck, plan.worker_count)])
        if programs.checksums is not None and self._checksums:
            self._take([data_checksums(target, programs.checksums, self._files)])
        elif programs.checksums is not None:
            self.warnings.append("production's cluster has no data checksums: damage of a page is only found where amcheck looks")


class _Programs:
    """What a recovery needs beside the server; raises `MissingTool` for the first that is missing."""

    def __init__(self, major: int, plan: DrillPlan, image: Image | None) -> None:
        self.controldata = PgControlData(major, plan.bin_dir, image)
        self.amcheck = PgAmcheck(major, plan.bin_dir, image) if plan.pitr.amcheck else None
        self.checksums = PgChecksums(major, plan.bin_dir, image) if plan.pitr.data_checksums else None


def _success(recovered: Recovered) -> CheckResult:
    commit = f"last commit {recovered.last_commit.isoformat(sep=' ')}" if recovered.last_commit else "no commit was replayed"
    found = f"{many(recovered.segments, 'segment')} replayed to {recovered.lsn}, {commit}"
    return CheckResult("recovery", PASSED, "stopped at the target, by its own words, and came up", found, recovered.stopped)
