# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A table's content as one number: equal after a dump and a restore, another when a single byte of a row is.

Each row is written as text by PostgreSQL itself, under the session's pinned settings, hashed to 64 bits, and the hashes
are added up. So the order of rows does not matter, and rows that are there twice count twice (XOR would cancel them). Text,
because a hash of the values themselves differs after a healthy restore: an enum's is that of its OID
(docs/postgres-notes.md#enum-hash). Generated columns are left out: a dump does not hold them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.counts import ALONE, Trees, batches
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.digest_plan import DigestPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import Digests
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import psycopg, savepoint
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.faults import first_line
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import Snapshot, TableRef

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["DIGEST_RULES", "LARGE_OBJECTS", "Found", "digests_of", "take_digests"]

DIGEST_RULES = 1
"""Counts up when the digest of unchanged rows changes; digests by other rules are not compared."""

LARGE_OBJECTS = "large objects"
_MODULUS = 2**64

# By name: the order of an inheritance child's columns is not kept by a dump. By the catalog, so that dropped ones are not there.
_COLUMNS = """
    SELECT a.attrelid::bigint, pg_catalog.array_agg(a.attname::text ORDER BY a.attname::text COLLATE "C")
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = ANY (%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    GROUP BY a.attrelid
"""
# Each object in whole: a dump does not keep pages, and a restore fills holes with zeros.
_LARGE_OBJECTS = """
    SELECT coalesce(sum(pg_catalog.hashtextextended(
        (m.oid::text || ':' || pg_catalog.encode(pg_catalog.sha256(pg_catalog.lo_get(m.oid)), 'hex')) COLLATE "C", 0)), 0)
    FROM pg_catalog.pg_largeobject_metadata m
"""
_TIME_IS_UP = "the time allowed for digests was used up"


@dataclass
class Found:
    """Digest by `schema.table` (of a tree whose rows may move between partitions: by the name on top), and what there is
    none of, with the reason."""

    digests: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def take_digests(snapshot: Snapshot, trees: Trees, plan: DigestPlan, stopped: Callable[[], bool] = lambda: False) -> Digests:
    """Digest what is due today, in the snapshot's own session, the small tables first.

    What cannot be had (the budget, a cancellation, a value too large to be written) is named in `missing`. Raises
    `psycopg.Error` when the session breaks.
    """
    started = time.monotonic()
    units = _units(snapshot.tables, trees)
    roots = {table.oid: trees.get(table.oid, ALONE)[0] for table in snapshot.tables}
    wanted = {label: leaves for label, leaves in units.items() if plan.wants(label, roots[leaves[0].oid])}
    due = {label: leaves for label, leaves in wanted.items() if plan.is_due(label, snapshot.moment)}

    def left_seconds() -> float | None:
        return None if plan.budget_seconds is None else plan.budget_seconds - (time.monotonic() - started)

    found = _digest(snapshot.connection, due, stopped, left_seconds)
    large_objects = ""
    if plan.large_objects:
        large_objects = _large_objects(snapshot.connection, found, stopped, left_seconds)
    for pattern in plan.unmatched([*units, *filter(None, roots.values())]):
        found.missing[pattern] = "production has no table of that name"
    return Digests(
        rules=DIGEST_RULES,
        tables=found.digests,
        missing=found.missing,
        large_objects=large_objects,
        wanted=len(wanted),
        part=plan.part(snapshot.moment) + 1,
        parts=plan.rotate_days,
    )


def digests_of(
    connection: Connection[Any], tables: Sequence[TableRef], trees: Trees, labels: Iterable[str], large_objects: bool = False
) -> Found:
    """The digests of these tables in another database, to be compared; a table that is not there is in neither list."""
    units = _units(tables, trees)
    chosen = {label: units[label] for label in labels if label in units}
    found = _digest(connection, chosen, lambda: False, lambda: None)
    if large_objects:
        found.digests[LARGE_OBJECTS] = _large_objects(connection, found, lambda: False, lambda: None)
    return found


def _units(tables: Sequence[TableRef], trees: Trees) -> dict[str, list[TableRef]]:
    """What is digested as one: a table, a partition, or all partitions of a tree that a restore may distribute otherwise."""
    units: dict[str, list[TableRef]] = {}
    for table in tables:
        root, _above, rehashed = trees.get(table.oid, ALONE)
        if table.kind == "r":
            units.setdefault(root if rehashed else f"{table.schema}.{table.name}", []).append(table)
    return units


def _digest(
    connection: Connection[Any],
    units: Mapping[str, Sequence[TableRef]],
    stopped: Callable[[], bool],
    left_seconds: Callable[[], float | None],
) -> Found:
    leaves = [leaf for members in units.values() for leaf in members]
    columns: dict[int, list[str]] = dict(connection.execute(_COLUMNS, ([leaf.oid for leaf in leaves],)).fetchall())
    sums: dict[int, int] = {}
    reasons: dict[int, str] = {}
    for batch in batches(leaves):
        if not stopped() and _sum(connection, batch, columns, left_seconds(), sums, reasons):
            continue
        for leaf in batch if len(batch) > 1 else ():
            # One of them cannot be digested: which?
            if not stopped():
                _sum(connection, [leaf], columns, left_seconds(), sums, reasons)
    found = Found()
    for label, members in units.items():
        without = [leaf for leaf in members if leaf.oid not in sums]
        if without:
            found.missing[label] = reasons.get(without[0].oid, _TIME_IS_UP)
        else:
            found.digests[label] = _written(sum(sums[leaf.oid] for leaf in members))
    return found


def _sum(
    connection: Connection[Any],
    batch: Sequence[TableRef],
    columns: Mapping[int, Sequence[str]],
    left_seconds: float | None,
    sums: dict[int, int],
    reasons: dict[int, str],
) -> bool:
    """Whether the batch was digested; the sums, or for a batch of one the reason, are entered."""
    sql = deps.load("psycopg.sql", package="psycopg", debian="python3-psycopg")
    one = sql.SQL('SELECT {}::bigint, coalesce(sum(pg_catalog.hashtextextended(ROW({})::text COLLATE "C", 0)), 0) FROM ONLY {} AS lifeboat')
    query = sql.SQL(" UNION ALL ").join(
        one.format(
            sql.Literal(table.oid),
            sql.SQL(", ").join(sql.Identifier("lifeboat", name) for name in columns.get(table.oid, ())),
            sql.Identifier(table.schema, table.name),
        )
        for table in batch
    )
    answer = _asked(connection, query, left_seconds)
    if isinstance(answer, str):
        if len(batch) == 1:
            reasons[batch[0].oid] = answer
        return False
    sums.update((oid, int(total)) for oid, total in answer)
    return True


def _large_objects(connection: Connection[Any], found: Found, stopped: Callable[[], bool], left_seconds: Callable[[], float | None]) -> str:
    answer = _TIME_IS_UP if stopped() else _asked(connection, _LARGE_OBJECTS, left_seconds())
    if isinstance(answer, str):
        found.missing[LARGE_OBJECTS] = answer
        return ""
    return _written(int(answer[0][0]))


def _asked(connection: Connection[Any], query: Any, left_seconds: float | None) -> list[Any] | str:
    """The rows, or why there are none. Raises `psycopg.Error` when the session is gone."""
    if left_seconds is not None and left_seconds <= 0:
        return _TIME_IS_UP
    try:
        with savepoint(connection):
            connection.execute("SET LOCAL lc_monetary = 'C'")
            if left_seconds is not None:
                connection.execute(f"SET LOCAL statement_timeout = {max(1, round(left_seconds * 1000))}")
            rows: list[Any] = connection.execute(query).fetchall()
            connection.execute("SET LOCAL statement_timeout = 0")
            return rows
    except psycopg().errors.QueryCanceled:
        return _TIME_IS_UP
    except psycopg().Error as error:
        if connection.closed:
            raise
        return first_line(error)


def _written(total: int) -> str:
    return f"{total % _MODULUS:016x}"
