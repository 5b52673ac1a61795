# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot with its place in the log: by a slot, where nothing is in flight, where a standby stands still; else bounds, called so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login, open_connection
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.position import Positioned, later_snapshot, positioned_snapshot
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.slot_snapshot import _visible
from support.clusters import Server
from support.leaks import eventually
from support.parts import require
from support.standbys import PRIMARY, Standby

SLOT, QUIET = "the snapshot of a logical replication slot", "nothing was in flight"
COMMON = {"max_prepared_transactions": "4", "max_replication_slots": "1", "max_wal_senders": "4", "autovacuum": "off"}


@pytest.fixture(scope="module", params=[15, 18], ids=["pg15", "pg18"])
def logical(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with wal_level = logical and one replication slot."""
    require(f"postgresql:{request.param}")
    with Server(request.param, {**COMMON, "wal_level": "logical"}) as server:
        server.execute("CREATE TABLE orders (id int); INSERT INTO orders SELECT generate_series(1, 10)")
        yield server


@pytest.fixture(scope="module")
def replica() -> Iterator[Server]:
    """A server with wal_level = replica."""
    require("postgresql:15")
    with Server(15, {**COMMON, **PRIMARY}) as server:
        server.execute("CREATE TABLE orders (id int); INSERT INTO orders SELECT generate_series(1, 10)")
        yield server


@contextmanager
def positioned(login: Login, seconds: float = 60.0) -> Iterator[Positioned]:
    with (
        open_connection(login, application_name="test") as connection,
        positioned_snapshot(connection, login, within_seconds=seconds) as found,
    ):
        yield found


def slots(server: Server) -> int:
    with server.connect() as conn:
        return len(conn.execute("SELECT FROM pg_replication_slots").fetchall())


@contextmanager
def unfinished(server: Server) -> Iterator[None]:
    """A transaction that has written and does not end."""
    with server.connect() as conn, conn.transaction(force_rollback=True):
        conn.execute("INSERT INTO orders VALUES (0)")
        yield


@contextmanager
def prepared(server: Server) -> Iterator[None]:
    with server.connect() as conn:
        conn.execute("BEGIN; INSERT INTO orders VALUES (0); PREPARE TRANSACTION 'waits'")
        try:
            yield
        finally:
            conn.execute("ROLLBACK PREPARED 'waits'")


def test_a_slot_gives_its_snapshot_and_is_gone_before_anything_is_counted(logical: Server) -> None:
    with positioned(logical.login()) as found:
        assert (found.exact, found.how) == (True, SLOT)
        assert slots(logical) == 0
        logical.execute("INSERT INTO orders VALUES (99)")
        assert found.snapshot.connection.execute("SELECT count(*) FROM public.orders WHERE id = 99").fetchone() == (0,)
    logical.execute("DELETE FROM orders WHERE id = 99")


def test_without_a_free_slot_a_moment_without_transactions_is_taken(logical: Server) -> None:
    with logical.connect() as conn:
        conn.execute("SELECT pg_create_physical_replication_slot('of_somebody')")
        try:
            with positioned(logical.login()) as found:
                assert (found.exact, found.how) == (True, QUIET)
        finally:
            conn.execute("SELECT pg_drop_replication_slot('of_somebody')")


def test_a_login_that_may_not_replicate_takes_such_a_moment_too(logical: Server) -> None:
    with logical.role("reader", "LOGIN IN ROLE pg_read_all_data"), positioned(logical.login(user="reader")) as found:
        assert (found.exact, found.how) == (True, QUIET)


def test_a_login_that_may_not_read_a_table_is_told_before_anything_happens(logical: Server) -> None:
    with (
        logical.role("blind"),
        pytest.raises(DatabaseError, match="may not read 1 tables or sequences"),
        positioned(logical.login(user="blind")),
    ):
        pass


@pytest.mark.parametrize("unended", [unfinished, prepared])
def test_what_does_not_end_leaves_bounds_with_the_reason(logical: Server, unended: object) -> None:
    with unended(logical), positioned(logical.login(), 2.0) as found:  # type: ignore[operator]
        assert not found.exact
        assert "a transaction that was running did not end within" in found.how
        assert ("1 prepared transaction waited" if unended is prepared else "transactions were in flight") in found.how
    # The server answers that it gave up a moment before it has cleared away.
    eventually(lambda: slots(logical) == 0, "the slot is gone")


WAITS = """
import sys
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login, open_connection
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.position import positioned_snapshot
login = Login(unix_socket=sys.argv[1], port=int(sys.argv[2]))
with open_connection(login, application_name="killed") as connection:
    with positioned_snapshot(connection, login, within_seconds=float(sys.argv[3])):
        pass
"""


@pytest.mark.parametrize("ends", ["when the transaction that it waits for ends", "by itself"])
def test_a_run_that_is_killed_while_its_slot_is_made_leaves_none(logical: Server, ends: str) -> None:
    seconds = "600" if ends.startswith("when") else "8"
    with unfinished(logical):
        argv = [sys.executable, "-c", WAITS, str(logical.socket_dir), str(logical.port), seconds]
        with subprocess.Popen(argv) as process:
            try:
                eventually(lambda: slots(logical) == 1 or process.poll() is not None, "the slot is being made")
                assert process.poll() is None
            finally:
                os.kill(process.pid, signal.SIGKILL)
        if ends == "by itself":
            eventually(lambda: slots(logical) == 0, "the server has ended the waiting")
    eventually(lambda: slots(logical) == 0, "the slot is gone")


def test_on_wal_level_replica_the_moment_is_exact_when_nothing_is_in_flight(replica: Server) -> None:
    def at_the_end_of_the_log() -> bool:
        with positioned(replica.login()) as found:
            assert (found.exact, found.how) == (True, QUIET)
            with replica.connect() as conn:
                return conn.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone() == (str(found.lsn),)

    # Now and then the server itself writes a record (who is running), which belongs to no transaction.
    eventually(at_the_end_of_the_log, "the position is the end of the log")


def test_bounds_hold_what_was_committed_before_the_position_and_nothing_of_later(replica: Server) -> None:
    counted = "SELECT count(*) FROM public.orders"
    with replica.connect() as writer, open_connection(replica.login(), application_name="test") as connection:
        writer.execute("BEGIN; INSERT INTO orders VALUES (0)")
        with positioned_snapshot(connection, replica.login(), within_seconds=0.5) as found:
            assert (found.exact, found.how) == (False, "bounds, since transactions were in flight all the time")
            assert len(found.in_flight) == 1
            replica.execute("INSERT INTO orders VALUES (98)")
            assert connection.execute(counted).fetchone() == (10,)
        writer.execute("COMMIT")
        with later_snapshot(connection, found) as later:
            assert later.connection.execute(counted).fetchone() == (12,)
    replica.execute("DELETE FROM orders WHERE id IN (0, 98)")


def test_a_standby_that_stands_still_is_exact_at_what_it_has_replayed(replica: Server) -> None:
    with Standby(replica, {"hot_standby_feedback": "on", "max_prepared_transactions": "4"}) as standby:
        standby.catch_up()
        with positioned(standby.login()) as found, standby.connect() as conn:
            assert (found.exact, found.how) == (True, "the standby stood still")
            assert conn.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (str(found.lsn),)).fetchone() == (True,)
            assert found.snapshot.connection.execute("SELECT count(*) FROM public.orders").fetchone() == (10,)


@pytest.mark.parametrize(
    ("number", "snapshot", "visible"),
    [
        (9, "10:20:10,12", True),
        (10, "10:20:10,12", False),
        (11, "10:20:10,12", True),
        (20, "10:20:10,12", False),
        # Numbers in locks have 32 bits, those of snapshots 64.
        (4294967295, "4294967300:4294967301:", True),
        (5, "4294967290:4294967300:4294967301", False),
        (5, "4294967290:4294967305:", True),
    ],
)
def test_who_is_over_for_a_snapshot(number: int, snapshot: str, visible: bool) -> None:
    assert _visible(number, snapshot) is visible
