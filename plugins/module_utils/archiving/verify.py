# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proof that WAL arrives: a segment with a record of ours is closed, and has to be found where it belongs, with its digest.

A restore point first: `pg_switch_wal()` without anything new since the last one closes nothing and proves nothing.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.job import ArchivingJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.local import LocalServer
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.presence import (
    Presence,
    check_presence,
    file_digest,
    presence_for,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.state import ServerState
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, ConfigurationError, RepositoryError, WalConflict
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors, one_row, psycopg
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["check_verify", "verify"]

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 1.0


@dataclass(frozen=True)
class _Proof:
    restore_point: str
    lsn: str
    segment: str
    digest: str


def check_verify(job: ArchivingJob, state: ServerState) -> None:
    """Raise `ConfigurationError`, before anything is changed, for what could not be verified afterwards."""
    if not job.verify:
        return
    if state.in_recovery:
        raise ConfigurationError("this server is a standby", "verify", "Only the primary can write a restore point: verify there.")
    if job.rehearsed and job.method == "native" and not (job.repositories or job.job_file.exists()):
        return  # as the launchers: written by a task that has not run, either
    check_presence(job)


def verify(job: ArchivingJob, connection: Connection[Any], state: ServerState, server: LocalServer | None) -> dict[str, Any]:
    """What was proven, as the module's result `verification`.

    Raises `ArchiveError` when the segment did not arrive within the limit, with what the server says about it.
    """
    begun = time.monotonic()
    with presence_for(job, connection, state, server) as presence:
        proof = _close_segment(connection, state, presence)
        problem = _wait(job, connection, presence, proof, begun + job.verify_timeout_seconds)
        found = {
            "segment": proof.segment,
            "restore_point": proof.restore_point,
            "lsn": proof.lsn,
            "digest": proof.digest,
            "seconds": round(time.monotonic() - begun, 3),
            "by": presence.by,
            "places": list(presence.places),
        }
    if problem is None:
        return found
    _fail(job, connection, server, found, problem)
    return found


def _close_segment(connection: Connection[Any], state: ServerState, presence: Presence) -> _Proof:
    name = f"lifeboat verify {secrets.token_hex(4)}"
    with database_errors("verify", "A restore point and a switch need a superuser, or EXECUTE on these functions."):
        row = connection.execute(
            "SELECT p.lsn::text, pg_catalog.pg_walfile_name(p.lsn) FROM pg_catalog.pg_create_restore_point(%s) AS p(lsn)", (name,)
        ).fetchone()
        if row is None:
            raise ArchiveError("the server made no restore point", "verify")
        connection.execute("SELECT pg_catalog.pg_switch_wal()")
        # Now, while the server certainly has it.
        digest = file_digest(connection, f"pg_wal/{row[1]}", state.segment_bytes, "sha1" if presence.by == "sha1" else "sha256")
    return _Proof(name, row[0], row[1], digest)


def _wait(job: ArchivingJob, connection: Connection[Any], presence: Presence, proof: _Proof, deadline: float) -> str | None:
    """None once the segment is everywhere it has to be; else what was missing when the time was over."""
    pause = _FIRST_PAUSE_SECONDS
    while True:
        if not presence.after_archiver or _is_archived(connection, proof.segment):
            try:
                problem = presence.missing(proof.segment, proof.digest)
            except WalConflict:
                raise
            except RepositoryError as error:
                problem = str(error)
            if not problem:
                return None
        else:
            problem = "the archiver has not handed it over"
        if time.monotonic() >= deadline:
            return problem
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _is_archived(connection: Connection[Any], segment: str) -> bool:
    """Whether archive_command has ended with 0 for it: it is the last one, or an older one of the same timeline."""
    with database_errors():
        last = one_row(connection, "SELECT coalesce(last_archived_wal, '') FROM pg_catalog.pg_stat_archiver")[0]
    # .history and .backup come between segments; their first 24 digits compare, those of a history do not.
    return last[:8] == segment[:8] and len(last) >= 24 and last[:24] >= segment


def _fail(job: ArchivingJob, connection: Connection[Any], server: LocalServer | None, found: dict[str, Any], problem: str) -> None:
    archiver = _archiver(connection)
    oldest = _oldest_ready(connection)
    log = _log_lines(connection, server)
    words = [f"{found['segment']} did not arrive within {duration(job.verify_timeout_seconds)}: {problem}"]
    words.append(_receiver(job, connection) if job.method == "receive" else archiver["words"])
    if oldest:
        words.append(f"{oldest['waiting']} files wait, the oldest is {oldest['name']}, for {duration(oldest['seconds'])}")
    if log:
        words.append(f"the server's log says: {' / '.join(log)}")
    elif job.method != "receive":
        words.append("the server's log says nothing about archiving, or cannot be read from here")
    raise ArchiveError(
        "; ".join(words),
        f"method {job.method or 'archive_library'}",
        "Nothing is lost while the server keeps it: mend the cause before pg_wal is full, and verify again.",
        {"verification": {**found, "problem": problem, "archiver": archiver, "oldest_ready": oldest, "log": log}},
    )


def _archiver(connection: Connection[Any]) -> dict[str, Any]:
    with database_errors():
        row = one_row(
            connection,
            "SELECT archived_count, coalesce(last_archived_wal, ''), failed_count, coalesce(last_failed_wal, ''), last_failed_time::text,"
            " EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE backend_type = 'archiver') FROM pg_catalog.pg_stat_archiver",
        )
    archived, last, failed, last_failed, failed_at, runs = row
    words = f"pg_stat_archiver counts {failed} failures"
    if last_failed:
        words += f", the last of {last_failed} at {failed_at}"
    words += f", and has archived {last or 'nothing'} last"
    if not failed:
        words += " (a command that ends above 125 is not counted)"
    if not runs:
        words += "; no archiver process runs"
    return {
        "archived_count": archived, "last_archived_wal": last, "failed_count": failed,
        "last_failed_wal": last_failed, "last_failed_time": failed_at, "words": words,
    }  # fmt: skip


def _receiver(job: ArchivingJob, connection: Connection[Any]) -> str:
    with database_errors():
        rows = connection.execute(
            "SELECT slot_name FROM pg_catalog.pg_replication_slots WHERE active AND slot_name = ANY (%s)", (list(job.slots),)
        ).fetchall()
    if not rows:
        return f"nobody receives from {' or '.join(job.slots)}: start `lifeboat wal receive`"
    return f"somebody receives from {rows[0][0]}: look at the receiver's status"


def _oldest_ready(connection: Connection[Any]) -> dict[str, Any] | None:
    with database_errors("pg_ls_archive_statusdir"):
        row = one_row(
            connection,
            "SELECT count(*), (array_agg(name ORDER BY modification, name))[1],"
            " extract(epoch FROM pg_catalog.clock_timestamp() - min(modification))::float8"
            " FROM pg_catalog.pg_ls_archive_statusdir() WHERE name LIKE '%.ready'",
        )
    return {"waiting": row[0], "name": row[1][: -len(".ready")], "seconds": round(row[2], 1)} if row[0] else None


def _log_lines(connection: Connection[Any], server: LocalServer | None) -> list[str]:
    """What the log says about archiving last: from the collector's file through the server, else from its standard error."""
    lines: Sequence[str] = []
    try:
        row = one_row(
            connection,
            "SELECT pg_catalog.pg_read_file(f, greatest(0, (pg_catalog.pg_stat_file(f)).size - 65536), 65536)"
            " FROM pg_catalog.pg_current_logfile() AS f WHERE f IS NOT NULL UNION ALL SELECT ''",
        )
        lines = row[0].splitlines()
    except (psycopg().Error, ArchiveError):
        pass  # not collected, not readable, not UTF-8: then the other way
    if not lines and server is not None:
        lines = server.log_lines()
    last = max((index for index, line in enumerate(lines) if re.search(r"archiv", line, re.IGNORECASE)), default=None)
    return [] if last is None else [re.sub(r"\s+", " ", line).strip()[:300] for line in lines[max(0, last - 3) : last + 2]]
