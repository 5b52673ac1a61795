# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Back up what belongs to the whole server: roles with their memberships and passwords, and tablespaces.

A dump of a database names roles and holds none. `pg_dumpall --globals-only` goes the same way as a dump: sealed, since it
holds password hashes, with evidence of its own, into every repository, committed by its manifest. Once for a system, not
once for each of its databases.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from ansible_collections.lifeboat.postgres.plugins.module_utils import compress, deps, layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.described import notes_on_signing, signed_manifest, store_evidence
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.instructions import globals_instructions
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job import GLOBALS, LogicalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.reach import client_conninfo, client_program
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.writer import BackupWriter
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import BackupGuardError, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence import facts
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.globals import (
    GlobalsEvidence,
    may_read_passwords,
    read_globals,
    steady,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Artifact, Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import FunctionStage, Pipeline
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import open_connection, server_facts
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import PgDumpAll
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import named
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import CHUNK_BYTES
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

__all__ = ["back_up_globals"]

HEADER = b"--\n-- PostgreSQL database cluster dump\n--\n"
FOOTER = b"--\n-- PostgreSQL database cluster dump complete\n--"
"""A script that was cut between two statements looks like a whole one, but for this."""

# A role may carry a statement_timeout, which ends pg_dumpall; unlike pg_dump it does not reset it (docs/postgres-notes.md#timeouts).
_OPTIONS = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 -c default_transaction_read_only=on"


def back_up_globals(job: LogicalJob, repositories: Sequence[Repository], progress: Callable[[str], None]) -> dict[str, Any]:
    """Take the globals of the server that the job logs in to; the caller holds this host's lock.

    Raises `RepositoryError` with the result when the backup exists, but not in every repository.
    """
    started, clock = now(), time.monotonic()
    ref = layout.BackupRef(job.system, GLOBALS, GLOBALS, layout.new_backup_id(started))
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(open_connection(job.login, application_name=f"lifeboat {ref.backup_id}"))
        server = server_facts(connection)
        pg_dumpall = PgDumpAll(server.major, job.bin_dir, job.inside)
        passwords = may_read_passwords(connection)
        writer = stack.enter_context(BackupWriter(ref, repositories, job.stall_timeout_seconds, job.volume_bytes, progress))
        before = read_globals(connection, passwords)
        script = _Script()
        taken_at = now()
        _dump(job, pg_dumpall, passwords, script, writer, f"lifeboat {ref.backup_id}")
        found, unstable = steady(before, read_globals(connection, passwords))
        evidence = GlobalsEvidence(taken_at, server.version, server.system_identifier, facts.superuser(connection), found, unstable)
        store_evidence(job, writer, evidence.to_bytes())
        progress(f"globals: {len(found.roles)} roles, {len(found.memberships)} memberships, {len(found.tablespaces)} tablespaces")
        notes = [*job.sealer.notes, *pg_dumpall.warnings]
        if not passwords:
            notes.append("the globals hold no passwords: this login may not read pg_authid")
        notes += notes_on_signing(job)

        def manifest(artifacts: Sequence[Artifact], problems: Mapping[str, str]) -> Manifest:
            return signed_manifest(
                job,
                ref,
                server,
                started_at=started,
                snapshot_at=taken_at,
                client_version=pg_dumpall.version,
                database_bytes=0,
                plain_bytes=script.size_bytes,
                artifacts=tuple(artifacts),
                repositories=dict(problems),
                notes=tuple(notes),
                format="plain",
                object_count=found.count,
            )

        def instructions(artifacts: Sequence[Artifact]) -> Mapping[str, bytes]:
            return globals_instructions(ref, artifacts, server.version, format_moment(taken_at), job.sealer.method)

        document = writer.commit(instructions, manifest)
        problems = {delivery.repository: delivery.problem for delivery in writer.deliveries}
    if unstable:
        # Names of roles tell about the system, so this is said here and not in the manifest.
        notes.append(f"globals that changed while they were taken: {named(unstable)}")
    result = {
        "changed": True,
        "backup_id": ref.backup_id,
        "snapshot_at": format_moment(taken_at),
        "passwords": passwords,
        "roles": len(found.roles),
        "size_bytes": document.size_bytes,
        "seconds": round(time.monotonic() - clock, 3),
        "warnings": notes,
    }
    lacking = [name for name, problem in problems.items() if problem]
    if lacking:
        raise RepositoryError(
            f"backup {ref.backup_id} of globals exists, but is not complete in {', '.join(lacking)}",
            "; ".join(problems[name] for name in lacking),
            "The other repositories hold it whole; mend this one and run again.",
            result=result,
        )
    return result


def _dump(job: LogicalJob, pg_dumpall: PgDumpAll, passwords: bool, script: _Script, writer: BackupWriter, application_name: str) -> None:
    conninfo = deps.load("psycopg.conninfo", package="psycopg", debian="python3-psycopg")
    # The program expands a name that looks like a conninfo, so a hostile one is given as what it is.
    database = str(conninfo.make_conninfo(dbname=job.login.dbname))
    argv = pg_dumpall.argv(
        client_conninfo(job, application_name, options=_OPTIONS),
        database,
        passwords=passwords,
        lock_wait_timeout_seconds=job.lock_timeout_seconds,
    )
    with client_program(job, "pg_dumpall", argv) as program:
        with Pipeline([program, script, compress.compressor(job.compression_level), job.sealer.stage()]) as sealed:
            writer.store(f"globals.sql{compress.SUFFIX}{job.sealer.suffix}", "dump", sealed)


class _Script(FunctionStage):
    """Passes a script of pg_dumpall on, counts it, and refuses one that does not begin and end as a whole one does."""

    def __init__(self) -> None:
        super().__init__("pg_dumpall's script", self._check)
        self.size_bytes = 0

    def _check(self, source: BinaryIO, target: BinaryIO) -> None:
        head, tail = b"", b""
        while True:
            chunk = source.read(CHUNK_BYTES)
            if not chunk:
                break
            target.write(chunk)
            self.size_bytes += len(chunk)
            head = (head + chunk)[: len(HEADER)] if len(head) < len(HEADER) else head
            tail = (tail + chunk)[-1024:]
        if head != HEADER or not tail.rstrip().endswith(FOOTER):
            raise BackupGuardError(
                f"pg_dumpall's script is not whole: {self.size_bytes} bytes without its {'last' if head == HEADER else 'first'} comment",
                "globals",
                "Nothing was kept; run again.",
            )
