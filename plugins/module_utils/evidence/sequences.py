# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - every part of this SQL is written in this library
"""Where sequences stand. They are not transactional: a dump reads a position between two readings around it.

So the evidence is the lesser of both, and the restored sequence must be there or beyond (docs/postgres-notes.md#sequences).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import SequencePosition
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.kinds import USER_NAMESPACE, not_of_extension
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import psycopg, savepoint

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Reading", "is_behind", "lower_bounds", "read_sequences"]

_BATCH = 100

# One that cycles has no direction; its position says nothing.
_SEQUENCES = f"""
    SELECT n.nspname::text, c.relname::text, format('%I.%I', n.nspname, c.relname), s.seqincrement > 0,
           pg_relation_filenode(c.oid)::bigint
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence s ON s.seqrelid = c.oid
    WHERE c.relpersistence <> 't' AND NOT s.seqcycle AND {USER_NAMESPACE} AND {not_of_extension("pg_class", "c.oid")}
    ORDER BY c.oid
"""


@dataclass(frozen=True)
class Reading:
    """One reading. `filenode` is another after ALTER SEQUENCE … RESTART or TRUNCATE … RESTART IDENTITY."""

    position: SequencePosition
    filenode: int | None


def read_sequences(connection: Connection[Any]) -> dict[str, Reading]:
    """The position of every sequence of a dump that does not cycle; one that is dropped meanwhile is left out."""
    found = connection.execute(_SEQUENCES).fetchall()
    readings: dict[str, Reading] = {}
    for start in range(0, len(found), _BATCH):
        readings.update(_read(connection, found[start : start + _BATCH]))
    return readings


def _read(connection: Connection[Any], sequences: Sequence[Any]) -> dict[str, Reading]:
    sql = deps.load("psycopg.sql", package="psycopg", debian="python3-psycopg")
    one = sql.SQL("SELECT {}::int, last_value, is_called FROM {}")
    query = sql.SQL(" UNION ALL ").join(
        one.format(sql.Literal(number), sql.Identifier(schema, name)) for number, (schema, name, *_rest) in enumerate(sequences)
    )
    try:
        with savepoint(connection):
            rows = connection.execute(query).fetchall()
    except (psycopg().errors.UndefinedTable, psycopg().errors.InvalidSchemaName):
        halves = (sequences[: len(sequences) // 2], sequences[len(sequences) // 2 :])
        return {label: reading for half in halves for label, reading in _read(connection, half).items()} if len(sequences) > 1 else {}
    readings = {}
    for number, last_value, is_called in rows:
        _schema, _name, label, ascending, filenode = sequences[number]
        readings[label] = Reading(SequencePosition(label, last_value, is_called, ascending), filenode)
    return readings


def lower_bounds(before: Mapping[str, Reading], after: Mapping[str, Reading]) -> tuple[tuple[SequencePosition, ...], tuple[str, ...]]:
    """What a dump between both readings has reached at least, and the sequences that were restarted or made in between."""
    bounds, restless = [], []
    for label, first in before.items():
        second = after.get(label)
        if second is None or second.filenode != first.filenode or second.position.ascending != first.position.ascending:
            restless.append(f"sequence {label}")
        else:
            bounds.append(second.position if is_behind(second.position, first.position) else first.position)
    return tuple(bounds), tuple(restless)


def is_behind(found: SequencePosition, expected: SequencePosition) -> bool:
    """Whether `found` has not come as far as `expected`: the next value would be one that was given out already."""
    sign = 1 if expected.ascending else -1
    return (sign * found.last_value, found.is_called) < (sign * expected.last_value, expected.is_called)
