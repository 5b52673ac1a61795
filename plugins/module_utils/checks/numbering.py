# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What PostgreSQL is asked about a numbered column: one summary per group, and the first few offenders by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.relations import compose, find_table, identifier, join, literal
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Group", "Numbering"]

NUMBER_TYPES = ("smallint", "integer", "bigint", "numeric")
SHOWN = 5

# `c` is the column, `n` the same where it is a whole number (NaN and infinity are not). Groups are kept apart as text that
# sorts by bytes: their order and their names have to be the same on every host. (Arrays of them sort far slower.)
_NUMBERED = """(
    SELECT {texts} {column} AS c, CASE WHEN {column} % 1 = 0 THEN {column} END AS n FROM {table}
) AS numbered"""
_SUMMARY = """
    SELECT {key}, count(*), count(c), count(n), count(DISTINCT n), min(n)::pg_catalog.numeric, max(n)::pg_catalog.numeric
    FROM {numbered} GROUP BY {groups} ORDER BY {groups}
"""
_GAPS = """
    SELECT {key}, (n + 1)::pg_catalog.numeric, (following - 1)::pg_catalog.numeric
    FROM (SELECT *, lead(n) OVER (PARTITION BY {groups} ORDER BY n) AS following FROM {numbered} WHERE n IS NOT NULL) AS pairs
    WHERE following - n > 1 ORDER BY {groups}, n LIMIT {shown}
"""
_DUPLICATES = """
    SELECT {key}, n::pg_catalog.numeric, n::pg_catalog.numeric
    FROM {numbered} WHERE n IS NOT NULL GROUP BY {groups}, n HAVING count(*) > 1 ORDER BY {groups}, n LIMIT {shown}
"""


class Group(NamedTuple):
    """One group's numbering. `key` holds the grouping columns as text; `first` and `last` are None where nothing is numbered."""

    key: list[Any]
    rows: int
    nulls: int
    fractions: int
    duplicates: int
    first: int | None
    last: int | None

    @property
    def missing(self) -> int:
        if self.first is None or self.last is None:
            return 0
        distinct = self.rows - self.nulls - self.fractions - self.duplicates
        return self.last - self.first + 1 - distinct


class Numbering:
    """A numbered column as found in one database; raises `RelationMissing`, `ConfigurationError`."""

    def __init__(self, conn: Connection[Any], table: str, column: str, group_by: Sequence[str]) -> None:
        found = find_table(conn, table)
        number = found.column(column, conn)
        keys = [found.column(written, conn).name for written in group_by]
        if number.base not in NUMBER_TYPES:
            raise ConfigurationError(
                f"{column} is {number.type}", str(found), "A numbering needs a column of whole numbers; for others use an sql check."
            )
        self._conn = conn
        self.definition = [found.schema, found.name, number.name, *keys]
        # Without grouping columns everything is one group, of a constant.
        texts = [compose("{key}::pg_catalog.text", key=identifier(key)) for key in keys] or [compose("''::pg_catalog.text")]
        names = [identifier(f"key{position}") for position in range(len(texts))]
        numbered = compose(
            _NUMBERED,
            texts=join(" ", [compose('{text} COLLATE "C" AS {name},', text=text, name=name) for text, name in zip(texts, names)]),
            column=identifier(number.name),
            table=found.identifier,
        )
        self._parts = {
            "key": compose("ARRAY[{names}]", names=join(", ", names)) if keys else compose("'{{}}'::pg_catalog.text[]"),
            "groups": join(", ", names),
            "numbered": numbered,
        }

    def groups(self) -> Iterator[Group]:
        """Every group in the order of its key, streamed: there may be millions."""
        with self._conn.transaction(), self._conn.cursor(name="lifeboat_numbering") as cursor:
            cursor.itersize = 2000
            cursor.execute(compose(_SUMMARY, **self._parts))
            for key, rows, written, whole, distinct, first, last in cursor:
                ends = (None, None) if first is None else (int(first), int(last))
                yield Group(key, rows, rows - written, written - whole, whole - distinct, *ends)

    def gaps(self) -> list[tuple[list[Any], int, int]]:
        """The first few gaps: key of the group, first and last missing number."""
        return self._offenders(_GAPS)

    def duplicates(self) -> list[tuple[list[Any], int, int]]:
        """The first few numbers that stand more than once, in the shape of `gaps`."""
        return self._offenders(_DUPLICATES)

    def _offenders(self, template: str) -> list[tuple[list[Any], int, int]]:
        statement = compose(template, shown=literal(SHOWN), **self._parts)
        return [(key, int(first), int(last)) for key, first, last in self._conn.execute(statement)]
