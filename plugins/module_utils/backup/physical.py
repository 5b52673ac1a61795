# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a base backup of a server: the story from the lock to the manifest.

connect → what may this login, is there an archive → pg_basebackup → compress → seal → one stream to every repository → wait until
the log that it needs is archived → publish → instructions → manifest. Whatever fails, fails by name and commits nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from ansible_collections.lifeboat.postgres.plugins.module_utils import compress, layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.base_evidence import check_evidence, gather
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.base_facts import LogRange, segments_of, wal_range
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.base_instructions import base_instructions
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.described import (
    deliveries_document,
    notes_on_signing,
    require_complete,
    signed_manifest,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.guards import Figures, Judgement, history_of, judge, keep_or_raise
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_job import ARCHIVED, INCREMENTAL, KIND, PhysicalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_parent import (
    Parent,
    find_parent,
    keep_manifest,
    manifest_room,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_stream import MANIFEST_NAME, NothingToBuildOn, Taken, take
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_wal import (
    ArchiverWatch,
    archiver_words,
    archives_of,
    wait_for_segments,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.reach import end_leftovers
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.staging import check_staging_dir, default_staging_dir, room, staging
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.writer import BackupWriter, Delivery
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Artifact, Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import Pipeline
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.advisory import advisory_lock
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.base_programs import COMBINES_FROM, PgBaseBackup
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import ServerFacts, open_connection, server_facts
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.replication import BaseSettings, base_settings, identify
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.standby import state_moment
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

__all__ = ["BaseBackup", "back_up", "choose_parent", "obstacle_to_staging", "result_of"]


@dataclass(frozen=True)
class BaseBackup:
    """A backup that exists: its manifest, what became of it in each repository, and what the operator should know."""

    manifest: Manifest
    deliveries: Sequence[Delivery]
    seconds: float
    notes: Sequence[str]
    judged: str


def back_up(job: PhysicalJob, repositories: Sequence[Repository], progress: Callable[[str], None]) -> BaseBackup:
    """Take the backup; a full one where an incremental one finds nothing to build on. The caller holds this host's lock.

    Raises `RepositoryError` with the result when the backup exists, but not in every repository.
    """
    try:
        return _back_up_once(job, repositories, progress)
    except NothingToBuildOn as refused:
        why = f"a full backup was taken: the server cannot tell what changed since the last one ({refused.cause.what})"
        progress(why)
        return _back_up_once(dataclasses.replace(job, mode="full"), repositories, progress, (why,))


def _back_up_once(
    job: PhysicalJob, repositories: Sequence[Repository], progress: Callable[[str], None], said: Sequence[str] = ()
) -> BaseBackup:
    started, clock = now(), time.monotonic()
    ref = layout.BackupRef(job.system, KIND, job.name, layout.new_backup_id(started))
    application_name = f"lifeboat {ref.backup_id}"
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(open_connection(job.login, application_name="lifeboat base"))
        settings = base_settings(connection)
        identifier = identify(job.login, "lifeboat look")
        facts = dataclasses.replace(server_facts(connection), system_identifier=identifier)
        program = PgBaseBackup(facts.major, job.bin_dir, job.inside)
        stack.enter_context(advisory_lock(connection, job.system, KIND, job.name))
        end_leftovers(job)
        archives = archives_of(repositories, job.required, job.system, identifier) if job.wal == ARCHIVED else {}
        databases = check_evidence(job)
        parent, why_full = choose_parent(job, repositories, facts, settings)
        folder = manifest_room(job)
        stage = None
        notes = [*job.sealer.notes, *program.warnings, *said, *([why_full] if why_full else [])]
        if settings.tablespaces:
            obstacle = obstacle_to_staging(job, settings)
            if obstacle:
                raise ConfigurationError(f"the backup cannot be staged: {obstacle}", "staging_dir", "Name another staging_dir.")
            place = job.staging_dir or default_staging_dir()
            stage = stack.enter_context(staging(place, ref.backup_id, functools.partial(_end_sessions, connection)))
            notes.append(f"staged in {place}: a server with {many(settings.tablespaces, 'tablespace')} of its own sends no single stream")
        manifest_file: BinaryIO = stack.enter_context(tempfile.TemporaryFile(dir=folder))
        writer = stack.enter_context(BackupWriter(ref, repositories, job.stall_timeout_seconds, job.volume_bytes, progress))
        progress(f"{'incremental' if parent else 'full'} base backup of the server at {job.login.place}")
        with ArchiverWatch(connection, ref.backup_id, job.wal_timeout_seconds) as watch:
            built_on = None if parent is None else parent.file
            taken = take(job, program, writer, watch, application_name, manifest_file, built_on, stage)
        streamed = time.monotonic()
        progress(f"copied {taken.file_bytes} bytes in log from {taken.ranges[0].start} to {taken.ranges[-1].end}")
        judgement = _judge(job, repositories, taken, parent)
        notes += keep_or_raise(judgement, job.accept_deviation, f"{job.system}, base backup {job.name!r}", "backup")
        taken.send()
        _store_manifest(job, writer, manifest_file)
        end = taken.ranges[-1]
        gathered = gather(job, writer, databases, connection, end.end, taken.label.from_standby, progress)
        ranges = taken.ranges if gathered.until is None else (*taken.ranges, LogRange(end.timeline, end.end, gathered.until))
        segments = segments_of(ranges, settings.segment_bytes)
        waited = wait_for_segments(archives, segments, job.wal_timeout_seconds, lambda: archiver_words(connection))
        moment = taken.copied_at
        if taken.label.from_standby:
            moment = min(moment, state_moment(connection, moment))
            notes.append("taken from a standby")
        notes += notes_on_signing(job)

        def manifest(artifacts: Sequence[Artifact], problems: Mapping[str, str]) -> Manifest:
            return signed_manifest(
                job,
                ref,
                facts,
                started_at=started,
                snapshot_at=moment,
                client_version=program.version,
                database_bytes=_database_bytes(settings, taken, parent),
                plain_bytes=taken.plain_bytes,
                artifacts=tuple(artifacts),
                repositories=dict(problems),
                notes=tuple(notes),
                format="tar",
                costs={
                    "stream_seconds": round(streamed - clock, 3),
                    "wal_wait_seconds": round(waited, 3),
                    **({"evidence_seconds": round(gathered.seconds, 3)} if databases else {}),
                },
                evidence=gathered.points,
                wal=wal_range(taken.ranges, settings.segment_bytes, job.wal != ARCHIVED),
                parent="" if parent is None else parent.manifest.backup_id,
            )

        def instructions(artifacts: Sequence[Artifact]) -> Mapping[str, bytes]:
            needed = wal_range(taken.ranges, settings.segment_bytes, job.wal != ARCHIVED)
            older = "" if parent is None else parent.manifest.backup_id
            method, suffix = job.sealer.method, job.sealer.suffix
            return base_instructions(ref, artifacts, facts.version, format_moment(moment), needed, older, method, suffix)

        document = writer.commit(instructions, manifest)
        # What kept evidence from being taken may tell about the data, so it is said here and not in the manifest.
        said_too = [*notes, *gathered.notes, *_remember(facts, settings, manifest_file, folder, ref.backup_id)]
        backup = BaseBackup(document, writer.deliveries, time.monotonic() - clock, said_too, judgement.words)
    require_complete(ref, backup.deliveries, "", result_of(backup))
    return backup


def choose_parent(
    job: PhysicalJob, repositories: Sequence[Repository], facts: ServerFacts, settings: BaseSettings
) -> tuple[Parent | None, str]:
    """What an incremental backup builds on; None for a full one, with the reason when an incremental one was asked for."""
    if job.mode != INCREMENTAL:
        return None, ""
    if facts.major < COMBINES_FROM:
        return None, f"a full backup was taken: PostgreSQL {facts.major} makes no incremental ones, {COMBINES_FROM} and newer do"
    if not settings.summarizes:
        return None, "a full backup was taken: summarize_wal is off, and only with it the server knows what changed"
    parent, why = find_parent(job, repositories, facts.system_identifier)
    return parent, f"a full backup was taken: {why}" if why else ""


def obstacle_to_staging(job: PhysicalJob, settings: BaseSettings) -> str:
    """Why a server with tablespaces of its own cannot be backed up by way of a directory, "" when it can."""
    if job.inside is not None:
        return "the server has tablespaces of its own, and with exec nothing is staged"
    place = job.staging_dir or default_staging_dir()
    try:
        check_staging_dir(place)
    except ConfigurationError as error:
        return f"{error.what} ({error.where})" if error.where else error.what
    return room(place, settings.database_bytes)


def _judge(job: PhysicalJob, repositories: Sequence[Repository], taken: Taken, parent: Parent | None) -> Judgement:
    """The backup's size, against the limits and the last good full ones; how much changed since a parent is judged by nobody."""
    figures = Figures(taken.plain_bytes, 0, 1)
    if parent is not None:
        return Judgement("not judged: an incremental backup is as large as what changed")
    try:
        history = history_of(repositories, job.system, KIND, job.name, job.limits.last, job.own_keys, lambda manifest: not manifest.parent)
    except RepositoryError as error:
        judgement = judge(job.limits, figures, ())
        words = f"not judged against earlier backups: {error}"
        return dataclasses.replace(judgement, words=words, warnings=(*judgement.warnings, f"the size was {words}"))
    return judge(job.limits, figures, history)


def _store_manifest(job: PhysicalJob, writer: BackupWriter, manifest_file: BinaryIO) -> None:
    """The server's own manifest, apart as well: pg_verifybackup and the next incremental backup ask for it."""
    manifest_file.seek(0)
    with Pipeline([compress.compressor(job.compression_level), job.sealer.stage()], manifest_file) as sealed:
        writer.store(f"{MANIFEST_NAME}{compress.SUFFIX}{job.sealer.suffix}", "backup_manifest", sealed)


def _remember(facts: ServerFacts, settings: BaseSettings, manifest_file: BinaryIO, folder: Any, backup_id: str) -> list[str]:
    """Keep the manifest where a next backup may build on it. The backup exists: a fault is a note."""
    if facts.major < COMBINES_FROM or not settings.summarizes:
        return []
    manifest_file.seek(0)
    try:
        keep_manifest(folder, backup_id, manifest_file)
    except ConfigurationError as error:
        return [f"the next backup will be a full one: {error}"]
    return []


def _database_bytes(settings: BaseSettings, taken: Taken, parent: Parent | None) -> int:
    """What the restored server will take on a disk: of an incremental backup the parent's files too, at most."""
    whole = taken.file_bytes + (0 if parent is None else parent.manifest.database_bytes)
    return max(settings.database_bytes, taken.file_bytes) if settings.database_bytes else whole


def _end_sessions(connection: Any, backup_id: str) -> None:
    """End what a killed run's pg_basebackup still does for nobody."""
    connection.execute(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
        " WHERE application_name = %s AND usename = current_user AND pid <> pg_catalog.pg_backend_pid()",
        (f"lifeboat {backup_id}",),
    )


def result_of(backup: BaseBackup) -> dict[str, Any]:
    """What a module returns about a backup that was taken."""
    manifest = backup.manifest
    return {
        "changed": True,
        "backup_id": manifest.backup_id,
        "parent": manifest.parent,
        "snapshot_at": format_moment(manifest.snapshot_at),
        "size_bytes": manifest.size_bytes,
        "plain_bytes": manifest.plain_bytes,
        "wal": None if manifest.wal is None else dataclasses.asdict(manifest.wal),
        "evidence": [dataclasses.asdict(point) for point in manifest.evidence],
        "seconds": round(backup.seconds, 3),
        "signed": bool(manifest.signature),
        "repositories": deliveries_document(backup.deliveries),
        "judged": backup.judged,
        "costs": dict(manifest.costs),
        "warnings": list(backup.notes),
    }
