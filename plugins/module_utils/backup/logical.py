# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a logical backup of one database: the story from the lock to the manifest.

connect → lock the tables, export a snapshot → dump it, and collect evidence beside it in the same snapshot → compress →
seal → one stream to every repository → confirm → publish → instructions → manifest. Whatever fails, fails by name and
commits nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.described import (
    deliveries_document,
    notes_on_signing,
    require_complete,
    signed_manifest,
    store_evidence,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.dump import Dumped, Outrun, dump
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.formats import AUTO, CUSTOM, DIRECTORY, Choice, choose_format
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.guards import Figures, Judgement, history_of, judge, keep_or_raise
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.instructions import logical_instructions
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job import DATABASE, LogicalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.one_disk import note_on_one_disk
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.reach import end_leftovers
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.staging import default_staging_dir, staging
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.writer import BackupWriter, Delivery
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.collect import Collector
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import Evidence
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.extensions import configuration_queries, count_subscriptions
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Artifact, Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.advisory import advisory_lock
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import (
    ServerFacts,
    database_errors,
    open_connection,
    server_facts,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.pooler import refuse_pooler
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import PgDump
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import exported_snapshot
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.watch import Budget, watched
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["LogicalBackup", "back_up", "result_of"]

ATTEMPTS = 3


@dataclass(frozen=True)
class LogicalBackup:
    """A backup that exists: its manifest, what became of it in each repository, and what the operator should know.

    `judged` says what size and objects were judged against, `snapshot_transactions` how many began while the snapshot was held.
    """

    manifest: Manifest
    evidence: Evidence
    deliveries: Sequence[Delivery]
    seconds: float
    notes: Sequence[str]
    judged: str = ""
    snapshot_transactions: int = 0


def back_up(job: LogicalJob, repositories: Sequence[Repository], progress: Callable[[str], None]) -> LogicalBackup:
    """Take the backup; again with a new snapshot when production changed under pg_dump. The caller holds this host's lock.

    Raises `RepositoryError` with the result when the backup exists, but not in every repository.
    """
    attempts_left = ATTEMPTS
    while True:
        attempts_left -= 1
        try:
            return _back_up_once(job, repositories, progress)
        except Outrun as outrun:
            if not attempts_left:
                raise outrun.cause from None
            progress(f"production changed under pg_dump, so again with a new snapshot: {outrun.cause}")
            if outrun.staged and job.format == AUTO:
                job = dataclasses.replace(job, format=CUSTOM)  # it needs each lock once only, at its very beginning


def _back_up_once(job: LogicalJob, repositories: Sequence[Repository], progress: Callable[[str], None]) -> LogicalBackup:
    clock = time.monotonic()
    with contextlib.ExitStack() as stack:
        begun = _begin(stack, job, repositories, progress)
        taken = _take(begun, progress)
        judgement = _judge(job, repositories, taken.figures)
        guarded = keep_or_raise(judgement, job.accept_deviation, f"{job.system}, database {job.name!r}")
        progress(f"size and objects are {judgement.words}")
        taken.dumped.send()
        store_evidence(job, begun.writer, taken.evidence.to_bytes())
        notes = [*job.sealer.notes, *begun.pg_dump.warnings, *filter(None, (begun.choice.note, taken.dumped.note)), *begun.lacking]
        notes += [*guarded, *taken.notes, *notes_on_signing(job)]
        manifest = _commit(begun, taken, notes)
        # What evidence is missing tells about the data, so it is said here and not in the manifest.
        said, seconds = [*notes, *taken.evidence.notes], time.monotonic() - clock
        backup = LogicalBackup(manifest, taken.evidence, begun.writer.deliveries, seconds, said, judgement.words, taken.transactions)
    require_complete(begun.ref, backup.deliveries, "", result_of(backup))
    return backup


@dataclass(frozen=True)
class _Begun:
    """A run that holds its locks and knows what it will do; nothing was read of the data yet."""

    job: LogicalJob
    ref: layout.BackupRef
    started_at: dt.datetime
    connection: Connection[Any]
    server: ServerFacts
    pg_dump: PgDump
    choice: Choice
    stage: Path | None
    lacking: Sequence[str]
    collector: Collector
    writer: BackupWriter

    @property
    def application_name(self) -> str:
        return f"lifeboat {self.ref.backup_id}"


def _begin(stack: contextlib.ExitStack, job: LogicalJob, repositories: Sequence[Repository], progress: Callable[[str], None]) -> _Begun:
    """Log in, keep other runs out, find the programs, choose the format. Until `stack` ends."""
    started_at = now()
    ref = layout.BackupRef(job.system, DATABASE, job.name, layout.new_backup_id(started_at))
    connection = stack.enter_context(open_connection(job.login, application_name=f"lifeboat {ref.backup_id}"))
    refuse_pooler(connection, job.login)
    server = server_facts(connection)
    pg_dump = PgDump(server.major, job.bin_dir, job.inside)
    stack.enter_context(advisory_lock(connection, job.system, DATABASE, job.name))
    end_leftovers(job)
    choice = choose_format(job, connection, pg_dump)
    lacking = [*_lacking(job, connection, pg_dump), *note_on_one_disk(connection, job, repositories)]
    stage = None
    if choice.format == DIRECTORY:
        place = job.staging_dir or default_staging_dir()
        stage = stack.enter_context(staging(place, ref.backup_id, functools.partial(_end_sessions, connection)))
    collector = Collector(
        connection,
        queries={**configuration_queries(connection), **job.queries},
        checks=job.checks,
        lock_timeout_seconds=job.lock_timeout_seconds,
        digests=job.digests,
    )
    writer = stack.enter_context(BackupWriter(ref, repositories, job.stall_timeout_seconds, job.volume_bytes, progress))
    return _Begun(job, ref, started_at, connection, server, pg_dump, choice, stage, lacking, collector, writer)


@dataclass(frozen=True)
class _Taken:
    """What came out of one snapshot, which is held no longer: the dump, facts about production beside it, and what that cost."""

    moment: dt.datetime
    dumped: Dumped
    evidence: Evidence
    figures: Figures
    costs: Mapping[str, float]
    transactions: int
    notes: Sequence[str]


def _take(begun: _Begun, progress: Callable[[str], None]) -> _Taken:
    job, connection = begun.job, begun.connection
    budget = Budget(job.snapshot_budget_seconds, job.xmin_age_limit)
    with exported_snapshot(connection, lock_timeout_seconds=job.lock_timeout_seconds) as snapshot:
        progress(f"snapshot of {len(snapshot.tables)} tables at {format_moment(snapshot.moment)}")
        with watched(job.login, snapshot, budget, progress) as watch, begun.collector.beside(snapshot, watch.lost) as counting:
            dumped = dump(job, begun.pg_dump, snapshot, begun.writer, begun.application_name, begun.stage, watch)
            progress(f"dumped {dumped.plain_bytes} bytes")
            counting.finish(job.evidence_budget_seconds, hurried=lambda: bool(watch.over))
    watch.end(connection)
    evidence = begun.collector.evidence(counting, dumped.plain_bytes)
    costs = {"snapshot_seconds": round(watch.seconds, 3), "evidence_seconds": round(counting.seconds, 3)}
    if job.digests is not None:
        costs["digest_seconds"] = round(counting.digest_seconds, 3)
    return _Taken(
        moment=snapshot.moment,
        dumped=dumped,
        evidence=evidence,
        figures=Figures(dumped.plain_bytes, len({*evidence.objects, *evidence.unstable}), len(evidence.tables)),
        costs=costs,
        transactions=watch.transactions,
        notes=[*watch.notes, *([] if snapshot.standby is None else [snapshot.standby.note])],
    )


def _commit(begun: _Begun, taken: _Taken, notes: Sequence[str]) -> Manifest:
    """How to restore it, and last of all the manifest: from then on there is a backup."""
    job, evidence = begun.job, taken.evidence

    def manifest(artifacts: Sequence[Artifact], problems: Mapping[str, str]) -> Manifest:
        return signed_manifest(
            job,
            begun.ref,
            begun.server,
            started_at=begun.started_at,
            snapshot_at=taken.moment,
            client_version=begun.pg_dump.version,
            database_bytes=evidence.database_bytes,
            plain_bytes=taken.dumped.plain_bytes,
            artifacts=tuple(artifacts),
            repositories=dict(problems),
            notes=tuple(notes),
            format=taken.dumped.format,
            object_count=taken.figures.object_count,
            costs=taken.costs,
            digested="" if evidence.digests is None else evidence.digests.whole_part,
        )

    def instructions(artifacts: Sequence[Artifact]) -> Mapping[str, bytes]:
        return logical_instructions(begun.ref, artifacts, begun.server.version, format_moment(taken.moment), job.sealer.method)

    return begun.writer.commit(instructions, manifest)


def _judge(job: LogicalJob, repositories: Sequence[Repository], figures: Figures) -> Judgement:
    """The dump's size and objects, against the limits and the last good backups."""
    try:
        history = history_of(repositories, job.system, DATABASE, job.name, job.limits.last, job.own_keys)
    except RepositoryError as error:
        judgement = judge(job.limits, figures, ())
        words = f"not judged against earlier backups: {error}"
        return dataclasses.replace(judgement, words=words, warnings=(*judgement.warnings, f"size and objects were {words}"))
    return judge(job.limits, figures, history)


def _coverage(evidence: Evidence) -> dict[str, str]:
    return {} if evidence.digests is None else {"digests": evidence.digests.coverage}


def _end_sessions(connection: Connection[Any], backup_id: str) -> None:
    """End what a killed run's pg_dump still does for nobody; sessions of other roles are not ours to end."""
    with database_errors():
        connection.execute(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
            " WHERE application_name = %s AND usename = current_user AND pid <> pg_catalog.pg_backend_pid()",
            (f"lifeboat {backup_id}",),
        )


def _lacking(job: LogicalJob, connection: Connection[Any], pg_dump: PgDump) -> Iterator[str]:
    """What the dump will not hold, though the database has it or it was asked for."""
    left_out = count_subscriptions(connection)
    if left_out:
        yield f"{many(left_out, 'subscription')} not in the dump: pg_dump leaves them out for everybody but a superuser"
    if job.statistics and not pg_dump.knows("--statistics"):
        yield f"the planner's statistics are not in the dump: pg_dump {pg_dump.version} cannot dump them"


def result_of(backup: LogicalBackup) -> dict[str, Any]:
    """What a module returns about a backup that was taken."""
    manifest = backup.manifest
    return {
        "changed": True,
        "backup_id": manifest.backup_id,
        "snapshot_at": format_moment(manifest.snapshot_at),
        "size_bytes": manifest.size_bytes,
        "plain_bytes": manifest.plain_bytes,
        "format": manifest.format,
        "seconds": round(backup.seconds, 3),
        "signed": bool(manifest.signature),
        "repositories": deliveries_document(backup.deliveries),
        "evidence": {"tables": len(backup.evidence.tables), "uncounted": len(backup.evidence.uncounted), **_coverage(backup.evidence)},
        "judged": backup.judged,
        "snapshot": {"seconds": manifest.costs.get("snapshot_seconds", 0.0), "transactions": backup.snapshot_transactions},
        "costs": dict(manifest.costs),
        "warnings": list(backup.notes),
    }
