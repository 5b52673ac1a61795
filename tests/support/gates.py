# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A parallel pg_dump is held where its workers log in: by then the leader has locked every table itself, and they have none.

What happens between the two is a matter of milliseconds otherwise. From PostgreSQL 17 on, which has triggers for a login.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from support.clusters import Server
from support.leaks import eventually

__all__ = ["KEYS", "gate_for_workers", "worker_waits"]

KEYS = (42, 43)
"""Advisory locks: of the gate, and of the worker that was let through."""


@contextlib.contextmanager
def gate_for_workers(server: Server, dbname: str, table: str, through: int = 0) -> Iterator[Callable[[], None]]:
    """While the block runs, workers of a dump of this database wait, but for one if `through` is 1; until what it gives is called.

    A worker is told by two who have locked the `table` already: the session of the snapshot, and the leader.
    """
    passes = f"pg_try_advisory_lock({KEYS[1]})" if through else "false"
    server.execute(
        f"""
        CREATE FUNCTION gate() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
            IF current_setting('application_name') LIKE 'lifeboat 2%'
                AND (SELECT count(DISTINCT pid) FROM pg_locks WHERE relation = 'public.{table}'::regclass AND pid <> pg_backend_pid()) > 1
                AND NOT {passes}
            THEN
                PERFORM pg_advisory_xact_lock_shared({KEYS[0]});
            END IF;
        END $$;
        CREATE EVENT TRIGGER gate ON login EXECUTE FUNCTION gate();
        """,
        dbname,
    )
    with server.connect(dbname) as keeper:
        keeper.execute(f"SELECT pg_advisory_lock({KEYS[0]})")
        yield lambda: keeper.execute(f"SELECT pg_advisory_unlock({KEYS[0]})").close()


def worker_waits(server: Server, dbname: str) -> None:
    """Until one stands at the gate."""
    with server.connect(dbname) as watcher:
        waiting = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = %s"
        eventually(lambda: watcher.execute(waiting, KEYS[:1]).fetchone() == (True,), "a worker stands at the gate")
