# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence is exact, beside the dump, within its time, and never costs the backup its dump."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import Check, CheckResult, Restored
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, EvidenceError
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.collect import Collector
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import Evidence, LargeObjects
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.queries import query_rows
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import open_connection
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import exported_snapshot
from support import roundtrip
from support.clusters import Server
from support.leaks import eventually
from support.roundtrip import Pair, alarms, compared, restored


@pytest.fixture
def dbname(postgres: Server) -> Iterator[str]:
    with postgres.database() as name:
        yield name


def collect(server: Server, dbname: str, budget_seconds: float = 600, asked: str = "", **more: Any) -> Evidence:
    """Evidence without a dump beside it, which ends once a query like `asked` runs."""
    with open_connection(server.login(dbname), application_name="test") as connection:
        collector = Collector(connection, queries=more.pop("queries", {}), checks=more.pop("checks", ()), **more)
        with exported_snapshot(connection) as snapshot, collector.beside(snapshot) as counting:
            if asked:
                _wait_until_asked(server, dbname, asked)
            counting.finish(budget_seconds)
        return collector.evidence(counting, 0)


def _wait_until_asked(server: Server, dbname: str, like: str) -> None:
    running = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state = 'active' AND query LIKE %s AND pid <> pg_backend_pid()"
    with server.connect() as watcher:
        eventually(lambda: watcher.execute(running, (dbname, like)).fetchone() == (1,), f"{like} runs")


def rows(evidence: Evidence) -> dict[str, int | None]:
    return {table.label: table.rows for table in evidence.tables}


def test_every_row_is_counted_once(postgres: Server, dbname: str) -> None:
    postgres.execute(
        """
        CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;
        CREATE TABLE parent (n int); CREATE TABLE child () INHERITS (parent);
        INSERT INTO parent SELECT generate_series(1, 3); INSERT INTO child SELECT generate_series(1, 4);
        CREATE TABLE parts (n int) PARTITION BY RANGE (n);
        CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (10);
        CREATE TABLE high PARTITION OF parts FOR VALUES FROM (10) TO (100) PARTITION BY RANGE (n);
        CREATE TABLE higher PARTITION OF high FOR VALUES FROM (20) TO (30);
        CREATE FOREIGN TABLE away PARTITION OF high FOR VALUES FROM (30) TO (40) SERVER far;
        INSERT INTO parts SELECT generate_series(0, 9); INSERT INTO parts SELECT generate_series(20, 24);
        CREATE UNLOGGED TABLE unlogged AS SELECT generate_series(1, 5) AS n;
        CREATE MATERIALIZED VIEW seen AS SELECT * FROM parent; CREATE TEMP TABLE passing (n int);
        """,
        dbname,
    )
    evidence = collect(postgres, dbname)
    assert rows(evidence) == {
        "public.parent": 3,
        "public.child": 4,
        "public.parts": 15,
        "public.low": 10,
        "public.high": 5,
        "public.higher": 5,
        "public.unlogged": 5,
    }
    assert {table.name: table.partition_of for table in evidence.tables if table.partition_of} == {
        "low": "public.parts",
        "high": "public.parts",
        "higher": "public.parts",
    }
    assert evidence.extensions.keys() == {"plpgsql", "postgres_fdw"}


def test_what_comes_after_the_snapshot_is_not_counted(postgres: Server, dbname: str) -> None:
    postgres.execute("CREATE TABLE t AS SELECT generate_series(1, 10) AS n", dbname)
    with open_connection(postgres.login(dbname), application_name="test") as connection:
        collector = Collector(connection, queries={"sum": "SELECT sum(n) FROM public.t"}, checks=())
        with exported_snapshot(connection) as snapshot:
            postgres.execute("INSERT INTO t VALUES (1000); CREATE TABLE late (); SELECT lo_create(0); CREATE EXTENSION hstore", dbname)
            with collector.beside(snapshot) as counting:
                counting.finish(60)
        evidence = collector.evidence(counting, 0)
    assert rows(evidence) == {"public.t": 10}
    assert evidence.queries["sum"].rows == (("55",),)
    assert evidence.large_objects == LargeObjects(0, 0)
    assert evidence.extensions.keys() == {"plpgsql"}
    assert not [name for name in evidence.objects if "late" in name]


