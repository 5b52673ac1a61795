# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A beat: the moment, written into the database now and then, so that a recovery can tell exactly how much it lost.

The table holds one row, which every beat replaces: it does not grow, and after a recovery it says which was the last beat
that came through. With restore points instead, nothing is written into a table; each beat is a target of its own
(`recovery_target_name`), but only the WAL can be asked for them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import (
    Login,
    database_errors,
    one_row,
    open_connection,
    server_facts,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.login import LOGIN_KEYS, read_login
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["METHODS", "TABLE", "Beat", "beat", "beat_from_options", "read_beat", "restore_point_name", "run_heartbeat"]

METHODS = ("table", "restore_point")
TABLE = "lifeboat.heartbeat"
_DEFINITION = (
    # Half of each page stays free, so that the row's next version finds room beside it and nothing grows.
    "CREATE TABLE IF NOT EXISTS lifeboat.heartbeat (id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),"
    " moment timestamptz NOT NULL, lsn pg_lsn NOT NULL) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 50)"
)
_COLUMNS = [("id", "smallint"), ("moment", "timestamp with time zone"), ("lsn", "pg_lsn")]
_BEAT = (
    "INSERT INTO lifeboat.heartbeat AS h (id, moment, lsn)"
    " VALUES (1, pg_catalog.clock_timestamp(), pg_catalog.pg_current_wal_insert_lsn())"
    # A clock that was set back must not make the last beat look older than it is.
    " ON CONFLICT (id) DO UPDATE SET moment = GREATEST(h.moment, excluded.moment), lsn = excluded.lsn"
    " RETURNING moment, lsn::text"
)
_RIGHTS = "docs/wal-info.md says which rights it needs."


@dataclass(frozen=True)
class Beat:
    """`moment` in UTC; what was committed before `lsn` was there when it was written."""

    moment: dt.datetime
    lsn: Lsn

    def to_document(self) -> dict[str, Any]:
        return {"moment": format_moment(self.moment), "lsn": str(self.lsn)}


def run_heartbeat(login: Login, method: str = "table") -> Beat:
    """One beat in the login's database; raises `DatabaseError`, also for a standby."""
    with open_connection(login, application_name="lifeboat heartbeat") as connection:
        return beat(connection, method)


def beat(connection: Connection[Any], method: str = "table") -> Beat:
    """One beat, durable on this server when it returns; makes the table when there is none. Raises `DatabaseError`."""
    options.choice({"method": method}, "method", "heartbeat", METHODS)
    if server_facts(connection).in_recovery:
        raise DatabaseError("the server is a standby: nothing can be written there", next_step="Let the heartbeat run on its primary.")
    # Our own disk, whatever the role's setting; a synchronous standby that is away must not stop the heartbeat.
    with database_errors():
        connection.execute("SELECT pg_catalog.set_config('synchronous_commit', 'local', false)")
    if method == "restore_point":
        return _restore_point(connection)
    with database_errors("heartbeat", _RIGHTS):
        # Asked first: CREATE SCHEMA IF NOT EXISTS wants the right to create even where it is there.
        if one_row(connection, "SELECT pg_catalog.to_regnamespace('lifeboat') IS NULL")[0]:
            connection.execute("CREATE SCHEMA IF NOT EXISTS lifeboat")
        if _columns(connection) is None:
            connection.execute(_DEFINITION)
        _check_table(connection)
        moment, lsn = one_row(connection, _BEAT)
    return Beat(moment.astimezone(dt.timezone.utc), Lsn.parse(lsn))


def read_beat(connection: Connection[Any]) -> Beat | None:
    """The last beat that this database holds, or None where there never was one; raises `DatabaseError`."""
    with database_errors("heartbeat"):
        if _columns(connection) is None:
            return None
        _check_table(connection)
        row = connection.execute("SELECT moment, lsn::text FROM lifeboat.heartbeat WHERE id = 1").fetchone()
    return None if row is None else Beat(row[0].astimezone(dt.timezone.utc), Lsn.parse(row[1]))


def restore_point_name(moment: dt.datetime) -> str:
    """The name of the restore point of a beat; they sort by time, and PostgreSQL takes 63 bytes."""
    return f"lifeboat-heartbeat-{format_moment(moment)}"


def beat_from_options(given: Mapping[str, Any]) -> Beat:
    """One beat as a job file asks for it: a login and, in `heartbeat`, the `method`. Raises `ConfigurationError` too."""
    options.unknown_keys(given, (*LOGIN_KEYS, "heartbeat"), "heartbeat")
    inner = options.mapping(given, "heartbeat", "job file", {})
    options.unknown_keys(inner, ("method",), "heartbeat")
    method: str = options.choice(inner, "method", "heartbeat", METHODS, "table")
    return run_heartbeat(read_login(given, "heartbeat"), method)


def _restore_point(connection: Connection[Any]) -> Beat:
    with database_errors("heartbeat", _RIGHTS):
        moment = one_row(connection, "SELECT pg_catalog.clock_timestamp()")[0].astimezone(dt.timezone.utc)
        name = restore_point_name(moment)
        # A restore point alone is not flushed; the commit of a transaction that has an id is.
        query = "SELECT pg_catalog.pg_create_restore_point(%s)::text, pg_catalog.pg_current_xact_id()::text"
        row = connection.execute(query, (name,)).fetchone()
    return Beat(moment, Lsn.parse(str(row[0]) if row else "0/0"))


def _columns(connection: Connection[Any]) -> list[tuple[str, str]] | None:
    rows = connection.execute(
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, NULL) FROM pg_catalog.pg_class AS c"
        " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        " JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE n.nspname = 'lifeboat' AND c.relname = 'heartbeat' AND c.relkind = 'r' ORDER BY a.attnum"
    ).fetchall()
    return [(str(name), str(kind)) for name, kind in rows] or None


def _check_table(connection: Connection[Any]) -> None:
    if _columns(connection) != _COLUMNS:
        raise DatabaseError(f"{TABLE} is not the table of the heartbeat", connection.info.dbname, "Rename it, or choose another database.")
