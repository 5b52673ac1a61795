# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No orphans: every foreign key is asked again, row by row, whatever the catalogue says about its validity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible_collections.lifeboat.postgres.plugins.module_utils import options as take
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import Check, CheckResult, Restored
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.constraints import Asked
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.relations import compose, find_table, identifier, join, raw
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composable

__all__ = ["ForeignKeys"]

# The keys that somebody declared: those that PostgreSQL made for single partitions hang on them (conparentid). Columns that
# older versions do not have (conperiod, conenforced: 18) are read through JSON.
_KEYS = """
    SELECT c.conname, n.nspname, t.relname, t.relkind = 'p', pn.nspname, p.relname, p.relkind = 'p', c.confmatchtype::text,
           c.convalidated AND coalesce((pg_catalog.to_jsonb(c) ->> 'conenforced')::pg_catalog.bool, true),
           coalesce((pg_catalog.to_jsonb(c) ->> 'conperiod')::pg_catalog.bool, false),
           ARRAY(
               SELECT pg_catalog.jsonb_build_array(
                   a.attname, pa.attname, o.oprname, opn.nspname,
                   CASE WHEN pa.attcollation NOT IN (0, a.attcollation) THEN pg_catalog.jsonb_build_array(cn.nspname, co.collname) END
               )
               FROM ROWS FROM (pg_catalog.unnest(c.conkey), pg_catalog.unnest(c.confkey), pg_catalog.unnest(c.conpfeqop))
                   WITH ORDINALITY AS k (own, other, equals, position)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.own
               JOIN pg_catalog.pg_attribute pa ON pa.attrelid = c.confrelid AND pa.attnum = k.other
               JOIN pg_catalog.pg_operator o ON o.oid = k.equals
               JOIN pg_catalog.pg_namespace opn ON opn.oid = o.oprnamespace
               LEFT JOIN pg_catalog.pg_collation co ON co.oid = pa.attcollation
               LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
               ORDER BY k.position
           )
    FROM pg_catalog.pg_constraint c
    JOIN pg_catalog.pg_class t ON t.oid = c.conrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
    JOIN pg_catalog.pg_class p ON p.oid = c.confrelid
    JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
    WHERE c.contype = 'f' AND c.conparentid = 0
    ORDER BY n.nspname, t.relname, c.conname
"""

_ORPHANS = """
    SELECT count(*) FROM {own} AS own
    WHERE {given} AND NOT EXISTS (SELECT FROM {other} AS other WHERE {equal})
"""
# A key over periods (18): the parent's periods of one key, together, have to cover the child's.
_UNCOVERED = """
    SELECT count(*) FROM {own} AS own
    WHERE {given} AND NOT coalesce(
        {own_period} OPERATOR(pg_catalog.<@) (SELECT pg_catalog.range_agg({other_period}) FROM {other} AS other WHERE {equal}), false
    )
"""
_HALF = "SELECT count(*) FROM {own} AS own WHERE NOT ({given}) AND NOT ({empty})"


class _Key(NamedTuple):
    name: str
    schema: str
    table: str
    partitioned: bool
    other_schema: str
    other_table: str
    other_partitioned: bool
    match: str
    promised: bool
    period: bool
    columns: Sequence[Sequence[Any]]


class ForeignKeys(Check):
    """`{foreign_keys: {}}`, or of certain tables: `{foreign_keys: {tables: [orders]}}`"""

    def __init__(self, options: Mapping[str, Any], where: str) -> None:
        self.tables: tuple[str, ...] = take.texts(options, "tables", where, ())
        self.name = f"foreign_keys {', '.join(self.tables)}".strip()

    def run(self, restored: Restored) -> CheckResult:
        conn = restored.conn
        keys = [_Key(*row) for row in conn.execute(_KEYS).fetchall()]
        if self.tables:
            chosen = [find_table(conn, written) for written in self.tables]
            for written, table in zip(self.tables, chosen):
                if not any((key.schema, key.table) == (table.schema, table.name) for key in keys):
                    raise ConfigurationError(f"{written} has no foreign key", str(table), "Leave it out.")
            keys = [key for key in keys if any((key.schema, key.table) == (table.schema, table.name) for table in chosen)]
        if not keys:
            raise ConfigurationError("the database has no foreign key", "", "Leave this check out, or ask with an sql check.")
        asked = Asked()
        for key in keys:
            asked.ask(conn, f"{key.name} of {key.schema}.{key.table}", lambda key=key: _question(conn, key), key.promised)  # type: ignore[misc]
        return asked.result(self.name, "no row without the row that it refers to", f"no orphan under {many(len(keys), 'foreign key')}")


def _question(conn: Connection[Any], key: _Key) -> str:
    """What is wrong with one key's rows, "" for nothing."""
    own, other = _rows_of(key.schema, key.table, key.partitioned), _rows_of(key.other_schema, key.other_table, key.other_partitioned)
    names = [identifier("own", column[0]) for column in key.columns]
    given = join(" AND ", [compose("{name} IS NOT NULL", name=name) for name in names])
    pairs = [_equal(*column) for column in key.columns]
    if key.period:
        own_period, other_period = names[-1], identifier("other", key.columns[-1][1])
        equal = join(" AND ", [compose("true"), *pairs[:-1]])
        statement = compose(_UNCOVERED, own=own, other=other, given=given, equal=equal, own_period=own_period, other_period=other_period)
    else:
        statement = compose(_ORPHANS, own=own, other=other, given=given, equal=join(" AND ", pairs))
    [(orphans,)] = conn.execute(statement)
    half = 0
    if key.match == "f" and len(names) > 1:
        empty = join(" AND ", [compose("{name} IS NULL", name=name) for name in names])
        [(half,)] = conn.execute(compose(_HALF, own=own, given=given, empty=empty))
    said = []
    if orphans:
        said.append(f"{many(orphans, 'row')} without a row in {key.other_schema}.{key.other_table}")
    if half:
        said.append(f"{many(half, 'row')} with a part of the key only (MATCH FULL)")
    if not said:
        return ""
    state = "" if key.promised else "not validated or not enforced, in production neither: "
    return f"{state}{key.name} of {key.schema}.{key.table}: {' and '.join(said)}"


def _rows_of(schema: str, table: str, partitioned: bool) -> Composable:
    """As PostgreSQL itself asks (ri_triggers.c): a key is about the table's own rows, and about a partitioned one's all."""
    return compose("{table}" if partitioned else "ONLY {table}", table=identifier(schema, table))


def _equal(own: str, other: str, operator: str, operator_schema: str, collation: Sequence[str] | None) -> Composable:
    """The key's own operator: it may be another than the default one of the types, and in another schema."""
    right: Composable = identifier("own", own)
    if collation:
        right = compose("{name} COLLATE {collation}", name=right, collation=identifier(*collation))
    equals = compose(" OPERATOR({schema}.{operator}) ", schema=identifier(operator_schema), operator=raw(operator))
    return compose("{left}{equals}{right}", left=identifier("other", other), equals=equals, right=right)
