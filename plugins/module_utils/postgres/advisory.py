# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time, across hosts: a lock inside the database that ends with the session that holds it.

The lock on the host (backup/lock.py) cannot see a second host. An advisory lock can, and needs no healing: the server
frees it when the session ends, however it ended.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import Locked
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors, psycopg, roll_back

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["advisory_lock"]


@contextlib.contextmanager
def advisory_lock(connection: Connection[Any], system: str, kind: str, name: str) -> Iterator[None]:
    """Hold the lock of system, kind and name in this session (autocommit) for the block.

    Raises `Locked` that says who holds it and since when, `DatabaseError`.
    """
    key = _key(system, kind, name)
    where = f"system {system!r}, {kind} {name!r}"
    with database_errors(where):
        row = connection.execute("SELECT pg_catalog.pg_try_advisory_lock(%s::bigint)", (key,)).fetchone()
        if not (row and row[0]):
            raise Locked(
                f"another run holds the lock in the database: {_holder(connection, key)}",
                where,
                "Wait for it; the lock ends with that session.",
            )
    try:
        yield
    finally:
        if not connection.closed:
            roll_back(connection)
            with contextlib.suppress(psycopg().Error):
                connection.execute("SELECT pg_catalog.pg_advisory_unlock(%s::bigint)", (key,))


def _key(system: str, kind: str, name: str) -> int:
    digest = hashlib.sha256("\0".join(("lifeboat", system, kind, name)).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _holder(connection: Connection[Any], key: int) -> str:
    """Who holds the lock: what a login may not see of another's session is left out."""
    high, low = (key >> 32) & 0xFFFFFFFF, key & 0xFFFFFFFF
    row = connection.execute(
        """
        SELECT l.pid, a.usename, a.application_name, host(a.client_addr), to_char(a.backend_start, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
        FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
          AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
          AND l.classid::bigint = %s AND l.objid::bigint = %s
        LIMIT 1
        """,
        (high, low),
    ).fetchone()
    if row is None:
        return "a session that has just ended"
    pid, user, application, address, since = row
    words = [f"server process {pid}"]
    if application:
        words.append(f"{application!r}")
    if user:
        words.append(f"of role {user!r}")
    words.append(f"from {address}" if address else "over a socket of the server's host" if since else "")
    if since:
        words.append(f"since {since}")
    return " ".join(word for word in words if word)
