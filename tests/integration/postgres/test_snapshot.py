# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One moment of a database, held still for the dump and the evidence."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError, EvidenceError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import open_connection
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import exported_snapshot
from support.clusters import Server


@pytest.fixture
def dbname(postgres: Server) -> Iterator[str]:
    with postgres.database() as name:
        yield name


@contextlib.contextmanager
def _reader(server: Server, dbname: str, snapshot_id: str, user: str = "postgres") -> Iterator[Any]:
    """Another session that sees what the snapshot sees, as pg_dump does."""
    with open_connection(server.login(dbname, user), application_name="reader") as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot_id}'")
        yield connection


def _count(connection: Any, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_another_session_sees_the_snapshot_and_not_what_came_after(postgres: Server, dbname: str) -> None:
    postgres.execute("CREATE TABLE t AS SELECT generate_series(1, 10) AS n", dbname)
    login = postgres.login(dbname)
    before = dt.datetime.now(dt.timezone.utc)
    with open_connection(login, application_name="a") as holder, exported_snapshot(holder) as snapshot:
        assert before - dt.timedelta(seconds=5) < snapshot.moment < dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=5)
        assert [(table.schema, table.name, table.kind) for table in snapshot.tables] == [("public", "t", "r")]
        postgres.execute("INSERT INTO t VALUES (11)", dbname)
        with _reader(postgres, dbname, snapshot.id) as reader:
            assert _count(reader, "public.t") == 10
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            holder.execute("DELETE FROM public.t")


def test_a_truncate_waits_until_the_snapshot_is_released(postgres: Server, dbname: str) -> None:
    postgres.execute("CREATE TABLE t AS SELECT generate_series(1, 10) AS n", dbname)
    login = postgres.login(dbname)
    with open_connection(login, application_name="a") as holder:
        with exported_snapshot(holder) as snapshot, _reader(postgres, dbname, snapshot.id) as early:
            assert _count(early, "public.t") == 10
            thread = threading.Thread(target=postgres.execute, args=("TRUNCATE t", dbname))
            thread.start()
            _wait_for_lock(postgres, dbname, "t")
            assert _count(holder, "public.t") == _count(early, "public.t") == 10
            # Who comes later waits behind the TRUNCATE: that is why evidence is counted in the holder's session.
            with _reader(postgres, dbname, snapshot.id) as late:
                late.execute("SET lock_timeout = 50")
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    _count(late, "public.t")
        thread.join()
        assert _count(holder, "public.t") == 0


def _wait_for_lock(server: Server, dbname: str, table: str) -> None:
    with server.connect(dbname) as watcher:
        for _ in range(60_000):
            row = watcher.execute(
                "SELECT count(*), pg_sleep(0.005) FROM pg_locks WHERE NOT granted AND relation = %s::regclass", (table,)
            ).fetchone()
            if row and row[0]:
                return
    raise AssertionError(f"nobody waits for a lock of {table}")


