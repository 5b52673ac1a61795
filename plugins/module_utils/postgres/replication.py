# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""May this login take a base backup, and what of the server decides how? Asked before anything is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError, LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login, database_errors, one_row, psycopg
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.faults import connection_fault

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["BaseSettings", "base_fault", "base_settings", "identify", "lacks_summaries"]

_NO_RIGHT = r"(?:must be superuser or replication role|permission denied to start WAL sender|REPLICATION attribute)"
_GRANT = "ALTER ROLE … REPLICATION, or name another login_user."

# What pg_basebackup passes on of the server -> what that means, and the next step.
_FAULTS: tuple[tuple[str, str, str], ...] = (
    (_NO_RIGHT, "the login may not take base backups: its role lacks REPLICATION", _GRANT),
    (
        r"no pg_hba\.conf entry for replication",
        "the server has no pg_hba.conf entry that lets this login replicate",
        "Add a line with `replication` in place of the database, and reload the server.",
    ),
    (
        r"exceeds max_wal_senders|max_wal_senders",
        "the server has no WAL sender left for a backup",
        "Raise max_wal_senders, or end what holds them (pg_stat_replication).",
    ),
    (
        r"standby was promoted during|was promoted during online backup",
        "the standby was promoted while it was backed up, so the backup cannot be used",
        "Run again: it is the primary now, or name another standby.",
    ),
    (
        r"WAL generated with .?full_page_writes=off",
        "the primary ran with full_page_writes off while its standby was backed up, so the backup cannot be used",
        "Set full_page_writes = on at the primary, or take the backup there.",
    ),
    (
        r"WAL segment \S+ has already been removed|could not find any WAL files|could not find WAL file",
        "the server removed log that belongs into the backup before the backup had come to it",
        "Raise wal_keep_size, or leave out wal: included and archive the log.",
    ),
    (
        r"checksum (?:verification failed|error)|checksum mismatch|invalid page",
        "data files of the server have damaged pages: their checksums do not hold",
        "Nothing was kept. Look at the server's log for the files; an older backup is the way back.",
    ),
    (
        r"can only write single tablespace to stdout",
        "a tablespace was made while the backup began",
        "Run again: it is staged then.",
    ),
    (r"terminating connection due to administrator command", "somebody ended the backup's session at the server", "Run again."),
)
_NO_SUMMARIES = re.compile(r"WAL summar|summariz|manifest contains timeline|incremental", re.IGNORECASE)


@dataclass(frozen=True)
class BaseSettings:
    """What decides how a base backup is taken.

    `tablespaces` are those beside the two that every server has; `database_bytes` the databases that the login may look at, or 0.
    `summarizes`: the server keeps what an incremental backup needs (17 and newer).
    """

    segment_bytes: int
    tablespaces: int
    database_bytes: int
    summarizes: bool
    archive_mode: str
    in_recovery: bool


def base_settings(connection: Connection[Any]) -> BaseSettings:
    """Raises `DatabaseError` for a server that cannot be backed up so."""
    with database_errors():
        wal_level, senders, segment, archive_mode, summarize, recovering, tablespaces, size = one_row(
            connection,
            "SELECT pg_catalog.current_setting('wal_level'), pg_catalog.current_setting('max_wal_senders')::int,"
            " (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size'),"
            " pg_catalog.current_setting('archive_mode'), pg_catalog.current_setting('summarize_wal', true),"
            " pg_catalog.pg_is_in_recovery(),"
            " (SELECT pg_catalog.count(*) FROM pg_catalog.pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')"
            "   AND pg_catalog.pg_tablespace_location(oid) !~ '^pg_tblspc/'),"
            " (SELECT coalesce(sum(pg_catalog.pg_database_size(oid)), 0)::bigint FROM pg_catalog.pg_database"
            "   WHERE pg_catalog.has_database_privilege(oid, 'CONNECT'))",
        )
    if wal_level == "minimal":
        raise DatabaseError("wal_level is minimal, which allows no base backup", "", "Set wal_level = replica and restart the server.")
    if not senders:
        raise DatabaseError("max_wal_senders is 0, which allows no base backup", next_step="Raise it and restart the server.")
    return BaseSettings(segment, tablespaces, size, summarize == "on", archive_mode, recovering)


def identify(login: Login, application_name: str) -> str:
    """The server's system identifier, asked over a replication connection: so this login may take base backups.

    Raises `DatabaseError` that says what it lacks.
    """
    library = psycopg()
    secret = {"password": login.password} if login.password else {}
    try:
        conninfo = login.conninfo(application_name, replication="true")
        connection = library.Connection.connect(conninfo, autocommit=True, **secret)
    except library.Error as error:
        raise base_fault(str(error)) or connection_fault(error, login.place, login.user, login.dbname) from None
    try:
        with database_errors(login.place):
            row = connection.execute("IDENTIFY_SYSTEM").fetchone()
    finally:
        connection.close()
    if row is None:
        raise DatabaseError("the server did not identify itself", login.place)
    # A replication connection need not have an encoding; then texts come as bytes.
    return row[0].decode() if isinstance(row[0], bytes) else str(row[0])


def base_fault(said: str) -> LifeboatError | None:
    """What a message of the server means for a base backup, None for one that is not known."""
    for pattern, what, next_step in _FAULTS:
        if re.search(pattern, said):
            return DatabaseError(what, said.strip().rpartition("\n")[2][-300:], next_step)
    return None


def lacks_summaries(said: str) -> bool:
    """Whether an incremental backup failed for want of what it builds on: a full one may succeed."""
    return _NO_SUMMARIES.search(said) is not None
