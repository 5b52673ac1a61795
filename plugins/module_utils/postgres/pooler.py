# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a connection pooler in between that hands one server session to several clients?

A snapshot, its locks and every pinned setting belong to a session of the server. A pooler that shares sessions out by the
transaction (pgbouncer's pool_mode transaction, the pooled addresses of managed servers) takes them away from under a backup.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login, database_errors, one_row, open_connection

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["DIRECT", "lost_snapshot", "refuse_pooler"]

DIRECT = (
    "Use the direct connection: PostgreSQL's own port instead of the pooler's"
    " (Neon: the host name without -pooler; Supabase: port 5432 instead of 6543), or a pool of mode session."
)

_LOST = re.compile(r'invalid snapshot identifier|snapshot "[^"]*" does not exist|could not import the requested snapshot')


def refuse_pooler(connection: Connection[Any], login: Login) -> None:
    """Raise `DatabaseError` when the session of `connection` (idle, autocommit) is also handed to another client.

    Who talks to the server itself was told the process id of its session when it logged in. Where another one answers,
    something is in between; whether it shares sessions out is seen by opening a second one while the first is idle.
    """
    with database_errors(login.place):
        (first,) = one_row(connection, "SELECT pg_catalog.pg_backend_pid()")
        if first == connection.info.backend_pid:
            return
        shared = False
        with open_connection(login, application_name="lifeboat look") as other:
            for _attempt in range(3):
                (second,) = one_row(other, "SELECT pg_catalog.pg_backend_pid()")
                (first,) = one_row(connection, "SELECT pg_catalog.pg_backend_pid()")
                shared = shared or first == second
    if shared:
        raise DatabaseError("a connection pooler stands before the server and gives one session to several clients", login.place, DIRECT)


def lost_snapshot(stderr: str, place: str) -> DatabaseError | None:
    """What to say when a client program could not use the snapshot that our session holds, or None when it was not that."""
    if not _LOST.search(stderr):
        return None
    return DatabaseError(
        "a second session of the same login does not see the snapshot of the first: it reached another server, or a pooler ended the first",
        place,
        DIRECT,
    )
