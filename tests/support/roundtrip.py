# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database through a real pg_dump and a real pg_restore, with evidence taken of it and compared after it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import Check, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.collect import Collector
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.compare import compare
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.digest_plan import DigestPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import Evidence
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import open_connection
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.credentials import client_credentials
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import PgDump, PgRestore
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.restore_errors import RestoreErrors, parse
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import exported_snapshot
from psycopg import sql
from support.clusters import Server


class DumpFailed(Exception):
    """pg_dump gave up, in its own words: production changed under it, which a next attempt may not meet."""


@dataclass(frozen=True)
class Pair:
    """Production, and a throwaway server of the same major version."""

    production: Server
    target: Server


@pytest.fixture(scope="session", params=[15, 18], ids=["pg15", "pg18"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Each of the two major versions in turn."""
    production = request.getfixturevalue(f"postgres{request.param}")
    with Server(request.param) as target:
        yield Pair(production, target)


@dataclass(frozen=True)
class Dump:
    archive: Path
    evidence: Evidence


def dump(
    server: Server,
    dbname: str,
    archive: Path,
    *,
    user: str = "postgres",
    queries: Mapping[str, str] | None = None,
    checks: Sequence[Check] = (),
    budget_seconds: float = 600,
    digests: DigestPlan | None = None,
    meanwhile: Callable[[], None] = lambda: None,
    lock_wait_seconds: float = 300,
) -> Dump:
    """The database as a custom-format archive, with its evidence. `meanwhile` runs between the snapshot and the dump.

    `lock_wait_seconds` is how long pg_dump waits for a table; who wants it to give up says how soon.
    """
    login = server.login(dbname, user)
    with open_connection(login, application_name="test backup") as connection:
        collector = Collector(connection, queries=queries or {}, checks=checks, digests=digests)
        with exported_snapshot(connection) as snapshot, collector.beside(snapshot) as counting:
            meanwhile()
            argv = PgDump(server.major, server.bin_dir).argv(
                login.conninfo("test dump"), snapshot_id=snapshot.id, lock_wait_timeout_seconds=lock_wait_seconds
            )
            with client_credentials(login) as credentials, open(archive, "wb") as output:
                done = subprocess.run(argv, stdout=output, stderr=subprocess.PIPE, env=credentials.env, pass_fds=credentials.pass_fds)
            if done.returncode:
                raise DumpFailed(done.stderr.decode(errors="replace"))
            counting.finish(budget_seconds)
        evidence = collector.evidence(counting, archive.stat().st_size)
    return Dump(archive, Evidence.from_bytes(evidence.to_bytes()))


@contextlib.contextmanager
def restored(target: Server, taken: Dump, *, jobs: int = 2, extra: Sequence[str] = ()) -> Iterator[RestoreErrors]:
    """The archive restored under its own name on another server, with production's roles; dropped after the block."""
    with target.connect() as connection:
        for role in taken.evidence.roles:
            with contextlib.suppress(psycopg.errors.DuplicateObject):
                connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    program = PgRestore(target.major, target.bin_dir)
    argv = program.argv(target.login("template1").conninfo("test restore"), taken.archive, jobs=jobs, create=True, extra=extra)
    try:
        with client_credentials(target.login()) as credentials:
            done = subprocess.run(argv, capture_output=True, env=credentials.env)
        errors = parse(done.stderr.decode(errors="replace"))
        assert (done.returncode == 0) == (errors.count == 0), done.stderr
        yield errors
    finally:
        target.drop_database(taken.evidence.database)


def compared(target: Server, evidence: Evidence) -> dict[str, CheckResult]:
    """The comparisons' answers by name."""
    with open_connection(target.login(evidence.database), application_name="test compare") as connection:
        return {result.name: result for result in compare(evidence, connection)}


def alarms(results: Mapping[str, CheckResult]) -> list[CheckResult]:
    return [result for result in results.values() if result.verdict != "passed"]
