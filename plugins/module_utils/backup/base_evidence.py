# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence beside a base backup: what databases were at positions of the log behind it, so that a recovery to there can be compared.

It is taken when the base backup has ended, by what takes that of dumps. The backup is one without it: what keeps evidence from being taken
is found before the copy begins where it lasts, and said afterwards where it does not.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.described import store_evidence
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_job import EvidenceWanted, PhysicalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.writer import BackupWriter
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.collect import Collector
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.counts import count_rows, partition_trees
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import Evidence
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.extensions import configuration_queries
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import encode_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import EvidencePoint
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors, one_row, open_connection, psycopg
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.databases import databases_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.pooler import refuse_pooler
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.position import (
    Positioned,
    later_snapshot,
    positioned_snapshot,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import Snapshot, look_first
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Gathered", "check_evidence", "gather", "leave_segment"]


@dataclass(frozen=True)
class Gathered:
    """Where evidence was taken, how far the log has to be archived for that (None: as it comes), and what the operator should know."""

    points: tuple[EvidencePoint, ...] = ()
    until: Lsn | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def check_evidence(job: PhysicalJob) -> tuple[str, ...]:
    """The databases of which evidence will be taken. Raises what would keep it from being taken every time: `ConfigurationError` for
    one that is not there, `DatabaseError`, `EvidenceError`."""
    wanted = job.evidence
    if wanted is None:
        return ()
    found = {item.name: item.left_out for item in databases_of(job.login)}
    names = tuple(name for name, left_out in found.items() if not left_out) if wanted.all_databases else wanted.databases
    missing = [name for name in names if name not in found]
    if missing:
        raise ConfigurationError(
            f"there is no database {missing[0]!r}", "evidence.databases", f"The server has: {', '.join(name for name in found)}."
        )
    for name in names:
        login = job.login.for_database(name)
        with open_connection(login, application_name="lifeboat look") as connection:
            refuse_pooler(connection, login)
            look_first(connection)
    return names


def gather(
    job: PhysicalJob,
    writer: BackupWriter,
    names: Sequence[str],
    connection: Connection[Any],
    stop_lsn: Lsn,
    from_standby: bool,
    progress: Callable[[str], None],
) -> Gathered:
    """Take and store evidence of these databases; then, as `connection` may, leave the segment of the last position.

    `stop_lsn` is where the base backup ends. Raises `RepositoryError`; whatever else stands in the way is a note.
    """
    if job.evidence is None or not names:
        return Gathered()
    began = time.monotonic()
    points, notes = [], []
    for name in names:
        try:
            with database_errors():
                (recovering,) = one_row(connection, "SELECT pg_catalog.pg_is_in_recovery()")
            if recovering != from_standby:
                raise ConfigurationError("the standby was promoted meanwhile")
            evidence, positioned = _taken(job, job.evidence, name)
            if positioned.lsn < stop_lsn:
                raise ConfigurationError(f"it would lie at {positioned.lsn}, before the base backup ended")
        except LifeboatError as error:
            notes.append(f"no evidence of database {name!r} was taken: {error}")
            continue
        artifact = store_evidence(job, writer, evidence.to_bytes(), f"evidence-{encode_name(name)}.json")
        point = EvidencePoint(name, artifact.name, str(positioned.lsn), positioned.exact, positioned.how)
        points.append(point)
        progress(f"evidence of database {name!r} at {point.lsn}: {point.how}")
        if not point.exact:
            notes.append(f"evidence of database {name!r} at {point.lsn} is {point.how}")
        notes += [f"database {name!r}: {note}" for note in evidence.notes]
    until, why = leave_segment(connection) if points else (None, "")
    return Gathered(tuple(points), until, (*notes, *([why] if why else [])), time.monotonic() - began)


def leave_segment(connection: Connection[Any]) -> tuple[Lsn | None, str]:
    """Write a record behind the position, without which a recovery would not know that it has come there, and leave the segment, so that
    it is archived now. Where it ends; None, with the reason, where that has to be left to the server."""
    later = "a drill to its evidence has to wait until the segment of that position is archived, by archive_timeout at the latest"
    try:
        (recovering,) = one_row(connection, "SELECT pg_catalog.pg_is_in_recovery()")
        if recovering:
            return None, f"a standby cannot end a segment: {later}"
        connection.execute("SELECT pg_catalog.pg_logical_emit_message(false, 'lifeboat', 'evidence')")
        return Lsn.parse(one_row(connection, "SELECT pg_catalog.pg_switch_wal()::text")[0]), ""
    except psycopg().errors.InsufficientPrivilege:
        return None, f"the login may not call pg_switch_wal: {later}"
    except psycopg().Error as error:
        return None, f"the segment could not be ended ({' '.join(str(error).split())[:200]}): {later}"


def _taken(job: PhysicalJob, wanted: EvidenceWanted, name: str) -> tuple[Evidence, Positioned]:
    login = job.login.for_database(name)
    with open_connection(login, application_name="lifeboat evidence") as connection:
        collector = Collector(connection, queries=configuration_queries(connection), checks=wanted.checks, digests=wanted.digests)
        with positioned_snapshot(connection, login, within_seconds=wanted.within_seconds) as positioned:
            with collector.beside(positioned.snapshot) as counting:
                counting.finish(wanted.budget_seconds)
        evidence = collector.evidence(counting, 0)
        if not positioned.exact:
            with later_snapshot(connection, positioned) as later:
                evidence = dataclasses.replace(evidence, later_rows=_later_rows(later, wanted.budget_seconds))
        return evidence, positioned


def _later_rows(snapshot: Snapshot, budget_seconds: float) -> dict[str, int]:
    """The rows that the second snapshot shows, of as many tables as there is time for."""
    until = time.monotonic() + budget_seconds
    with database_errors():
        trees = partition_trees(snapshot.connection)
        counted = count_rows(snapshot.connection, snapshot.tables, trees, lambda: time.monotonic() > until)
    return {table.label: table.rows for table in counted if table.rows is not None}
