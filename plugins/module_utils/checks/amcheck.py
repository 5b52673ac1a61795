# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables and indexes are sound inside, by PostgreSQL's own extension amcheck, on the restored server and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options as take
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import UNVERIFIED, Check, CheckResult, Restored
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.constraints import Asked
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.relations import compose, find_table, identifier, literal
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import psycopg
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.faults import first_line
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Identifier

__all__ = ["Amcheck"]

# What amcheck and the storage below it say of damage (errcodes.txt, class XX): corrupted data, a corrupted index.
_DAMAGE = ("XX001", "XX002")

_RELATIONS = """
    SELECT c.oid, n.nspname, c.relname, c.relkind::text, a.amname
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
    LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
    WHERE c.relkind IN ('r', 'm', 'i') AND c.relpersistence <> 't'
      AND n.nspname <> ALL ('{pg_catalog,information_schema,pg_toast}') AND coalesce(i.indisvalid, true)
    ORDER BY n.nspname, c.relname
"""
_OF_TABLES = """
    SELECT oid FROM pg_catalog.pg_class WHERE oid = ANY (%(tables)s)
    UNION SELECT indexrelid FROM pg_catalog.pg_index WHERE indrelid = ANY (%(tables)s)
"""
_FUNCTIONS = """
    SELECT p.proname FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_depend d ON d.objid = p.oid
    JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'amcheck'
"""
_SCHEMA = """
    SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'amcheck'
"""
_HEAP = "SELECT blkno, msg FROM {schema}.verify_heapam({oid}::pg_catalog.regclass) LIMIT 1000"
_COLLATIONS = """
    SELECT collname, collversion, pg_catalog.pg_collation_actual_version(oid) FROM pg_catalog.pg_collation
    WHERE collversion <> pg_catalog.pg_collation_actual_version(oid)
"""


class Amcheck(Check):
    """`{amcheck: {}}`, of certain tables, with `parent: true` more thoroughly, with `heap: false` indexes only"""

    makes_objects = True

    def __init__(self, options: Mapping[str, Any], where: str) -> None:
        self.tables: tuple[str, ...] = take.texts(options, "tables", where, ())
        self.heapallindexed: bool = take.boolean(options, "heapallindexed", where, True)
        self.parent: bool = take.boolean(options, "parent", where, False)
        self.heap: bool = take.boolean(options, "heap", where, True)
        self.name = f"amcheck {', '.join(self.tables)}".strip()

    def run(self, restored: Restored) -> CheckResult:
        conn = restored.conn
        chosen = self._chosen(conn)
        expected = "sound tables and indexes" if self.heap else "sound indexes"
        try:
            schema = _extension(conn)
        except psycopg().Error as error:
            return CheckResult(self.name, UNVERIFIED, expected, "the extension amcheck is not to be had", first_line(error))
        functions = {row[0] for row in conn.execute(_FUNCTIONS).fetchall()}
        asked, indexes, heaps, others = Asked(), 0, 0, 0
        for oid, namespace, name, kind, method in conn.execute(_RELATIONS).fetchall():
            shown = f"{namespace}.{name}"
            if chosen is not None and oid not in chosen:
                continue
            if kind == "i" and method == "btree":
                indexes += 1
                function = "bt_index_parent_check" if self.parent else "bt_index_check"
                asked.ask(conn, shown, lambda f=function, o=oid, s=shown: self._index(conn, schema, f, o, s))  # type: ignore[misc]
            elif kind == "i" and method == "gin" and "gin_index_check" in functions:
                indexes += 1
                asked.ask(conn, shown, lambda o=oid, s=shown: self._index(conn, schema, "gin_index_check", o, s))  # type: ignore[misc]
            elif kind != "i" and method == "heap" and self.heap and "verify_heapam" in functions:
                heaps += 1
                asked.ask(conn, shown, lambda o=oid, s=shown: _heap(conn, schema, o, s))  # type: ignore[misc]
            elif kind == "i":
                others += 1
        if others:
            asked.notes.append(f"amcheck knows nothing of {many(others, 'index')} of other kinds")
        if self.heap and "verify_heapam" not in functions:
            asked.unasked.append("this version of amcheck cannot look at tables")
        asked.notes += _collations(conn)
        return asked.result(self.name, expected, f"{many(indexes, 'index')} and {many(heaps, 'table')} are sound")

    def _chosen(self, conn: Connection[Any]) -> set[int] | None:
        """Object ids of the named tables and their indexes, partitions included; None for all."""
        if not self.tables:
            return None
        names = [str(find_table(conn, written).identifier.as_string(conn)) for written in self.tables]
        statement = """
            SELECT relid::pg_catalog.oid FROM pg_catalog.unnest(%s::pg_catalog.text[]) AS name,
            LATERAL (SELECT relid FROM pg_catalog.pg_partition_tree(name::pg_catalog.regclass) UNION SELECT name::pg_catalog.regclass) AS t
        """
        tables = [row[0] for row in conn.execute(statement, [names]).fetchall()]
        return {row[0] for row in conn.execute(_OF_TABLES, {"tables": tables}).fetchall()}

    def _index(self, conn: Connection[Any], schema: Identifier, function: str, oid: int, shown: str) -> str:
        more = "" if function == "gin_index_check" else ", {all}"
        statement = compose(f"SELECT {{schema}}.{function}({{oid}}::pg_catalog.regclass{more})", schema=schema, oid=literal(oid),
                            all=literal(self.heapallindexed))  # fmt: skip
        return _damage(conn, statement, shown)


