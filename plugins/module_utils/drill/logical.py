# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore a dump into the throwaway server, and say how that went.

The archive makes its own database, from template0, with its encoding, locale and settings. pg_restore goes on after an
error, so that all of them are counted; one is enough to fail the drill.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.target import Target
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError, RestoreError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.cluster import Cluster
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.restore_errors import (
    NEXT_STEPS,
    RestoreErrors,
    RestoreIssue,
    parse,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = [
    "HOST_KINDS",
    "analyze",
    "available_extensions",
    "create_roles",
    "has_statistics",
    "judge",
    "log_in",
    "restore",
    "restored_database",
    "run_program",
    "session",
]

_FIRST_USER_OID = 16384  # FirstNormalObjectId (src/include/access/transam.h): initdb's own databases lie below it
_KEPT_LINES = 20_000
_KEPT_CHARACTERS = 4000
_SHOWN_ISSUES = 5

HOST_KINDS = ("disk", "locale", "library", "extension", "connection")
"""Kinds of errors that say what the drill host lacks, and nothing about the backup."""

# A database may carry default_transaction_read_only or a timeout (ALTER DATABASE … SET), which would end its own restore.
_OPTIONS = "-c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0"


def create_roles(cluster: Cluster, names: Iterable[str]) -> list[str]:
    """Make the roles that own things in production or are granted something, without any right to log in.

    Returns those that were not there and have been made.
    """
    sql = deps.load("psycopg.sql", package="psycopg", debian="python3-psycopg")
    with cluster.connect("template1", "lifeboat drill roles") as conn, database_errors("creating roles on the throwaway server"):
        known = {row[0] for row in conn.execute("SELECT rolname FROM pg_catalog.pg_roles").fetchall()}
        # Names that begin with pg_ are PostgreSQL's own: those of another version are not there, and cannot be made.
        missing = [name for name in sorted(set(names) - known) if not name.startswith("pg_")]
        for name in missing:
            conn.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
    return missing


def available_extensions(cluster: Cluster) -> list[str]:
    """The extensions that the throwaway server could create."""
    with cluster.connect("template1", "lifeboat drill extensions") as conn, database_errors("the throwaway server"):
        return [row[0] for row in conn.execute("SELECT name FROM pg_catalog.pg_available_extensions").fetchall()]


def restore(target: Target, archive: Path, jobs: int, owners: bool = True) -> RestoreErrors:
    """Restore the whole archive in parallel; every error comes back counted and sorted by what to do about it.

    Without `owners`, nothing is given to the roles of production, since they are not known. Raises `DatabaseError`.
    """
    cluster = target.running
    with cluster.connect("template1", "lifeboat drill restore") as conn, database_errors("the throwaway server"):
        # initdb's own database makes room: production's may be called so, too.
        conn.execute("DROP DATABASE IF EXISTS postgres WITH (FORCE)")
    conninfo = cluster.login("template1").conninfo(f"lifeboat {target.workspace.drill_id}", options=_OPTIONS)
    argv = target.programs.pg_restore.argv(
        conninfo,
        archive,
        jobs=jobs,
        create=True,
        statistics=True,
        subscriptions=target.confinement.isolated,
        extra=[] if owners else ["--no-owner", "--no-privileges"],
    )
    code, lines = run_program(target, argv, [archive.parent])
    errors = parse(lines)
    if code in (0, 1) and (code == 0 or errors.count):
        return errors
    ended = f"pg_restore was killed by signal {-code}" if code < 0 else f"pg_restore ended with exit status {code}"
    said = clean_line("\n".join(lines[-5:]), 300)
    issue = RestoreIssue("other", f"{ended}: {said}" if said else ended)
    return RestoreErrors((*errors.issues, issue), errors.ignored, errors.warnings)


def judge(errors: RestoreErrors) -> CheckResult:
    """The restore as a check: passed without any error. What the drill host lacked makes it unverified, not failed."""
    expected = "a restore without errors"
    if not errors.count:
        return CheckResult("restore", PASSED, expected, "no errors", "; ".join(errors.warnings[:_SHOWN_ISSUES]))
    first = errors.issues[0] if errors.issues else RestoreIssue("other", "")
    shown = [f"{issue.message} ({issue.entry})" if issue.entry else issue.message for issue in errors.issues[:_SHOWN_ISSUES]]
    if errors.count > len(shown):
        shown.append(f"and {errors.count - len(shown)} more")
    found = f"{many(errors.count, 'error')}: {first.message[:200]}"
    detail = f"{NEXT_STEPS[first.kind]} {'; '.join(message[:500] for message in shown)}"
    # The first error decides: what follows a full disk or a missing locale is its consequence.
    return CheckResult("restore", UNVERIFIED if first.kind in HOST_KINDS else FAILED, expected, found, detail)


def restored_database(target: Target) -> str:
    """The database that the restore made; raises `RestoreError` when it made none."""
    with target.running.connect("template1", "lifeboat drill") as conn, database_errors("the throwaway server"):
        rows = conn.execute("SELECT datname FROM pg_catalog.pg_database WHERE oid >= %s", [_FIRST_USER_OID]).fetchall()
    if len(rows) != 1:
        raise RestoreError(f"the restore made {many(len(rows), 'database')} instead of one")
    return str(rows[0][0])


def has_statistics(target: Target, database: str) -> bool:
    """Whether the restore brought the planner's statistics (18 and newer, when they were asked for): nothing else makes them here."""
    with session(target, database, "lifeboat drill statistics") as conn, database_errors("the throwaway server"):
        query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_statistic WHERE starelid >= %s)"
        return bool(conn.execute(query, [_FIRST_USER_OID]).fetchall()[0][0])


