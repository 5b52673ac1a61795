# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's own queries: their rows, as PostgreSQL writes them, so that two databases can be compared by text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import EvidenceError
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import QueryRows
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import savepoint
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.search_path import use_database_search_path

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.pq.abc import PGresult

__all__ = ["MOST_BYTES", "MOST_ROWS", "query_rows"]

MOST_ROWS = 1000
MOST_BYTES = 1024 * 1024
_BATCH = 50


def query_rows(connection: Connection[Any], name: str, query: str) -> QueryRows:
    """The rows of one SELECT in this (read-only) transaction; names are looked up along the database's own `search_path`.

    It runs as a cursor, so it is one statement that can neither write nor end the transaction. Raises `EvidenceError`
    when there are more than `MOST_ROWS` rows or `MOST_BYTES`, `psycopg.Error` for whatever PostgreSQL says.
    """
    text = query.strip().rstrip("; \n").encode(connection.info.encoding)
    rows: list[tuple[str | None, ...]] = []
    size_bytes = 0
    with savepoint(connection, undo=True), connection.cursor(name="lifeboat_evidence") as cursor:
        use_database_search_path(connection)
        cursor.execute(text)
        columns = tuple(column.name for column in cursor.description or ())
        while True:
            # Python has no value for some of PostgreSQL's ("infinity", a year of 10,000), so the text is taken as it came.
            result = connection.execute(f"FETCH FORWARD {_BATCH} FROM lifeboat_evidence").pgresult
            fetched = _cells(result) if result is not None else []
            size_bytes += sum(len(cell) for row in fetched for cell in row if cell is not None)
            rows += [tuple(None if cell is None else cell.decode(connection.info.encoding) for cell in row) for row in fetched]
            if len(rows) > MOST_ROWS or size_bytes > MOST_BYTES:
                raise EvidenceError(
                    f"query {name!r} gives more than {MOST_ROWS} rows or {MOST_BYTES} bytes", "", "Let it count or aggregate."
                )
            if len(fetched) < _BATCH:
                return QueryRows(query, columns, tuple(rows))


def _cells(result: PGresult) -> list[list[bytes | None]]:
    return [[result.get_value(row, column) for column in range(result.nfields)] for row in range(result.ntuples)]
