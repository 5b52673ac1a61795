# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exact rows of every table, each row counted once: ordinary tables and partitions without their children, their sums above."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import TableRows
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import psycopg, savepoint
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import TableRef

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["ALONE", "Trees", "batches", "count_rows", "partition_trees"]

ALONE: tuple[str, list[int], bool] = ("", [], False)
"""What `partition_trees` would say of a table that is in none."""
_BATCH_TABLES = 100
_BATCH_PAGES = 1000

# pg_dump loads such a tree through its topmost table, because the hash of an enum is not the same after a restore
# (src/bin/pg_dump/pg_dump.c, getPartitioningInfo).
_TREES = """
    WITH RECURSIVE unsafe AS (
        SELECT p.partrelid FROM pg_partitioned_table p
        WHERE (SELECT c.oid FROM pg_opclass c JOIN pg_am a ON a.oid = c.opcmethod
               WHERE c.opcname = 'enum_ops' AND c.opcnamespace = 'pg_catalog'::regnamespace AND a.amname = 'hash') = ANY (p.partclass)
    ), tree AS (
        SELECT c.oid, c.oid AS root, ARRAY[c.oid] AS above, c.oid IN (SELECT partrelid FROM unsafe) AS rehashed
        FROM pg_class c WHERE c.relkind = 'p' AND NOT c.relispartition
        UNION ALL
        SELECT h.inhrelid, t.root, t.above || h.inhrelid, t.rehashed OR h.inhrelid IN (SELECT partrelid FROM unsafe)
        FROM tree t JOIN pg_inherits h ON h.inhparent = t.oid
    )
    SELECT t.oid::bigint, n.nspname || '.' || c.relname, t.above::bigint[], t.rehashed
    FROM tree t JOIN pg_class c ON c.oid = t.root JOIN pg_namespace n ON n.oid = c.relnamespace
"""


Trees = Mapping[int, "tuple[str, list[int], bool]"]
"""By OID of a table in a partition tree: the name of the topmost one, the OIDs from there down to it, and whether it is rehashed."""


def partition_trees(connection: Connection[Any]) -> Trees:
    """Which partitions belong to what, as this transaction sees them."""
    return {oid: (root, above, rehashed) for oid, root, above, rehashed in connection.execute(_TREES).fetchall()}


def count_rows(
    connection: Connection[Any], tables: Sequence[TableRef], trees: Trees, stopped: Callable[[], bool] = lambda: False
) -> tuple[TableRows, ...]:
    """The rows of `tables` as this transaction sees them, the small ones first.

    When `stopped` or cancelled, what is left has no count (`rows` is None). Raises `psycopg.Error`.
    """
    rows: dict[int, int | None] = {}
    for batch in batches([table for table in tables if table.kind == "r"]):
        rows.update(dict.fromkeys(table.oid for table in batch) if stopped() else _count(connection, batch))
    for table in tables:
        if table.kind == "p":
            below = [rows[leaf.oid] for leaf in tables if leaf.kind == "r" and table.oid in trees.get(leaf.oid, ALONE)[1]]
            rows[table.oid] = None if None in below else sum(count for count in below if count is not None)
    counted = []
    for table in tables:
        root, above, rehashed = trees.get(table.oid, ALONE)
        inside = len(above) > 1
        counted.append(TableRows(table.schema, table.name, rows[table.oid], root if inside else "", rehashed and inside))
    return tuple(counted)


def batches(tables: Sequence[TableRef]) -> Iterator[list[TableRef]]:
    """Small tables many at a time, since each question costs a journey; large ones alone, since any may be the last in time."""
    batch: list[TableRef] = []
    pages = 0
    for table in sorted(tables, key=lambda table: table.pages):
        if batch and (len(batch) == _BATCH_TABLES or pages + table.pages > _BATCH_PAGES):
            yield batch
            batch, pages = [], 0
        batch.append(table)
        pages += table.pages
    if batch:
        yield batch


def _count(connection: Connection[Any], batch: Sequence[TableRef]) -> dict[int, int | None]:
    sql = deps.load("psycopg.sql", package="psycopg", debian="python3-psycopg")
    one = sql.SQL("SELECT {}::bigint, count(*) FROM ONLY {}")
    query = sql.SQL(" UNION ALL ").join(one.format(sql.Literal(table.oid), sql.Identifier(table.schema, table.name)) for table in batch)
    try:
        with savepoint(connection):
            return dict(connection.execute(query).fetchall())
    except psycopg().errors.QueryCanceled:
        return dict.fromkeys(table.oid for table in batch)
