# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server says of its log and its archiver: how far it is, what waits, what it believes to be archived."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import (
    Login,
    database_errors,
    one_row,
    open_connection,
    server_facts,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn, segment_name

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Archiver", "Position", "ServerWal", "ask_server", "server_position", "server_wal"]

FIRST_RECORD_BYTES = 40
"""The header of a segment's first page: a position up to here has no record of the segment before it."""

_ARCHIVER = (
    "SELECT archived_count, last_archived_wal, last_archived_time, failed_count, last_failed_wal, last_failed_time"
    " FROM pg_catalog.pg_stat_archiver"
)
_POSITION = (
    "SELECT CASE WHEN pg_catalog.pg_is_in_recovery()"
    " THEN COALESCE(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())"
    " ELSE pg_catalog.pg_current_wal_insert_lsn() END::text,"
    # pg_walfile_name speaks of the writing timeline, and is refused on a standby.
    " CASE WHEN pg_catalog.pg_is_in_recovery() THEN (SELECT timeline_id::bigint FROM pg_catalog.pg_control_checkpoint())"
    " ELSE ('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::bigint END,"
    " pg_catalog.clock_timestamp(), pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))"
)
_SETTINGS = (
    "SELECT pg_catalog.current_setting('archive_mode'), pg_catalog.current_setting('wal_level'),"
    " (SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'archive_timeout'),"
    " pg_catalog.has_function_privilege('pg_catalog.pg_ls_archive_statusdir()', 'EXECUTE')"
)


@dataclass(frozen=True)
class Position:
    """How far a server's log is: written on a primary, received on a standby; at `asked_at` by its own clock."""

    lsn: Lsn
    timeline: int
    asked_at: dt.datetime
    segment_bytes: int


@dataclass(frozen=True)
class Archiver:
    """pg_stat_archiver. It does not count a command that ended above 125 or by a signal: look at the oldest waiting file."""

    archived_count: int
    last_archived_wal: str
    last_archived_time: dt.datetime | None
    failed_count: int
    last_failed_wal: str
    last_failed_time: dt.datetime | None


@dataclass(frozen=True)
class ServerWal:
    """The server at `asked_at`, by its own clock. `waiting` are files that are finished and not archived, `done` those that
    the archiver was told are; each with when it was finished. Both are None where the login may not look (`pg_monitor` may).
    """

    system_identifier: str
    version_num: int
    standby: bool
    timeline: int
    lsn: Lsn
    asked_at: dt.datetime
    segment_bytes: int
    archive_mode: str
    wal_level: str
    archive_timeout_seconds: int
    archiver: Archiver
    waiting: Mapping[str, dt.datetime] | None = field(default=None)
    done: Mapping[str, dt.datetime] | None = field(default=None)

    @property
    def current_segment(self) -> int:
        """The number of the segment that is being written."""
        return self.lsn.segment(self.segment_bytes)

    @property
    def current_is_empty(self) -> bool:
        """Whether nothing was written since the last finished segment."""
        return self.lsn.value % self.segment_bytes <= FIRST_RECORD_BYTES

    @property
    def oldest_waiting(self) -> tuple[str, dt.datetime] | None:
        return min(self.waiting.items(), key=lambda item: (item[1], item[0])) if self.waiting else None

    def to_document(self) -> dict[str, Any]:
        """Plain data for results."""
        oldest = self.oldest_waiting
        archiver = {name: format_moment(value) if isinstance(value, dt.datetime) else value for name, value in vars(self.archiver).items()}
        return {
            "system_identifier": self.system_identifier,
            "version_num": self.version_num,
            "standby": self.standby,
            "timeline": self.timeline,
            "lsn": str(self.lsn),
            "segment": segment_name(self.timeline, self.current_segment, self.segment_bytes),
            "segment_bytes": self.segment_bytes,
            "archive_mode": self.archive_mode,
            "wal_level": self.wal_level,
            "archive_timeout_seconds": self.archive_timeout_seconds,
            "archiver": archiver,
            "waiting": None if self.waiting is None else len(self.waiting),
            "oldest_waiting": None
            if oldest is None
            else {
                "name": oldest[0],
                "since": format_moment(oldest[1]),
                "age_seconds": round((self.asked_at - oldest[1]).total_seconds(), 3),
            },
        }


def ask_server(login: Login) -> ServerWal:
    """Log in and ask; raises `DatabaseError`, `MissingTool`."""
    with open_connection(login, application_name="lifeboat wal info") as connection:
        return server_wal(connection)


def server_position(connection: Connection[Any]) -> Position:
    """How far the log is now; raises `DatabaseError`."""
    with database_errors("the state of the log"):
        lsn, timeline, asked_at, segment_bytes = one_row(connection, _POSITION)
    if lsn is None:
        raise DatabaseError("the standby has not received any log yet", next_step="Ask its primary, or wait.")
    return Position(Lsn.parse(lsn), int(timeline), asked_at.astimezone(dt.timezone.utc), int(segment_bytes))


def server_wal(connection: Connection[Any]) -> ServerWal:
    """What the server says now; raises `DatabaseError`."""
    facts = server_facts(connection)
    position = server_position(connection)
    with database_errors("the archiver"):
        archive_mode, wal_level, archive_timeout, may_look = one_row(connection, _SETTINGS)
        archiver = one_row(connection, _ARCHIVER)
        files = None
        if may_look:
            rows = connection.execute("SELECT name, modification FROM pg_catalog.pg_ls_archive_statusdir()").fetchall()
            files = [(str(name), moment.astimezone(dt.timezone.utc)) for name, moment in rows]
    return ServerWal(
        system_identifier=facts.system_identifier,
        version_num=facts.version_num,
        standby=facts.in_recovery,
        timeline=position.timeline,
        lsn=position.lsn,
        asked_at=position.asked_at,
        segment_bytes=position.segment_bytes,
        archive_mode=archive_mode,
        wal_level=wal_level,
        archive_timeout_seconds=archive_timeout,
        archiver=Archiver(archiver[0], archiver[1] or "", archiver[2], archiver[3], archiver[4] or "", archiver[5]),
        waiting=None if files is None else {name[:-6]: moment for name, moment in files if name.endswith(".ready")},
        done=None if files is None else {name[:-5]: moment for name, moment in files if name.endswith(".done")},
    )