def test_what_cannot_be_recorded_is_named_and_the_rest_is_taken(postgres: Server, dbname: str) -> None:
    class Broken(Check):
        name = "broken"

        def evidence(self, conn: psycopg.Connection[Any]) -> Any:
            raise ConfigurationError("there is no table x")

        def run(self, restored: Restored) -> CheckResult:
            raise NotImplementedError

    class Last(Broken):
        name = "last"

        def evidence(self, conn: psycopg.Connection[Any]) -> Any:
            row = conn.execute("SELECT count(*) FROM public.t").fetchone()
            return {"rows": row[0]} if row else None

    postgres.execute("CREATE TABLE t AS SELECT 1 AS n", dbname)
    queries = {
        "typo": "SELEKT 1",
        "writes": "DELETE FROM public.t RETURNING n",
        "two": "SELECT 1; ROLLBACK",
        "divides": "SELECT 1 / (n - 1) FROM public.t",
        "too much": "SELECT generate_series(1, 1001)",
        "too wide": "SELECT repeat('x', 2000000)",
        "good": "SELECT n FROM public.t; ",
    }
    evidence = collect(postgres, dbname, queries=queries, checks=[Broken(), Last()])
    assert evidence.missing == {
        "query typo": 'syntax error at or near "SELEKT"',
        "query writes": 'syntax error at or near "DELETE"',
        "query two": "cannot insert multiple commands into a prepared statement",
        "query divides": "division by zero",
        "query too much": "query 'too much' gives more than 1000 rows or 1048576 bytes. Let it count or aggregate.",
        "query too wide": "query 'too wide' gives more than 1000 rows or 1048576 bytes. Let it count or aggregate.",
        "check broken": "there is no table x.",
    }
    assert evidence.queries["good"].rows == (("1",),)
    assert evidence.checks == {"last": {"rows": 1}}
    assert len(evidence.notes) == 7


def test_what_takes_longer_than_allowed_is_left_out_and_said(postgres: Server, dbname: str) -> None:
    postgres.execute("CREATE TABLE t (n int)", dbname)
    began = time.monotonic()
    evidence = collect(postgres, dbname, 0.3, asked="FETCH %", queries={"slow": "SELECT pg_sleep(600)", "later": "SELECT 1"})
    assert time.monotonic() - began < 300
    late = "the time allowed for evidence was used up"
    assert evidence.missing == {"query slow": late, "query later": late}
    assert rows(evidence) == {"public.t": 0}


def test_counts_that_take_too_long_are_left_out_largest_first(postgres: Server, dbname: str) -> None:
    postgres.execute("CREATE TABLE small AS SELECT 1 AS n; CREATE UNLOGGED TABLE large AS SELECT generate_series(1, 3000000) AS n", dbname)
    postgres.execute("ANALYZE", dbname)
    evidence = collect(postgres, dbname, 0)
    assert "public.large" in evidence.uncounted
    assert "column public.large.n" in evidence.objects
    assert evidence.superuser == "postgres"


def test_a_dump_that_failed_ends_the_counting_at_once(postgres: Server, dbname: str) -> None:
    with open_connection(postgres.login(dbname), application_name="test") as connection:
        collector = Collector(connection, queries={"slow": "SELECT pg_sleep(600)"}, checks=())
        began, threads = time.monotonic(), set(threading.enumerate())
        with pytest.raises(RuntimeError, match="pg_dump"), exported_snapshot(connection) as snapshot, collector.beside(snapshot):
            raise RuntimeError("pg_dump failed")
        assert time.monotonic() - began < 300
        assert set(threading.enumerate()) <= threads
        # The next attempt begins in the same session.
        with exported_snapshot(connection) as snapshot, collector.beside(snapshot) as counting:
            counting.finish(0)
        assert "query slow" in collector.evidence(counting, 0).missing


def test_a_session_that_is_killed_fails_the_backup(postgres: Server, dbname: str) -> None:
    with contextlib.suppress(psycopg.OperationalError), open_connection(postgres.login(dbname), application_name="test") as connection:
        collector = Collector(connection, queries={"slow": "SELECT pg_sleep(600)"}, checks=())
        with exported_snapshot(connection) as snapshot, collector.beside(snapshot) as counting:
            with postgres.connect() as killer:
                killer.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
            with pytest.raises(EvidenceError, match=r"could not be collected.*run the backup again"):
                counting.finish(60)


