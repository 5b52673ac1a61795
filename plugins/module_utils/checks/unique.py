# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be unique is: the rows are counted without any index, since a broken one hides exactly what it let in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible_collections.lifeboat.postgres.plugins.module_utils import options as take
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import Check, CheckResult, Restored
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.constraints import Asked
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.relations import Table, compose, find_table, identifier, join, raw
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composable

__all__ = ["Unique"]

# Indexes of partitions hang on that of the partitioned table (pg_inherits), whose rows are all of theirs. One that forbids
# overlaps (an exclusion constraint, WITHOUT OVERLAPS) promises something else. indnullsnotdistinct is new in 15. The
# session's search_path is pg_catalog, so expressions come back with every name qualified.
_INDEXES = """
    SELECT n.nspname, t.relname, t.relkind = 'p', x.relname, i.indisvalid,
           coalesce((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::pg_catalog.bool, false),
           pg_catalog.pg_get_expr(i.indpred, i.indrelid),
           ARRAY(
               SELECT pg_catalog.jsonb_build_array(
                   pg_catalog.pg_get_indexdef(i.indexrelid, k.position, false),
                   CASE WHEN i.indcollation[k.position - 1] <> 0 THEN pg_catalog.jsonb_build_array(cn.nspname, co.collname) END
               )
               FROM pg_catalog.generate_series(1, i.indnkeyatts) AS k (position)
               LEFT JOIN pg_catalog.pg_collation co ON co.oid = i.indcollation[k.position - 1]
               LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
               ORDER BY k.position
           )
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
    JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
    WHERE i.indisunique AND NOT i.indisexclusion AND t.relkind IN ('r', 'p', 'm') AND t.relpersistence <> 't'
      AND n.nspname <> ALL ('{pg_catalog,information_schema,pg_toast}')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = i.indexrelid)
    ORDER BY n.nspname, t.relname, x.relname
"""

_DOUBLES = "SELECT count(*) FROM (SELECT FROM {table} WHERE {condition} GROUP BY {keys} HAVING count(*) > 1) AS doubled"
_WITHOUT_INDEXES = """
    SELECT pg_catalog.set_config(name, 'off', true)
    FROM pg_catalog.unnest('{enable_indexscan,enable_indexonlyscan,enable_bitmapscan}'::pg_catalog.text[]) AS name
"""


class _Index(NamedTuple):
    schema: str
    table: str
    partitioned: bool
    name: str
    valid: bool
    nulls_are_equal: bool
    predicate: str | None
    keys: Sequence[Sequence[Any]]


class Unique(Check):
    """`{unique: {}}`, of certain tables, or what no index promises: `{unique: {tables: [orders], columns: [number]}}`"""

    def __init__(self, options: Mapping[str, Any], where: str) -> None:
        self.tables: tuple[str, ...] = take.texts(options, "tables", where, ())
        self.columns: tuple[str, ...] = take.texts(options, "columns", where, ())
        if self.columns and len(self.tables) != 1:
            raise ConfigurationError("columns belong to one table", where, "Name it in tables, alone.")
        named = f" ({', '.join(self.columns)})" if self.columns else ""
        self.name = f"unique {', '.join(self.tables)}{named}".strip()

    def run(self, restored: Restored) -> CheckResult:
        conn = restored.conn
        tables = [find_table(conn, written) for written in self.tables]
        asked = Asked()
        with conn.transaction(force_rollback=True):
            conn.execute(_WITHOUT_INDEXES)
            if self.columns:
                table = tables[0]
                asked.ask(conn, str(table), lambda: _columns(conn, table, self.columns))
                return asked.result(self.name, "no value more than once", f"no value more than once in {table}")
            indexes = _indexes(conn, tables)
            for index in indexes:
                asked.ask(conn, f"{index.name} of {index.schema}.{index.table}", lambda index=index: _question(conn, index), index.valid)  # type: ignore[misc]
        return asked.result(self.name, "no value more than once", f"no value more than once under {many(len(indexes), 'unique index')}")


def _indexes(conn: Connection[Any], tables: Sequence[Table]) -> list[_Index]:
    indexes = [_Index(*row) for row in conn.execute(_INDEXES).fetchall()]
    if not tables:
        if not indexes:
            raise ConfigurationError("nothing in the database is declared unique", "", "Name a table and its columns.")
        return indexes
    names = {(table.schema, table.name) for table in tables}
    found = {(index.schema, index.table) for index in indexes}
    for table in tables:
        if (table.schema, table.name) not in found:
            raise ConfigurationError(f"nothing in {table} is declared unique", "", "Name the columns, too.")
    return [index for index in indexes if (index.schema, index.table) in names]


def _question(conn: Connection[Any], index: _Index) -> str:
    keys = [raw(text) if not collation else _collated(text, collation) for text, collation in index.keys]
    table = compose("{table}" if index.partitioned else "ONLY {table}", table=identifier(index.schema, index.table))
    doubled = _doubled(conn, table, keys, index.predicate, index.nulls_are_equal)
    state = "" if index.valid else "invalid, it promises nothing: "
    return f"{state}{index.name} of {index.schema}.{index.table}: {many(doubled, 'value')} more than once" if doubled else ""


def _columns(conn: Connection[Any], table: Table, written: Sequence[str]) -> str:
    names = [identifier(table.column(name, conn).name) for name in written]
    doubled = _doubled(conn, table.identifier, names, None, False)
    return f"{table} ({', '.join(written)}): {many(doubled, 'value')} more than once" if doubled else ""


def _doubled(conn: Connection[Any], table: Composable, keys: Sequence[Composable], predicate: str | None, nulls_are_equal: bool) -> int:
    """How many values the table holds more than once, as the index counts them: NULL is like no other, unless it says so."""
    conditions: list[Composable] = [compose("({predicate})", predicate=raw(predicate))] if predicate else []
    if not nulls_are_equal:
        # `IS NOT NULL` is about the fields where the value is a row.
        conditions += [compose("({key}) IS DISTINCT FROM NULL", key=key) for key in keys]
    # In parentheses: a plain number would be the position of a column.
    grouped = join(", ", [compose("({key})", key=key) for key in keys])
    condition = join(" AND ", conditions) if conditions else raw("true")
    [(doubled,)] = conn.execute(compose(_DOUBLES, table=table, condition=condition, keys=grouped))
    return int(doubled)


def _collated(text: str, collation: Sequence[str]) -> Composable:
    return compose("({key}) COLLATE {collation}", key=raw(text), collation=identifier(*collation))
