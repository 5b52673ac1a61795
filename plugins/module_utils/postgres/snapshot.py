# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One moment of a database, held still while the dump and the evidence are taken of it.

Tables are locked before the snapshot is taken, as pg_dump does: a TRUNCATE is not transactional for a snapshot that is
older than it, so without the lock a table could read as empty (docs/postgres-notes.md#truncate). The lock is the weakest
there is (ACCESS SHARE): it keeps TRUNCATE, DROP and ALTER waiting, nothing else.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError, EvidenceError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import (
    database_errors,
    one_row,
    psycopg,
    roll_back,
    savepoint,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.standby import Standby, standby_that_holds, state_moment
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Snapshot", "TableRef", "dumped_tables", "exported_snapshot", "hold_still", "look_first", "named"]

_BATCH = 200
_LONGEST_PAUSE_SECONDS = 0.1

# What pg_dump dumps the rows of: no system schema, nothing that belongs to an extension, nothing temporary.
_TABLES = """
    SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text, c.relpages::bigint, c.relfilenode::bigint
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY c.oid
"""

_UNREADABLE = """
    SELECT n.nspname, c.relname, has_schema_privilege(n.oid, 'USAGE')
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE (c.oid = ANY (%(oids)s::oid[])
           OR (c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                               WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')))
      AND NOT (has_schema_privilege(n.oid, 'USAGE')
               AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END)
    ORDER BY 1, 2
"""

# pg_read_all_data is not enough for the large objects of others (docs/postgres-notes.md#large-objects).
_UNREADABLE_LARGE_OBJECTS = """
    SELECT count(*) FROM pg_catalog.pg_largeobject_metadata m
    WHERE NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE') AND NOT pg_catalog.current_setting('lo_compat_privileges')::bool
      AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) AS a
                      WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))
"""
_UNREADABLE_LARGE_OBJECTS_SINCE_18 = """
    SELECT count(*) FROM pg_catalog.pg_largeobject_metadata m
    WHERE NOT pg_catalog.has_largeobject_privilege(m.oid, 'SELECT')
"""


@dataclass(frozen=True)
class TableRef:
    """An ordinary (`r`) or partitioned (`p`) table of the dump; `pages` is the size in blocks as last estimated."""

    oid: int
    schema: str
    name: str
    kind: str
    pages: int
    filenode: int


@dataclass(frozen=True)
class Snapshot:
    """`id` for `pg_dump --snapshot`; `moment` (aware, the server's clock) is the state it shows.

    It lives as long as the transaction of `connection` does; `tables` are locked in it.
    """

    id: str
    moment: dt.datetime
    connection: Connection[Any]
    tables: tuple[TableRef, ...]
    standby: Standby | None = None


@contextlib.contextmanager
def exported_snapshot(
    connection: Connection[Any], *, lock_timeout_seconds: float = 60.0, quiet_within_seconds: float = 60.0
) -> Iterator[Snapshot]:
    """Lock every table of the dump and export the snapshot, held for the block; nothing is left behind after it.

    `connection` is an autocommit session of `open_connection`; in the block only `evidence.collect` may use it, which
    counts in this session because another one would have to wait for its locks: a TRUNCATE that waits for this session
    makes every later reader of that table wait behind it. pg_dump is such a reader for the moment until it has its own
    locks; then it waits in vain, fails after its lock wait timeout without having written a byte, and the remedy is a new
    snapshot (docs/postgres-notes.md#lock-queue).

    A table that was made, emptied or dropped between the listing and its lock makes the snapshot useless; another one is
    taken, for `quiet_within_seconds` at most.

    Raises `DatabaseError` (a standby that cannot hold it, a table that may not be read, a lock that is not to be had, no
    quiet moment), `EvidenceError` (row-level security).
    """
    standby = look_first(connection)
    until = time.monotonic() + quiet_within_seconds
    try:
        snapshot, restless = _attempt_snapshot(connection, lock_timeout_seconds, standby)
        while snapshot is None:
            if time.monotonic() >= until:
                raise DatabaseError(
                    f"no quiet moment for a snapshot within {quiet_within_seconds:g} s: tables are made, emptied or dropped all the time",
                    named(restless),
                    "Run again, or keep the job that does it from running meanwhile.",
                )
            # Of chance length: a job that makes and drops tables in step with the attempts does not stay in step.
            time.sleep(random.uniform(0.0, _LONGEST_PAUSE_SECONDS))  # noqa: S311  # no secret
            snapshot, restless = _attempt_snapshot(connection, lock_timeout_seconds, standby)
        yield snapshot
    finally:
        roll_back(connection)


def look_first(connection: Connection[Any]) -> Standby | None:
    """What would keep a snapshot from being held or read whole, raised before anything runs; the standby that it is of, if it is."""
    standby = standby_that_holds(connection)
    _refuse_unreadable(connection)
    return standby


def hold_still(
    connection: Connection[Any], snapshot_id: str, moment: dt.datetime, standby: Standby | None
) -> tuple[Snapshot | None, list[str]]:
    """Lock whatever a transaction that has its snapshot sees and has not locked yet. None, and the names, when some did not hold still."""
    with database_errors():
        tables = dumped_tables(connection)
        restless = _newcomers(connection, tables)
        connection.execute("SET LOCAL lock_timeout = 0")
    if restless:
        return None, restless
    return Snapshot(snapshot_id, moment.astimezone(dt.timezone.utc), connection, tables, standby), []


def dumped_tables(connection: Connection[Any]) -> tuple[TableRef, ...]:
    """The ordinary and partitioned tables whose rows a dump of this database holds, as this transaction sees them."""
    return tuple(TableRef(*row) for row in connection.execute(_TABLES).fetchall())


def named(names: Iterable[str], limit: int = 10) -> str:
    """The first few names, and how many more."""
    listed = list(names)
    text = ", ".join(listed[:limit])
    return text if len(listed) <= limit else f"{text} and {len(listed) - limit} more"


def _refuse_unreadable(connection: Connection[Any]) -> None:
    """Say before anything runs what the role may not read, and what would read as fewer rows."""
    user = connection.info.user
    with database_errors():
        oids = [table.oid for table in dumped_tables(connection)]
        unreadable = connection.execute(_UNREADABLE, {"oids": oids}).fetchall()
        since_18 = connection.info.server_version >= 180000
        (large_objects,) = one_row(connection, _UNREADABLE_LARGE_OBJECTS_SINCE_18 if since_18 else _UNREADABLE_LARGE_OBJECTS)
        hidden = connection.execute(
            "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.oid = ANY (%s::oid[]) AND pg_catalog.row_security_active(c.oid) ORDER BY 1, 2",
            (oids,),
        ).fetchall()
    if unreadable:
        raise DatabaseError(
            f"role {user!r} may not read {len(unreadable)} tables or sequences of the database",
            named(f"{schema}.{name}" if usage else f"{schema}.{name}, its schema" for schema, name, usage in unreadable),
            f'GRANT pg_read_all_data TO "{user}", or SELECT on each of them and USAGE on their schemas.',
        )
    if large_objects:
        raise DatabaseError(
            f"role {user!r} may not read {many(large_objects, 'large object')} of other roles",
            next_step="Log in as a superuser or as their owner, or GRANT SELECT ON LARGE OBJECT … to the role.",
        )
    if hidden:
        raise EvidenceError(
            f"row-level security would hide rows from role {user!r} in {many(len(hidden), 'table')}",
            named(f"{schema}.{name}" for schema, name in hidden),
            f'ALTER ROLE "{user}" BYPASSRLS, or log in as a role that has it: a backup of the rows one role may see is none.',
        )


def _attempt_snapshot(
    connection: Connection[Any], lock_timeout_seconds: float, standby: Standby | None
) -> tuple[Snapshot | None, list[str]]:
    """One attempt: the snapshot, or None and the names that did not hold still."""
    roll_back(connection)
    with database_errors():
        listed = dumped_tables(connection)
        # Nothing before pg_export_snapshot() may need a snapshot of its own: LOCK and SAVEPOINT do not.
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute(f"SET LOCAL lock_timeout = {max(1, round(lock_timeout_seconds * 1000))}")
    for start in range(0, len(listed), _BATCH):
        _lock(connection, listed[start : start + _BATCH])
    with database_errors():
        snapshot_id, moment = one_row(connection, "SELECT pg_catalog.pg_export_snapshot(), pg_catalog.statement_timestamp()")
        if standby is not None:
            moment = state_moment(connection, moment)
    return hold_still(connection, snapshot_id, moment, standby)


def _newcomers(connection: Connection[Any], tables: Sequence[TableRef]) -> list[str]:
    """Lock what the snapshot shows and the listing before it did not; the names of those that changed in between.

    A table that was emptied after the snapshot and before its lock has another file than the snapshot's catalog says.
    """
    held = {
        row[0]
        for row in connection.execute(
            "SELECT relation::bigint FROM pg_catalog.pg_locks WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation'"
            " AND granted AND mode = 'AccessShareLock'"
        ).fetchall()
    }
    late = [table for table in tables if table.oid not in held]
    if not late:
        return []
    for start in range(0, len(late), _BATCH):
        _lock(connection, late[start : start + _BATCH])
    rows = connection.execute(
        "SELECT t.oid::bigint FROM ROWS FROM (pg_catalog.unnest(%s::oid[]), pg_catalog.unnest(%s::bigint[])) AS t(oid, filenode)"
        " WHERE coalesce(pg_catalog.pg_relation_filenode(t.oid)::bigint, 0) <> t.filenode"
        " OR NOT EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation'"
        " AND l.granted AND l.relation = t.oid)",
        ([table.oid for table in late], [table.filenode for table in late]),
    ).fetchall()
    changed = {row[0] for row in rows}
    return [f"{table.schema}.{table.name}" for table in late if table.oid in changed]


def _lock(connection: Connection[Any], tables: Sequence[TableRef]) -> None:
    """ACCESS SHARE on each; a table that is gone by now is passed over, any other refusal is raised with its name."""
    library = psycopg()
    sql = deps.load("psycopg.sql", package="psycopg", debian="python3-psycopg")
    if not tables:
        return
    # ONLY: every partition is listed itself, and the recursion would lock foreign tables.
    names = sql.SQL(", ").join(sql.SQL("ONLY {}").format(sql.Identifier(table.schema, table.name)) for table in tables)
    where = f"{tables[0].schema}.{tables[0].name}" if len(tables) == 1 else f"{len(tables)} tables"
    try:
        with savepoint(connection):
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
    except (library.errors.UndefinedTable, library.errors.InvalidSchemaName, library.errors.WrongObjectType) as error:
        if len(tables) > 1:
            for table in tables:
                _lock(connection, [table])
        elif isinstance(error, library.errors.WrongObjectType):
            return  # dropped, and a view of that name made since
    except library.errors.LockNotAvailable as error:
        raise DatabaseError(
            f"a table stayed locked by another session for too long: {' '.join(str(error).split())}",
            where,
            "Look for ALTER, TRUNCATE, VACUUM FULL or LOCK in pg_stat_activity, or give a longer lock_timeout.",
        ) from error
    except library.errors.OutOfMemory as error:
        raise DatabaseError(
            "the server has no room for that many locks", where, "Raise max_locks_per_transaction; pg_dump needs it, too."
        ) from error
    except library.Error as error:
        with database_errors(where):
            raise error
