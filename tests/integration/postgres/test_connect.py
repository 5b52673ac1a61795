# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real logins: refused in a sentence, pinned against what a role carries, and one at a time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError, Locked
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.advisory import advisory_lock
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login, open_connection, server_facts
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.credentials import client_credentials
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import PgDump
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import exported_snapshot
from support.clusters import Server


@pytest.fixture(scope="module")
def private() -> Iterator[Server]:
    """A server of this file's own, which may be reconfigured and stopped."""
    with Server(18, tcp=True) as server:
        yield server


REFUSALS: dict[str, tuple[Callable[[Login], Login], str]] = {
    "no server": (lambda login: replace(login, port=1), r"no server answers there \(database 'postgres' on 127\.0\.0\.1:1\)\. Check"),
    "no socket": (lambda _login: Login(unix_socket="/nowhere"), "no server answers there.*socket in /nowhere"),
    "wrong password": (lambda login: replace(login, password="wrong"), "refused the login of 'postgres'.*login_password"),
    "no password": (lambda login: replace(login, password=""), "asks for a password.*login_password"),
    "no database": (lambda login: replace(login, dbname="nope"), "there is no database 'nope'.*login_db"),
    "no role": (lambda login: replace(login, user="nope", password="x"), "refused the login of 'nope'"),
    "unknown host": (lambda login: replace(login, host="nowhere.invalid"), "name is not known"),
    "no TLS": (lambda login: replace(login, ssl_mode="require"), "encrypted connection was refused.*ssl_mode"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_login_that_is_refused_says_why_and_what_to_do(postgres: Server, name: str) -> None:
    change, words = REFUSALS[name]
    with pytest.raises(DatabaseError, match=words) as caught:
        open_connection(change(postgres.login(tcp=True)), application_name="test")
    assert "\n" not in str(caught.value)
    assert postgres.password not in str(caught.value)


def test_a_missing_pg_hba_entry_and_a_full_server_are_named(private: Server) -> None:
    hba = private.data / "pg_hba.conf"
    before = hba.read_text()
    private.execute("CREATE ROLE limited LOGIN CONNECTION LIMIT 0; CREATE ROLE nologin")
    hba.write_text("local all all trust\n")
    private.execute("SELECT pg_reload_conf()")
    try:
        with pytest.raises(DatabaseError, match=r"no pg_hba\.conf entry that lets 'postgres' in.*scram"):
            _until_refused(private.login(tcp=True))
    finally:
        hba.write_text(before)
        private.execute("SELECT pg_reload_conf()")
    with pytest.raises(DatabaseError, match="takes no more connections"):
        open_connection(private.login(user="limited"), application_name="test")
    with pytest.raises(DatabaseError, match="'nologin' has no LOGIN"):
        open_connection(private.login(user="nologin"), application_name="test")


def _until_refused(login: Login) -> None:
    """A reload takes a moment."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        open_connection(login, application_name="test").close()


def test_the_facts_of_a_server(postgres: Server) -> None:
    with open_connection(postgres.login(tcp=True), application_name="test") as connection:
        facts = server_facts(connection)
    assert (facts.major, facts.in_recovery) == (postgres.major, False)
    assert facts.version_num // 10000 == postgres.major
    assert facts.version.startswith(f"{postgres.major}.")
    assert facts.system_identifier.isdigit()


def test_what_a_role_carries_does_not_change_the_session(postgres: Server) -> None:
    with postgres.role("odd"):
        for setting in (
            "statement_timeout = '500ms'",
            "idle_session_timeout = '500ms'",
            "DateStyle = 'German'",
            "TimeZone = 'Asia/Tokyo'",
            "search_path = 'evil'",
            "bytea_output = 'escape'",
            "row_security = on",
            "extra_float_digits = -5",
            "IntervalStyle = 'iso_8601'",
            "client_encoding = 'LATIN1'",
        ):
            postgres.execute(f"ALTER ROLE odd SET {setting}")
        with open_connection(postgres.login(user="odd"), application_name="test") as connection:
            row = connection.execute(
                "SELECT now()::text LIKE '____-__-__ %+00', '\\x01'::bytea::text, (0.1::float8 + 0.2)::text, '1 day'::interval::text,"
                " current_setting('search_path'), current_setting('row_security'), pg_sleep(0.7)::text, 'ü€'"
            ).fetchone()
        assert row == (True, "\\x01", "0.30000000000000004", "1 day", "pg_catalog", "off", "", "ü€")


TIMEOUTS = ("statement_timeout", "idle_session_timeout", "transaction_timeout")


@pytest.mark.parametrize("setting", TIMEOUTS)
def test_a_timeout_of_a_millisecond_ends_neither_the_session_nor_the_dump(postgres: Server, setting: str) -> None:
    if setting == "transaction_timeout" and postgres.major < 17:
        setting = "statement_timeout"
    with postgres.role("hasty", "LOGIN SUPERUSER"), postgres.database() as name:
        postgres.execute(f"CREATE TABLE t AS SELECT 1 AS n; ALTER ROLE hasty SET {setting} = '1ms'", name)
        login = postgres.login(name, "hasty")
        with open_connection(login, application_name="test") as connection:
            assert connection.execute("SELECT pg_sleep(0.01)::text").fetchone() == ("",)
            with exported_snapshot(connection) as snapshot:
                argv = PgDump(postgres.major, postgres.bin_dir).argv(login.conninfo("test"), snapshot_id=snapshot.id)
                done = subprocess.run(argv, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        with open_connection(login, application_name="test", options="-c work_mem=5MB") as connection:
            assert connection.execute("SHOW work_mem").fetchone() == ("5MB",)


def test_a_database_without_an_encoding_reads_and_writes_any_bytes(postgres: Server) -> None:
    with postgres.database(extra="ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'") as name:
        with open_connection(postgres.login(name), application_name="test") as connection:
            connection.execute("CREATE TABLE public.t AS SELECT convert_from('\\xe4ff20'::bytea, 'SQL_ASCII') AS v")
            row = connection.execute("SELECT v FROM public.t").fetchone()
            assert row is not None
            assert connection.execute("SELECT count(*) FROM public.t WHERE v = %s", row).fetchone() == (1,)


def test_a_second_run_is_told_who_holds_the_lock_and_since_when(postgres: Server) -> None:
    login = postgres.login(tcp=True)
    with open_connection(login, application_name="lifeboat one") as first, open_connection(login, application_name="two") as second:
        with advisory_lock(first, "shop", "database", "orders"):
            words = rf"server process {first.info.backend_pid} 'lifeboat one' of role 'postgres' from 127\.0\.0\.1 since 20\d\d-.*Z"
            with pytest.raises(Locked, match=words), advisory_lock(second, "shop", "database", "orders"):
                pass
            with advisory_lock(second, "shop", "database", "other"), advisory_lock(second, "shop2", "database", "orders"):
                pass
        with advisory_lock(second, "shop", "database", "orders"):
            pass


def test_a_lock_ends_with_the_session_that_was_killed(postgres: Server) -> None:
    login = postgres.login()
    with open_connection(login, application_name="one") as first, open_connection(login, application_name="two") as second:
        with pytest.raises(DatabaseError), advisory_lock(first, "shop", "database", "orders"):
            second.execute("SELECT pg_terminate_backend(%s, 300000)", (first.info.backend_pid,))
            server_facts(first)
        with advisory_lock(second, "shop", "database", "orders"):
            pass


def test_the_password_is_in_no_argument_and_no_environment_of_pg_dump(postgres: Server) -> None:
    """Caught while it waits for a lock, logged in over TCP with a password."""
    password = "geheim: \\ 'x\" $(1)"
    with postgres.role("backup", "LOGIN SUPERUSER"), postgres.database() as name:
        with postgres.connect() as connection:
            hashed = connection.pgconn.encrypt_password(password.encode(), b"backup", b"scram-sha-256").decode()
            connection.execute(f"ALTER ROLE backup PASSWORD '{hashed}'")
        postgres.execute("CREATE TABLE t (n int)", name)
        login = postgres.login(name, "backup", password, tcp=True)
        with (
            postgres.connect(name) as blocker,
            open_connection(login, application_name="holder") as holder,
            client_credentials(login) as given,
        ):
            holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            row = holder.execute("SELECT pg_export_snapshot()").fetchone()
            assert row is not None
            blocker.execute("BEGIN; LOCK TABLE t")
            argv = PgDump(postgres.major, postgres.bin_dir).argv(login.conninfo("caught"), snapshot_id=row[0])
            process = subprocess.Popen(argv, env=given.env, pass_fds=given.pass_fds, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            try:
                _wait_until_it_waits(postgres, name, process)
                seen = Path(f"/proc/{process.pid}/cmdline").read_bytes() + Path(f"/proc/{process.pid}/environ").read_bytes()
            finally:
                blocker.execute("ROLLBACK")
                output, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, b"")
    assert output.startswith(b"PGDMP")
    assert b"dbname" in seen
    assert b"geheim" not in seen


def _wait_until_it_waits(server: Server, dbname: str, process: subprocess.Popen[bytes]) -> None:
    with server.connect(dbname) as watcher:
        while not watcher.execute("SELECT FROM pg_stat_activity WHERE application_name = 'caught' AND wait_event_type = 'Lock'").fetchall():
            assert process.poll() is None, process.communicate()
