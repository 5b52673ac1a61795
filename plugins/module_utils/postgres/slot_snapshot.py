# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshot that a logical replication slot exports at its consistent point: the one that is exact at a position by its nature.

The slot is temporary, lives for as long as it takes to import its snapshot, and goes with its session, whatever becomes of us. It is made
with wal_level = logical, by a role with REPLICATION, when whoever is in a transaction at that moment has ended.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login, database_errors, one_row, psycopg
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.faults import first_line
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn

if TYPE_CHECKING:
    import datetime as dt

    from psycopg import Connection

__all__ = ["Missed", "slot_snapshot"]

_SETTLE_SECONDS = 30.0
_POLL_SECONDS = 0.002
_RUNNING = (
    "SELECT coalesce(pg_catalog.array_agg(transactionid::text), '{}') FROM pg_catalog.pg_locks"
    " WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted"
)


class Missed(Exception):
    """An exact snapshot was not to be had this time, for this reason; `final`: nor will it be."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final


def slot_snapshot(
    connection: Connection[Any], login: Login, begin: Callable[[], None], seconds: float
) -> tuple[Lsn, tuple[str, dt.datetime]]:
    """Import the snapshot of a new slot into a transaction of `connection` that `begin` begins; its position, its name and the moment.

    `seconds` is how long to wait for transactions that are running. Raises `Missed`, `DatabaseError`.
    """
    sql = deps.load("psycopg.sql", package="psycopg", debian="python3-psycopg")
    name = f"lifeboat_{secrets.token_hex(8)}"
    with _walsender(login, seconds) as walsender:
        export = "(SNAPSHOT 'export')" if connection.info.server_version >= 150000 else "EXPORT_SNAPSHOT"
        position, exported = _create(walsender, f"CREATE_REPLICATION_SLOT {name} TEMPORARY LOGICAL pgoutput {export}", seconds)
        with database_errors():
            begin()
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(exported)))
            snapshot, moment = one_row(connection, "SELECT pg_catalog.pg_current_snapshot()::text, pg_catalog.statement_timestamp()")
        # The transaction keeps what it imported; the slot would keep the server from cleaning up.
        with contextlib.suppress(psycopg().Error):
            walsender.execute(f"DROP_REPLICATION_SLOT {name}".encode())
    _settle(connection, snapshot)
    return position, (exported, moment)


@contextlib.contextmanager
def _walsender(login: Login, seconds: float) -> Iterator[Connection[Any]]:
    """A replication session in the database. The server itself ends its waiting: a session that waits does not notice that we are gone."""
    library = psycopg()
    secret = {"password": login.password} if login.password else {}
    try:
        conninfo = login.conninfo("lifeboat evidence", replication="database")
        connection = library.Connection.connect(conninfo, autocommit=True, **secret)
    except library.Error as error:
        raise Missed(f"the login may not replicate in the database ({first_line(error)})", final=True) from None
    try:
        with database_errors(login.place):
            connection.execute(f"SET lock_timeout = {max(1, round(seconds * 1000))}".encode())
        yield connection
    finally:
        connection.close()


def _create(walsender: Connection[Any], statement: str, seconds: float) -> tuple[Lsn, str]:
    library = psycopg()
    timer = threading.Timer(seconds, _cancel, [walsender])
    timer.daemon = True
    timer.start()
    try:
        row = walsender.execute(statement.encode()).fetchone()
    except (library.errors.LockNotAvailable, library.errors.QueryCanceled):
        raise Missed(f"a transaction that was running did not end within {seconds:.0f} s", final=True) from None
    except library.errors.ConfigurationLimitExceeded:
        raise Missed("no replication slot is free (max_replication_slots)", final=True) from None
    except library.errors.InsufficientPrivilege:
        raise Missed("the login's role lacks REPLICATION", final=True) from None
    except library.Error as error:
        raise Missed(f"no replication slot could be made ({first_line(error)})", final=True) from None
    finally:
        timer.cancel()
    if row is None:
        raise Missed("the server made no replication slot", final=True)
    _name, position, exported = (value.decode() if isinstance(value, bytes) else str(value) for value in row[:3])
    return Lsn.parse(position), exported


def _cancel(walsender: Connection[Any]) -> None:
    with contextlib.suppress(psycopg().Error, OSError):
        walsender.cancel()


def _settle(connection: Connection[Any], snapshot: str) -> None:
    """Wait for those whose commit the snapshot shows already, since the log does, and who have not said so to the server yet.

    Until then a reader would take them for aborted. It lasts as long as from the log's fsync to the next line of the same process.
    """
    until = time.monotonic() + _SETTLE_SECONDS
    while True:
        with database_errors():
            (running,) = one_row(connection, _RUNNING)
        if not any(_visible(int(number), snapshot) for number in running):
            return
        if time.monotonic() > until:
            raise Missed("a commit that was in the log did not come to its end")
        time.sleep(_POLL_SECONDS)


def _visible(number: int, snapshot: str) -> bool:
    """Whether a transaction, by the 32 bits that locks know of its number, is over for a snapshot (`xmin:xmax:running,…`)."""
    _xmin, xmax, running = snapshot.split(":")
    limit = int(xmax)
    whole = (limit >> 32 << 32) + number
    if whole > limit + 2**31:
        whole -= 2**32
    elif whole < limit - 2**31:
        whole += 2**32
    return whole < limit and str(whole) not in running.split(",")