def _extension(conn: Connection[Any]) -> Identifier:
    """The schema of amcheck, which is created where it is not; the runner rolls that back. Raises `psycopg.Error`."""
    row = conn.execute(_SCHEMA).fetchone()
    if row is None:
        with conn.transaction():
            # Event triggers of the restored database have no say in this.
            conn.execute("SET LOCAL session_replication_role = replica")
            conn.execute("CREATE SCHEMA lifeboat_amcheck")
            conn.execute("CREATE EXTENSION amcheck SCHEMA lifeboat_amcheck")
        row = ("lifeboat_amcheck",)
    return identifier(row[0])


def _damage(conn: Connection[Any], statement: Any, shown: str) -> str:
    """What a function of amcheck complains about; "" when it returns. An error of another kind is nobody's damage."""
    error_type = psycopg().Error
    try:
        with conn.transaction():
            conn.execute(statement)
    except error_type as error:
        if getattr(error, "sqlstate", None) in _DAMAGE:
            return f"{shown}: {first_line(error)}"
        raise
    return ""


def _heap(conn: Connection[Any], schema: Identifier, oid: int, shown: str) -> str:
    statement = compose(_HEAP, schema=schema, oid=literal(oid))
    error_type = psycopg().Error
    try:
        with conn.transaction():
            rows: Sequence[Any] = conn.execute(statement).fetchall()
    except error_type as error:
        if getattr(error, "sqlstate", None) in _DAMAGE:
            return f"{shown}: {first_line(error)}"
        raise
    return f"{shown}: {many(len(rows), 'fault')}, the first in block {rows[0][0]}: {rows[0][1]}" if rows else ""


def _collations(conn: Connection[Any]) -> list[str]:
    """Collations that this system sorts in another version than the database remembers: its indexes may be in another order."""
    rows = list(conn.execute(_COLLATIONS).fetchall())
    if conn.info.server_version >= 150000:
        rows += conn.execute(
            "SELECT 'of the database', datcollversion, pg_catalog.pg_database_collation_actual_version(oid) FROM pg_catalog.pg_database"
            " WHERE datname = pg_catalog.current_database() AND datcollversion <> pg_catalog.pg_database_collation_actual_version(oid)"
        ).fetchall()
    return [f"collation {name} was version {before}, this system has {here}" for name, before, here in rows[:5]]
