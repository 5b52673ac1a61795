# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables and columns as an operator writes them, found in a database whatever their names are.

Names are written as in SQL: `invoices`, `billing.invoices`, `"My ""odd"" schema".invoices`. PostgreSQL itself takes them apart
(`parse_ident`), and what was found goes into statements as quoted identifiers only, never as text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DatabaseError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import psycopg

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composable, Composed, Identifier, Literal

__all__ = ["Column", "RelationMissing", "Table", "compose", "find_table", "identifier", "join", "literal", "raw"]

_READABLE = {"r": "table", "p": "partitioned table", "m": "materialised view", "v": "view"}
_SYSTEM_SCHEMAS = ("pg_catalog", "information_schema", "pg_toast")


class RelationMissing(DatabaseError):
    """A table or column that a check names is not in the database."""


class Column(NamedTuple):
    """`type` as PostgreSQL writes it ("numeric(10,2)", "bigint"); `base` is what lies under all domains."""

    name: str
    type: str
    base: str
    oid: int
    modifier: int


@dataclass(frozen=True)
class Table:
    schema: str
    name: str
    columns: tuple[Column, ...]

    @property
    def identifier(self) -> Identifier:
        return identifier(self.schema, self.name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    def column(self, written: str, conn: Connection[Any]) -> Column:
        """The column that the operator wrote; raises `RelationMissing`, `ConfigurationError`."""
        parts = _parts(conn, written)
        if len(parts) == 1:
            for column in self.columns:
                if column.name == parts[0]:
                    return column
        raise RelationMissing(f"there is no column {written} in {self}", "", _quotes(written))


def identifier(*parts: str) -> Identifier:
    """A quoted identifier, for `compose`."""
    quoted: Identifier = _sql().Identifier(*parts)
    return quoted


def literal(value: Any) -> Literal:
    """A value, written by libpq's own rules, for `compose`."""
    written: Literal = _sql().Literal(value)
    return written


def raw(text: str) -> Composable:
    """The operator's own SQL, for `compose`: never a name or a value from elsewhere."""
    written: Composable = _sql().SQL(text)
    return written


def compose(statement: str, **parts: Composable) -> Composed:
    """A statement with identifiers, literals and other composed parts in the places of `{names}`.

    Execute it without parameters: psycopg looks for placeholders in quoted identifiers, too, and a table may be called `%s`.
    """
    composed: Composed = _sql().SQL(statement).format(**parts)
    return composed


def join(separator: str, parts: Iterable[Composable]) -> Composed:
    """Composed parts with text between."""
    joined: Composed = _sql().SQL(separator).join(parts)
    return joined


def _sql() -> Any:
    psycopg()
    return deps.load("psycopg.sql", package="psycopg", debian="python3-psycopg")


def find_table(conn: Connection[Any], written: str) -> Table:
    """The table, partitioned table, view or materialised view that the operator wrote.

    Without a schema it is the one in `public`, else the only one of that name. Raises `RelationMissing`,
    `ConfigurationError` (ambiguous, not an identifier, a foreign table).
    """
    parts = _parts(conn, written)
    if len(parts) > 2:
        raise ConfigurationError(f"{written} is not a table's name", "", "Write it as table or schema.table.")
    schema, name = parts if len(parts) == 2 else (None, parts[0])
    found = conn.execute(
        """
        SELECT c.oid, n.nspname, c.relkind::text
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relname = %(name)s AND c.relkind = ANY ('{r,p,m,v,f}')
          AND CASE WHEN %(schema)s::text IS NULL THEN n.nspname <> ALL (%(hidden)s) ELSE n.nspname = %(schema)s END
        ORDER BY n.nspname <> 'public', n.nspname
        """,
        {"name": name, "schema": schema, "hidden": list(_SYSTEM_SCHEMAS)},
    ).fetchall()
    if not found:
        raise RelationMissing(f"there is no table {written}", "", _quotes(written))
    oid, schema, kind = found[0]
    if len(found) > 1 and schema != "public":
        schemas = ", ".join(row[1] for row in found[:5])
        raise ConfigurationError(f"there are {len(found)} tables {written}", f"in {schemas}", "Write its schema, too.")
    if kind not in _READABLE:
        raise ConfigurationError(f"{written} is a foreign table", "", "Its rows are not in the backup; leave it out.")
    return Table(schema, name, _columns(conn, oid))


def _columns(conn: Connection[Any], oid: int) -> tuple[Column, ...]:
    # A domain may lie over a domain; the modifier of a domain's base type stands with the domain that gives it.
    rows = conn.execute(
        """
        WITH RECURSIVE layers AS (
            SELECT a.attnum, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod) AS written,
                   a.atttypid AS type, a.atttypmod AS modifier
            FROM pg_catalog.pg_attribute a WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
            UNION ALL
            SELECT l.attnum, l.attname, l.written, t.typbasetype, t.typtypmod
            FROM layers l JOIN pg_catalog.pg_type t ON t.oid = l.type WHERE t.typtype = 'd'
        )
        SELECT l.attname, l.written, pg_catalog.format_type(l.type, NULL), l.type, l.modifier
        FROM layers l JOIN pg_catalog.pg_type t ON t.oid = l.type WHERE t.typtype <> 'd' ORDER BY l.attnum
        """,
        (oid,),
    ).fetchall()
    return tuple(Column(*row) for row in rows)


def _parts(conn: Connection[Any], written: str) -> list[str]:
    invalid = psycopg().errors.InvalidParameterValue
    try:
        with conn.transaction():
            [(parts,)] = conn.execute("SELECT pg_catalog.parse_ident(%s)", (written,))
    except invalid:
        raise ConfigurationError(f"{written} is not a name as PostgreSQL writes it", "", _quotes(written)) from None
    return list(parts)


def _quotes(written: str) -> str:
    if '"' in written:
        return ""
    quoted = '"' + written.replace('"', '""') + '"'
    return f"A name with capitals, spaces or signs needs double quotes: {quoted}."
