# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dump itself: what pg_dump shows of the snapshot, compressed and sealed into every repository."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils import compress
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job import LogicalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.writer import BackupWriter
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import Counter, Pipeline, ProcessStage
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.credentials import client_credentials
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import PgDump
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import Snapshot

__all__ = ["Dumped", "Outrun", "dump"]

LOCK_WAIT_SECONDS = 10.0
DUMP_HEADER = b"PGDMP"
"""How every custom-format archive begins (src/bin/pg_dump/pg_backup_archiver.c)."""


@dataclass(frozen=True)
class Dumped:
    """A dump that every healthy repository has confirmed: its format, and its bytes before compression."""

    format: str
    plain_bytes: int


class Outrun(Exception):
    """pg_dump ended before its first byte, because something that its snapshot shows was changed or dropped meanwhile."""

    def __init__(self, cause: LifeboatError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def dump(job: LogicalJob, pg_dump: PgDump, snapshot: Snapshot, writer: BackupWriter, application_name: str) -> Dumped:
    """Stream the dump into every repository. No temporary copy anywhere."""
    counter = Counter("pg_dump's output", DUMP_HEADER)
    # A TRUNCATE that waits for our locks makes pg_dump wait behind it, and would for ever: nobody gains from a long wait.
    wait = min(job.lock_timeout_seconds, LOCK_WAIT_SECONDS)
    argv = pg_dump.argv(job.login.conninfo(application_name), snapshot_id=snapshot.id, lock_wait_timeout_seconds=wait)
    with client_credentials(job.login) as credentials:
        program = ProcessStage("pg_dump", argv, env=credentials.env, pass_fds=credentials.pass_fds)
        with Pipeline([program, counter, compress.compressor(job.compression_level), job.sealer.stage()]) as sealed:
            try:
                writer.store(f"database.dump{compress.SUFFIX}{job.sealer.suffix}", "dump", sealed)
            except LifeboatError as error:
                if program.returncode and not counter.size_bytes and PgDump.was_outrun(program.stderr_tail):
                    raise Outrun(error) from None
                raise
    return Dumped("custom", counter.size_bytes)
