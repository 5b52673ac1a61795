# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Can this standby hold a snapshot for as long as a dump takes?

On a standby, replay goes before queries: a row that the primary's VACUUM removed, or a lock that it took, cancels whoever
needs the old state. A standby keeps one for a dump when it tells the primary what it still needs (hot_standby_feedback),
when replay waits without end (max_standby_streaming_delay = -1), or when replay is paused (docs/postgres-notes.md#standbys).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors, one_row

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Standby", "conflict", "standby_that_holds", "state_moment"]

_NEXT_STEP = (
    "Set hot_standby_feedback = on there (and let it stream from the primary), or max_standby_streaming_delay = -1,"
    " or pause replay while the backup runs; or log in to the primary."
)


@dataclass(frozen=True)
class Standby:
    """A standby that holds a snapshot, and why: for the notes of a backup."""

    holds: str

    @property
    def note(self) -> str:
        return f"taken from a standby, which holds its snapshot by {self.holds}"


def standby_that_holds(connection: Connection[Any]) -> Standby | None:
    """None for a primary. Raises `DatabaseError` for a standby that may cancel a dump, or that has unlogged tables."""
    with database_errors():
        if not one_row(connection, "SELECT pg_catalog.pg_is_in_recovery()")[0]:
            return None
        feedback, streaming, archive, paused, receivers = one_row(
            connection,
            "SELECT pg_catalog.current_setting('hot_standby_feedback')::bool, pg_catalog.current_setting('max_standby_streaming_delay'),"
            " pg_catalog.current_setting('max_standby_archive_delay'), pg_catalog.pg_is_wal_replay_paused(),"
            " (SELECT count(*) FROM pg_catalog.pg_stat_wal_receiver WHERE pid IS NOT NULL)",
        )
        unlogged = connection.execute(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'S') AND c.relpersistence = 'u' ORDER BY 1 LIMIT 10"
        ).fetchall()
    if unlogged:
        raise DatabaseError(
            "the server is a standby, and the rows of unlogged tables are not there",
            ", ".join(row[0] for row in unlogged),
            "Log in to the primary, or make them logged.",
        )
    if paused:
        return Standby("paused replay")
    if streaming == "-1" and (archive == "-1" or receivers):
        return Standby("max_standby_streaming_delay = -1")
    if feedback and receivers:
        return Standby("hot_standby_feedback")
    what = "the server is a standby that may cancel a dump at any time"
    if feedback:
        what += ": hot_standby_feedback is on, but it does not stream from the primary now"
    raise DatabaseError(what, next_step=_NEXT_STEP)


def state_moment(connection: Connection[Any], moment: dt.datetime) -> dt.datetime:
    """Of which moment a standby's snapshot is the state: `moment` when all that was received is replayed, else that of the
    last commit that is. To be asked right after the snapshot, in its transaction."""
    replayed, behind = one_row(
        connection,
        "SELECT pg_catalog.pg_last_xact_replay_timestamp(), pg_catalog.pg_last_wal_receive_lsn() IS NULL"
        " OR pg_catalog.pg_last_wal_receive_lsn() > pg_catalog.pg_last_wal_replay_lsn()",
    )
    return replayed if behind and replayed is not None else moment


def conflict(said: str) -> DatabaseError | None:
    """What to say when replay cancelled a statement or ended a session, None for any other error."""
    if "conflict with recovery" not in said:
        return None
    return DatabaseError("the standby's replay cancelled the backup: what it needed was changed on the primary", said[-300:], _NEXT_STEP)
