# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens in the drill of a dump, in its order."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from collections.abc import Callable, Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.runner import run_checks
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill import guard, logical
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import account_for
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.choose import choose
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.errands import Errands
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.fetch import Fetcher
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.frame import Frame
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.globals import FoundGlobals, find_globals, restore_globals
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.measure import measured_rpo
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.prepare import look_before, sealing_notes
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.target import Target
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import Workspace
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ManifestError
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.compare import compare
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import Evidence
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import named
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many, size

__all__ = ["Story"]

_APPLICATION = "lifeboat drill checks"


class Story(Frame):
    """The drill of a dump."""

    def __init__(self, plan: DrillPlan, progress: Callable[[str], None]) -> None:
        super().__init__(plan, progress)
        self._globals: FoundGlobals | None = None

    @property
    def state_at(self) -> dt.datetime | None:
        return self.found.manifest.snapshot_at if self.found is not None else None

    def rpo(self, failure_at: dt.datetime) -> tuple[float | None, str]:
        return (None, "no backup was found") if self.state_at is None else measured_rpo(self.state_at, failure_at)

    def _drill(self, repositories: Sequence[Repository]) -> None:
        plan, watch = self.plan, self.watch
        with watch.phase("choose", f"find the backup of database {plan.name!r}"):
            self.found = choose(plan, repositories)
            self._take(self.found.results)
            manifest = self.found.manifest
            self.warnings += sealing_notes(manifest)
            self._find_globals()
        with watch.phase("guard", f"guards for backup {manifest.backup_id} from {self.found.repository.name}"):
            self._reap_earlier()
            prepared = look_before(plan, self.found, try_writing=True)
            self.postgresql = prepared.programs.postgres.version
            self.warnings += prepared.notes
            if self.found.signed_by:
                self._take([CheckResult("signature", PASSED, "signed by one of verify_keys", f"signed by {self.found.signed_by}")])
        watch.begin_recovery()
        self._fetch_keys(manifest)
        with watch.phase("evidence", "fetch and open the evidence"):
            account = account_for(plan.run_as)
            self._workspace = workspace = Workspace.create(plan.work_dir, account)
            evidence = self._evidence(prepared.fetcher)
        with watch.phase("target", f"start a throwaway PostgreSQL {prepared.programs.postgres.version}"):
            self._target = target = Target(plan, manifest, prepared.programs, workspace, account)
            self._start(target, evidence)
        self._restore_roles(target, evidence)
        with watch.phase("fetch", f"fetch and open the dump, {size(manifest.artifact('dump').size_bytes)}"):
            archive = prepared.fetcher.database(workspace.fetched, account.gid)
        with watch.phase("restore", f"restore {size(manifest.plain_bytes)} over {many(plan.worker_count, 'connection')}"):
            errors = logical.restore(target, archive, plan.worker_count, owners=evidence is not None)
            if self._take([logical.judge(errors)]) == UNVERIFIED:
                return  # the drill host could not hold it: what the checks would find says nothing about the backup
            database = logical.restored_database(target)
        with watch.phase("statistics", "collect the planner's statistics"):
            if logical.has_statistics(target, database):
                self.warnings.append("the dump carried production's statistics, so none were collected")
            else:
                fault = logical.analyze(target, database, plan.worker_count)
                self.warnings += [fault] if fault else []
        with watch.phase("service", "log in to the restored database"):
            logical.log_in(target, database)
            watch.service_ready()
        with watch.phase("checks", "compare with production and ask the checks"):
            self._check(target, database, evidence, manifest)
        if all(result.verdict == PASSED for result in self.checks):
            watch.verified()

    def _evidence(self, fetcher: Fetcher) -> Evidence | None:
        if not fetcher.has("evidence"):
            self._take([CheckResult("evidence", UNVERIFIED, "facts about production", "this backup has none")])
            return None
        return Evidence.from_bytes(fetcher.evidence())

    def _start(self, target: Target, evidence: Evidence | None) -> None:
        self.isolation = target.isolation
        extensions = sorted(evidence.extensions) if evidence is not None else []
        try:
            cluster = target.start(extensions, evidence.superuser, evidence.database) if evidence is not None else target.start()
        finally:
            self.isolation = target.isolation
        if not target.isolation.isolated:
            self.warnings.append(f"isolation was waived: {target.isolation.detail}")
        self.settings = cluster.settings
        guard.check_extensions(extensions, logical.available_extensions(cluster), cluster.major, target.programs.where)

    def _find_globals(self) -> None:
        """The backup of the server's roles, where there is one and it is wanted."""
        found = self.found
        if self.plan.globals == "false" or found is None:
            return
        try:
            self._globals = find_globals(self.plan, found)
        except ManifestError as error:
            # The database can be drilled all the same, and a recovery would not have its roles.
            self._take([CheckResult("globals", FAILED, "a backup of the server's roles", "its manifest is broken", str(error))])
            return
        if self._globals is None:
            said = "there is no backup of this server's globals, so roles were made by their names only, without what they may do"
            self.warnings.append(said)
            if self.plan.globals == "true":
                self._take([CheckResult("globals", UNVERIFIED, "a backup of the server's roles", "there is none")])

    def _restore_roles(self, target: Target, evidence: Evidence | None) -> None:
        """Production's roles from their own backup; then those by name that it lacks and the database's evidence names."""
        if self._globals is not None:
            with self.watch.phase("globals", f"restore roles from backup {self._globals.manifest.backup_id} of globals"):
                self._take([restore_globals(self.plan, self._globals, target)])
        if evidence is not None:
            made = logical.create_roles(target.running, evidence.roles)
            if made and self._globals is not None:
                self.warnings.append(f"roles that the backup of globals does not hold: {named(made)}")

    def _check(self, target: Target, database: str, evidence: Evidence | None, manifest: Manifest) -> None:
        if evidence is not None:
            if not target.confinement.isolated:
                evidence = self._without_subscriptions(evidence)
            with logical.session(target, database, _APPLICATION) as conn:
                self._take(self._with_coverage(compare(evidence, conn)))
        if self.plan.checks_left_out:
            groups = ", ".join(self.plan.check_groups)
            self.warnings.append(f"asked were the checks of {groups}; {many(self.plan.checks_left_out, 'other check')} were left out")
        recorded = evidence.checks if evidence is not None else {}
        connect = functools.partial(logical.session, target, database, _APPLICATION)
        self._take(run_checks(self.plan.checks, connect, recorded, manifest.snapshot_at, Errands(target, database), keys=self._keys))

    def _with_coverage(self, results: Sequence[CheckResult]) -> list[CheckResult]:
        """Where content digests go in turn, their check says since when all tables had theirs."""
        coverage = self.found.digests if self.found is not None else None
        if coverage is None:
            return list(results)
        if coverage.missing:
            self.warnings.append(f"content digests go in turn, and among the last {2 * coverage.parts} backups {coverage.words}")
        return [
            dataclasses.replace(result, detail="; ".join(filter(None, (result.detail, coverage.words))))
            if result.name == "content digests"
            else result
            for result in results
        ]

    def _without_subscriptions(self, evidence: Evidence) -> Evidence:
        """Where the server has a way out, they were not restored."""
        left_out = [name for name in evidence.objects if name.startswith("subscription ")]
        if left_out:
            self.warnings.append(f"subscriptions were not restored, since nothing isolates the server: {named(left_out)}")
        kept = {name: digest for name, digest in evidence.objects.items() if name not in left_out}
        privileges = {name: digest for name, digest in evidence.privileges.items() if name not in left_out}
        return dataclasses.replace(evidence, objects=kept, privileges=privileges)
