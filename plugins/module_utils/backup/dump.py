# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dump itself: what pg_dump shows of the snapshot, compressed and sealed into every repository.

In the custom format it is streamed while it is made. In the directory format it is staged first, by several workers, and
sent when the snapshot is needed no more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import compress
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.formats import AUTO, CUSTOM, DIRECTORY
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job import LogicalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.reach import client_conninfo, client_program
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.staging import check_staged, staged_files, tar_stage
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.writer import BackupWriter
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import BackupGuardError, LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.frames import packing
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import Counter, Pipeline, ProcessStage
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import PgDump, PgRestore
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import Snapshot
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.watch import SnapshotWatch

__all__ = ["Dumped", "Outrun", "dump"]

LOCK_WAIT_SECONDS = 10.0
DUMP_HEADER = b"PGDMP"
"""How every custom-format archive begins (src/bin/pg_dump/pg_backup_archiver.c)."""
_Stops = Callable[[Callable[[], None]], AbstractContextManager[Any]]
"""What calls the given function, in another thread, when the snapshot may be held no longer."""
CUSTOM_NAME, DIRECTORY_NAME = "database.dump", "database.tar"


@dataclass(frozen=True)
class Dumped:
    """A whole dump: its format, and its bytes before compression.

    `send` brings it into every healthy repository and returns when all have confirmed it; the snapshot is needed no more.
    What was streamed is there already. `note` is what the operator should know, "" for nothing.
    """

    format: str
    plain_bytes: int
    send: Callable[[], None]
    note: str = ""


class Outrun(Exception):
    """pg_dump ended before anything was sent, because something that its snapshot shows was changed or dropped meanwhile.

    `staged`: its workers ended so, who have to get a lock for every table once more when they come to it.
    """

    def __init__(self, cause: LifeboatError, staged: bool = False) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.staged = staged


class _NotStaged(Exception):
    """A directory is not to be had here, for a reason that a stream does not meet; the snapshot is still held, nothing was sent."""


# What pg_dump says -> why that is a matter of the directory, and what to do about it.
_OBSTACLES = {
    r"No space left on device|[Dd]isk quota exceeded": ("the disk of the staging directory became full", "Name another staging_dir"),
    r"out of shared memory": ("the server has no room for the locks of so many workers", "Raise max_locks_per_transaction, lower jobs"),
    r"too many (?:clients|connections)|connection slots are reserved": ("the server has no connection left for a worker", "Lower jobs"),
}


def dump(
    job: LogicalJob,
    pg_dump: PgDump,
    snapshot: Snapshot,
    writer: BackupWriter,
    application_name: str,
    stage: Path | None = None,
    watch: SnapshotWatch | None = None,
) -> Dumped:
    """Dump the snapshot: streamed into every repository, or with `stage` (a path in a private directory) staged there first.

    Raises `Outrun`; `BackupGuardError` when what was staged is not what it should be, or when `watch` has stopped it.
    """
    stops = contextlib.nullcontext if watch is None else watch.stops
    if stage is None:
        return _streamed(job, pg_dump, snapshot, writer, application_name, stops)
    try:
        return _staged(job, pg_dump, snapshot, writer, application_name, stops, stage)
    except _NotStaged as obstacle:
        shutil.rmtree(stage, ignore_errors=True)
        streamed = _streamed(job, pg_dump, snapshot, writer, application_name, stops)
        return dataclasses.replace(streamed, note=f"streamed instead of staged in {stage.parent.parent}: {obstacle}")


def _streamed(job: LogicalJob, pg_dump: PgDump, snapshot: Snapshot, writer: BackupWriter, application_name: str, stops: _Stops) -> Dumped:
    """No temporary copy anywhere."""
    counter = Counter("pg_dump's output", DUMP_HEADER)
    # The library's threads let the counter see what they take; in front of the program it is a stage that moves pipe to pipe.
    counted = packing(job.compression_level, counter) if compress.library_at_hand() else [counter, *packing(job.compression_level)]
    with _pg_dump(job, pg_dump, snapshot, application_name) as program:
        with Pipeline([program, *counted, job.sealer.stage()]) as sealed, stops(sealed.kill):
            try:
                writer.store(f"{CUSTOM_NAME}{compress.SUFFIX}{job.sealer.suffix}", "dump", sealed)
            except LifeboatError as error:
                if program.returncode and not counter.size_bytes and PgDump.was_outrun(program.stderr_tail):
                    raise Outrun(error) from None
                raise
    return Dumped(CUSTOM, counter.size_bytes, lambda: None)


def _staged(
    job: LogicalJob, pg_dump: PgDump, snapshot: Snapshot, writer: BackupWriter, application_name: str, stops: _Stops, stage: Path
) -> Dumped:
    with _pg_dump(job, pg_dump, snapshot, application_name, stage) as program:
        try:
            with Pipeline([program]) as silent, stops(silent.kill):
                silent.finish()
        except LifeboatError as error:
            # Whatever it was that production changed: nothing was sent yet, so another try costs time only.
            if PgDump.was_outrun(program.stderr_tail):
                raise Outrun(error, staged=True) from None
            for said, (what, next_step) in _OBSTACLES.items():
                if re.search(said, program.stderr_tail):
                    if job.format == AUTO:
                        raise _NotStaged(what) from None
                    raise BackupGuardError(
                        f"{what}: {error.what}", str(stage.parent.parent), f"{next_step}, or set format: custom."
                    ) from None
            raise
    check_staged(stage, PgRestore(pg_dump.major, pg_dump.path.parent).contents(stage))

    def send() -> None:
        with Pipeline([tar_stage(stage), *packing(job.compression_level), job.sealer.stage()]) as sealed:
            writer.store(f"{DIRECTORY_NAME}{compress.SUFFIX}{job.sealer.suffix}", "dump", sealed)

    return Dumped(DIRECTORY, sum(size_bytes for _name, size_bytes in staged_files(stage)), send)


def _pg_dump(
    job: LogicalJob, pg_dump: PgDump, snapshot: Snapshot, application_name: str, directory: Path | None = None
) -> AbstractContextManager[ProcessStage]:
    """pg_dump of the snapshot as a stage; its credential lasts as long as the block."""
    argv = pg_dump.argv(
        client_conninfo(job, application_name),
        snapshot_id=snapshot.id,
        # A TRUNCATE that waits for our locks makes pg_dump wait behind it, and would for ever: nobody gains from a long wait.
        lock_wait_timeout_seconds=min(job.lock_timeout_seconds, LOCK_WAIT_SECONDS),
        directory=directory,
        jobs=job.jobs,
        statistics=job.statistics,
    )
    return client_program(job, "pg_dump", argv, ends_with_us=True)
