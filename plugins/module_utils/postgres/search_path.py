# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the operator's own queries look names up: where the application does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["use_database_search_path"]


def use_database_search_path(connection: Connection[Any]) -> None:
    """Until the end of this transaction, look names up along the database's own `search_path`.

    That of ALTER DATABASE, which a restore brings back, else PostgreSQL's default; never that of the role that happens to
    ask, so that a query means the same in production and after a restore. Raises `psycopg.Error`.
    """
    connection.execute(
        """
        SELECT pg_catalog.set_config('search_path', coalesce((
            SELECT pg_catalog.substr(entry, 13)
            FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) AS entry
            WHERE s.setrole = 0 AND entry LIKE 'search\\_path=%'
              AND s.setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
        ), '"$user", public'), true)
        """
    )