def analyze(target: Target, database: str, jobs: int) -> str:
    """Collect the planner's statistics, which this dump does not carry; return what went wrong, "" when nothing did."""
    cluster = target.running
    conninfo = cluster.login(database).conninfo(f"lifeboat {target.workspace.drill_id}", options=_OPTIONS)
    code, lines = run_program(target, target.programs.vacuumdb.argv(conninfo, jobs), [])
    return "" if code == 0 else f"collecting statistics failed: {clean_line(chr(10).join(lines[-5:]), 300)}"


def log_in(target: Target, database: str) -> None:
    """A login like any other, with all that the database does at one; raises `RestoreError` when it is refused."""
    try:
        with target.running.connect(database, "lifeboat drill service") as conn, database_errors("a first statement"):
            conn.execute("SELECT 1")
    except DatabaseError as error:
        raise RestoreError(f"the restored database lets nobody in: {error.what}", f"database {database!r}") from None


def session(target: Target, database: str, application_name: str) -> Connection[Any]:
    """A session for checks: what the restored database does at a login (event triggers, 17 and newer) is left out."""
    quiet = {"options": "-c event_triggers=off"} if target.running.major >= 17 else {}
    return target.running.connect(database, application_name, **quiet)


def run_program(target: Target, argv: list[str], readable: list[Path]) -> tuple[int, list[str]]:
    """Run a client program to its end; its exit status and what it said, bounded."""
    process = target.run(argv, readable)
    stderr = cast("IO[str]", process.stderr)
    try:
        lines = list(_bounded(stderr))
        code = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        stderr.close()
    target.running.check_running("restoring")
    return code, lines


def _bounded(stream: IO[str]) -> Iterator[str]:
    """The first lines, cut to a sane length, and the very last ones, which hold pg_restore's own count."""
    last: list[str] = []
    kept = 0
    while line := stream.readline(_KEPT_CHARACTERS):
        if kept < _KEPT_LINES:
            kept += 1
            yield line.rstrip("\n")
        else:
            last = [*last[-4:], line.rstrip("\n")]
    yield from last