def test_an_object_that_changes_meanwhile_is_looked_for_by_name_only(pair: Pair, tmp_path: Path) -> None:
    with pair.production.database() as name:
        pair.production.execute(
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE VIEW v AS SELECT 1 AS n; CREATE SEQUENCE s", name
        )

        def change() -> None:
            pair.production.execute(
                "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2';"
                "CREATE OR REPLACE VIEW v AS SELECT 2 AS n; ALTER SEQUENCE s RESTART 50; CREATE TABLE late ()",
                name,
            )

        taken = roundtrip.dump(pair.production, name, tmp_path / "dump", meanwhile=change)
        assert taken.evidence.unstable == ("function public.f()", "sequence public.s", "view public.v")
        assert taken.evidence.sequences == ()
        with restored(pair.target, taken):
            assert not alarms(compared(pair.target, taken.evidence))
            pair.target.execute("DROP VIEW v", name)
            assert "view public.v is missing" in compared(pair.target, taken.evidence)["schema"].detail


def test_a_role_that_may_only_read_gives_the_same_evidence(pair: Pair, tmp_path: Path) -> None:
    production = pair.production
    with production.role("reader"), production.database() as name:
        production.execute(
            "GRANT pg_read_all_data TO reader; CREATE TABLE t (n serial); INSERT INTO t DEFAULT VALUES;"
            "ALTER ROLE reader SET statement_timeout = '700ms'; ALTER ROLE reader SET idle_in_transaction_session_timeout = '700ms'",
            name,
        )
        taken = roundtrip.dump(production, name, tmp_path / "dump", user="reader", queries={"long": "SELECT pg_sleep(0.9)::text"})
        whole = collect(production, name)
        assert not taken.evidence.missing
        assert (taken.evidence.objects, taken.evidence.privileges) == (whole.objects, whole.privileges)
        assert taken.evidence.system_identifier == whole.system_identifier
        with restored(pair.target, taken) as errors:
            assert not errors.issues
            assert not alarms(compared(pair.target, taken.evidence))


def test_roles_are_those_that_own_or_were_granted_something_here(postgres: Server, dbname: str) -> None:
    with postgres.role("owner_here"), postgres.role("granted_here"), postgres.role("elsewhere"), postgres.role("set_here"):
        try:
            postgres.execute("CREATE TABLE t (n int); ALTER TABLE t OWNER TO owner_here; GRANT SELECT ON t TO granted_here", dbname)
            postgres.execute(f"ALTER ROLE set_here IN DATABASE {dbname} SET work_mem = '5MB'", dbname)
            evidence = collect(postgres, dbname)
            assert evidence.roles == ("granted_here", "owner_here", "postgres", "set_here")
            assert evidence.settings == ("set_here: work_mem=5MB",)
        finally:
            postgres.execute("DROP OWNED BY owner_here, granted_here; ALTER ROLE set_here RESET ALL", dbname)


def test_values_are_taken_as_postgresql_writes_them(postgres: Server, dbname: str) -> None:
    with open_connection(postgres.login(dbname), application_name="test") as connection, connection.transaction():
        recorded = query_rows(
            connection,
            "odd",
            "SELECT 'infinity'::timestamptz AS a, '12345-01-01'::date, 0.1::float8 + 0.2, '\\x00ff'::bytea, ARRAY[1, NULL],"
            " '{\"a\": 1.0}'::json, NULL, 'NaN'::numeric, '25:00'::interval, 'ü'",
        )
    assert recorded.columns[0] == "a"
    assert recorded.rows == (
        ("infinity", "12345-01-01", "0.30000000000000004", "\\x00ff", "{1,NULL}", '{"a": 1.0}', None, "NaN", "25:00:00", "ü"),
    )


def test_a_check_that_leaves_its_transaction_in_disorder_harms_nothing_else(postgres: Server, dbname: str) -> None:
    """It hides an error and goes on: psycopg then counts a transaction that there is not, as after a cancelled SAVEPOINT."""

    class Careless(Check):
        name = "careless"

        def evidence(self, conn: psycopg.Connection[Any]) -> Any:
            with contextlib.suppress(psycopg.errors.SyntaxError):
                conn.execute("SELEKT")
            with conn.transaction():
                return 1

        def run(self, restored: Restored) -> CheckResult:
            raise NotImplementedError

    postgres.execute("CREATE TABLE t AS SELECT 1 AS n", dbname)
    evidence = collect(postgres, dbname, checks=[Careless()])
    assert "current transaction is aborted" in evidence.missing["check careless"]
    assert rows(evidence) == {"public.t": 1}
