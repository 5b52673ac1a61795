# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recovery brings back of what production was: everything but unlogged tables, which come back empty, and their sequences.

Nothing of them is in the log, so PostgreSQL empties them at the end of every recovery (reinit.c).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.counts import ALONE, partition_trees
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import Evidence
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import dumped_tables, named
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["after_recovery"]

_UNLOGGED = """
    SELECT c.oid::bigint, c.relkind::text, pg_catalog.format('%I.%I', n.nspname, c.relname)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'S') AND c.relpersistence = 'u' ORDER BY 3
"""


def after_recovery(evidence: Evidence, connection: Connection[Any]) -> tuple[Evidence, str]:
    """The evidence as a recovered database has to answer it, and what is to be said about that, or "".

    `connection` is a session in the recovered database, whose own catalog says what is unlogged; the catalog is logged, so its
    definitions are compared like any others. Raises `DatabaseError`.
    """
    with database_errors("the recovered database"):
        unlogged = connection.execute(_UNLOGGED).fetchall()
        if not unlogged:
            return evidence, ""
        trees = partition_trees(connection)
        labels = {table.oid: f"{table.schema}.{table.name}" for table in dumped_tables(connection)}
    sequences = {name for _oid, kind, name in unlogged if kind == "S"}
    emptied = {oid: [labels[above] for above in trees.get(oid, ALONE)[1] or [oid]] for oid, _kind, _name in unlogged if oid in labels}
    touched = {label for above in emptied.values() for label in above}
    rows = _less({table.label: table.rows for table in evidence.tables}, emptied, labels)
    later = None if evidence.later_rows is None else _less(evidence.later_rows, emptied, labels)
    digests = evidence.digests
    if digests is not None:
        digests = dataclasses.replace(digests, tables={label: digest for label, digest in digests.tables.items() if label not in touched})
    expected = dataclasses.replace(
        evidence,
        tables=tuple(dataclasses.replace(table, rows=rows[table.label]) for table in evidence.tables),
        later_rows=None if later is None else {label: count for label, count in later.items() if count is not None},
        sequences=tuple(position for position in evidence.sequences if position.name not in sequences),
        digests=digests,
    )
    names = [name for _oid, kind, name in unlogged if kind == "r"]
    said = f"{many(len(names), 'unlogged table')} came back empty, as after every recovery: {named(names)}" if names else ""
    return expected, said


def _less(rows: Mapping[str, int | None], emptied: Mapping[int, list[str]], labels: Mapping[int, str]) -> dict[str, int | None]:
    """The numbers without the rows of emptied tables, neither in themselves nor in the sums of the trees above them."""
    left = dict(rows)
    for oid, above in emptied.items():
        gone = rows.get(labels.get(oid, ""))
        for label in above:
            count = left.get(label)
            if label in left and count is not None and gone is not None:
                left[label] = count - gone
    return left