def test_a_table_that_stays_locked_is_named(postgres: Server, dbname: str) -> None:
    postgres.execute("CREATE TABLE busy (n int)", dbname)
    with postgres.connect(dbname) as blocker, open_connection(postgres.login(dbname), application_name="a") as holder:
        blocker.execute("BEGIN")
        blocker.execute("LOCK TABLE busy IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseError, match=r"locked by another session for too long.*lock_timeout"):
            with exported_snapshot(holder, lock_timeout_seconds=0.05):
                pass
        assert holder.info.transaction_status == 0


def test_tables_that_the_role_may_not_read_are_named_before_anything_runs(postgres: Server, dbname: str) -> None:
    with postgres.role("reader"), postgres.database(dbname + "x") as own:
        postgres.execute("CREATE TABLE open (n int); CREATE TABLE secret (n serial); GRANT SELECT ON open TO reader", own)
        with open_connection(postgres.login(own, "reader"), application_name="a") as holder:
            with pytest.raises(DatabaseError, match=r"'reader' may not read 2 .*public.secret, public.secret_n_seq.*pg_read_all_data"):
                with exported_snapshot(holder):
                    pass


def test_large_objects_that_the_role_may_not_read_are_counted(postgres: Server, dbname: str) -> None:
    with postgres.role("reader", "LOGIN IN ROLE pg_read_all_data"), postgres.database(dbname + "x") as own:
        postgres.execute("SELECT lo_create(n) FROM generate_series(1, 3) n", own)
        postgres.execute("GRANT SELECT ON LARGE OBJECT 2 TO reader; GRANT SELECT ON LARGE OBJECT 3 TO PUBLIC", own)
        with open_connection(postgres.login(own, "reader"), application_name="a") as holder:
            with pytest.raises(DatabaseError, match=r"'reader' may not read 1 large object of"), exported_snapshot(holder):
                pass
        postgres.execute("GRANT SELECT ON LARGE OBJECT 1 TO pg_read_all_data", own)
        with open_connection(postgres.login(own, "reader"), application_name="a") as holder, exported_snapshot(holder):
            pass


def test_row_level_security_is_refused_and_never_counted_less(postgres: Server, dbname: str) -> None:
    with postgres.role("reader"), postgres.database(dbname + "x") as own:
        postgres.execute(
            "CREATE TABLE mine (owner text); INSERT INTO mine VALUES ('reader'), ('other');"
            "ALTER TABLE mine ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON mine USING (owner = current_user);"
            "GRANT pg_read_all_data TO reader",
            own,
        )
        with open_connection(postgres.login(own, "reader"), application_name="a") as holder:
            with pytest.raises(EvidenceError, match=r"hide rows from role 'reader' in 1 table \(public.mine\).*BYPASSRLS"):
                with exported_snapshot(holder):
                    pass
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                _count(holder, "public.mine")
        postgres.execute("ALTER ROLE reader BYPASSRLS")
        with open_connection(postgres.login(own, "reader"), application_name="a") as holder, exported_snapshot(holder):
            pass


def test_tables_that_come_and_go_meanwhile_do_not_disturb(postgres: Server, dbname: str) -> None:
    postgres.execute("CREATE TABLE steady (n int)", dbname)
    stop = threading.Event()

    def churn() -> None:
        with postgres.connect(dbname) as connection:
            while not stop.is_set():
                connection.execute("CREATE TABLE passing (n int)")
                connection.execute("INSERT INTO passing VALUES (1)")
                connection.execute("DROP TABLE passing")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        with open_connection(postgres.login(dbname), application_name="a") as holder:
            for _ in range(20):
                with exported_snapshot(holder) as snapshot:
                    assert "steady" in {table.name for table in snapshot.tables}
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def _emptied_before_its_lock(server: Server, dbname: str) -> Iterator[Any]:
    """A table that the listing did not show yet and that is emptied between the snapshot and its lock.

    Gives the function that plays this against whoever waits for the lock of table `first` by then.
    """
    with server.connect(dbname) as gate, server.connect(dbname) as other:
        gate.execute("BEGIN; LOCK TABLE first IN ACCESS EXCLUSIVE MODE")

        def play() -> None:
            _wait_for_lock(server, dbname, "first")  # for `first`: the listing is done
            other.execute("CREATE TABLE second (n int)")
            other.execute("INSERT INTO second VALUES (1)")
            other.execute("BEGIN; TRUNCATE second")
            gate.execute("COMMIT")
            _wait_for_lock(server, dbname, "second")  # the snapshot shows it as it was before
            other.execute("COMMIT")

        yield play


def test_a_table_emptied_between_the_snapshot_and_its_lock_makes_it_be_taken_again(postgres: Server, dbname: str) -> None:
    postgres.execute("CREATE TABLE first (n int)", dbname)
    with _emptied_before_its_lock(postgres, dbname) as play, open_connection(postgres.login(dbname), application_name="a") as holder:
        thread = threading.Thread(target=play)
        thread.start()
        with exported_snapshot(holder) as snapshot:
            thread.join()
            (second,) = [table for table in snapshot.tables if table.name == "second"]
            found = holder.execute("SELECT pg_relation_filenode('public.second'), (SELECT count(*) FROM public.second)").fetchone()
            assert found == (second.filenode, 0)


def test_a_database_that_never_holds_still_is_given_up_with_the_names(postgres: Server, dbname: str) -> None:
    postgres.execute("CREATE TABLE first (n int)", dbname)
    with _emptied_before_its_lock(postgres, dbname) as play, open_connection(postgres.login(dbname), application_name="a") as holder:
        thread = threading.Thread(target=play)
        thread.start()
        with pytest.raises(DatabaseError, match=r"no quiet moment .* within 0 s: .* \(public\.second\)"):
            with exported_snapshot(holder, quiet_within_seconds=0):
                pass
        thread.join()


def test_timeouts_of_the_role_do_not_end_the_session_that_holds_it(postgres: Server, dbname: str) -> None:
    with postgres.role("hurried", "LOGIN SUPERUSER"):
        for name in ("idle_in_transaction_session_timeout", "statement_timeout", "idle_session_timeout", "lock_timeout"):
            postgres.execute(f"ALTER ROLE hurried SET {name} = '500ms'")
        postgres.execute("CREATE TABLE t (n int)", dbname)
        login = postgres.login(dbname, "hurried")
        with open_connection(login, application_name="a") as holder, exported_snapshot(holder) as snapshot:
            with _reader(postgres, dbname, snapshot.id, "hurried") as reader:
                reader.execute("SELECT pg_sleep(0.8)")
            assert holder.execute("SELECT 1").fetchone() == (1,)
