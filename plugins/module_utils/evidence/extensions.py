# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows that an extension keeps in tables of its own and wants to be dumped: `pg_extension_config_dump`.

Such a table belongs to its extension, so it is in no list of tables, and CREATE EXTENSION fills it with what the extension
brings. What the operator put there is in the dump, so it is counted like any named query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["configuration_queries", "count_subscriptions"]

_TABLES = """
    SELECT e.extname::text, format('%I.%I', n.nspname, c.relname), coalesce(t.condition, '')
    FROM pg_extension e, ROWS FROM (unnest(e.extconfig), unnest(e.extcondition)) AS t(oid, condition)
    JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') ORDER BY 1, 2
"""


def configuration_queries(connection: Connection[Any]) -> dict[str, str]:
    """A query by name for each configuration table: how many rows of it the dump holds."""
    with database_errors():
        tables = connection.execute(_TABLES).fetchall()
    return {
        f"configuration of extension {extension}, {table}": f"SELECT count(*) AS rows FROM {table} {condition}".rstrip()  # noqa: S608
        for extension, table, condition in tables
    }


def count_subscriptions(connection: Connection[Any]) -> int:
    """How many subscriptions a dump by this login leaves out."""
    with database_errors():
        query = (
            "SELECT count(*) FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database()"
            " AND NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user)"
        )
        return int(connection.execute(query).fetchall()[0][0])
