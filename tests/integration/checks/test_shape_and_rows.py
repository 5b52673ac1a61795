# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Money columns, tables that hold something, and life in the data."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("column", ["smallint", "integer", "bigint", "cents", "net_cents", "numeric(12,0)", "numeric(5)"])
def test_whole_money_passes(database: Any, column: str) -> None:
    database.execute("CREATE DOMAIN cents AS bigint", "CREATE DOMAIN net_cents AS cents", f"CREATE TABLE orders (total {column})")
    answer = database.ask(integer={"table": "orders", "columns": ["total"]})
    assert answer.verdict == "passed", answer
    assert answer.found.startswith("total is ")


@pytest.mark.parametrize(
    "column", ["real", "double precision", "money", "numeric", "numeric(10,2)", "numeric(4,-2)", "text", "bigint[]", "rounded", "boolean"]
)
def test_money_that_can_hold_a_fraction_fails_and_is_named(database: Any, column: str) -> None:
    database.execute("CREATE DOMAIN rounded AS numeric(10,2)", f"CREATE TABLE orders (id int, total {column})")
    answer = database.ask(integer={"table": "orders", "columns": ["id", "total"]})
    assert answer.verdict == "failed", answer
    assert answer.found.startswith("total is ")
    assert "id is" not in answer.found


def test_a_money_column_that_is_not_there_is_unverified(database: Any) -> None:
    database.execute('CREATE TABLE orders ("Total" int)')
    answer = database.ask(integer={"table": "orders", "columns": ["Total"]})
    assert answer.verdict == "unverified"
    assert 'double quotes: "Total"' in answer.detail
    assert database.ask(integer={"table": "orders", "columns": ['"Total"']}).verdict == "passed"


def test_tables_with_rows_pass_and_each_empty_or_missing_one_is_named(database: Any) -> None:
    database.execute(
        "CREATE TABLE customers (id int)",
        "CREATE TABLE orders (id int)",
        "INSERT INTO customers VALUES (1)",
        "CREATE TABLE parts (id int) PARTITION BY RANGE (id)",
        "CREATE TABLE parts_1 PARTITION OF parts DEFAULT",
        "INSERT INTO parts VALUES (1)",
        "CREATE VIEW seen AS SELECT * FROM parts",
    )
    assert database.ask(not_empty={"tables": ["customers", "parts", "seen"]}).verdict == "passed"
    answer = database.ask(not_empty={"tables": ["customers", "orders", "tickets"]})
    assert answer.verdict == "failed"
    assert answer.found == "orders has no row; there is no table tickets"


def test_a_table_without_columns_can_have_rows(database: Any) -> None:
    database.execute("CREATE TABLE ticks ()", "INSERT INTO ticks DEFAULT VALUES")
    assert database.ask(not_empty={"tables": ["ticks"]}).verdict == "passed"


def test_a_name_without_schema_is_the_one_in_public_else_the_only_one(database: Any) -> None:
    database.execute("CREATE SCHEMA one", "CREATE SCHEMA two", "CREATE TABLE one.t (id int)", "INSERT INTO one.t VALUES (1)")
    assert database.ask(not_empty={"tables": ["t"]}).verdict == "passed"
    database.execute("CREATE TABLE two.t (id int)")
    answer = database.ask(not_empty={"tables": ["t"]})
    assert answer.verdict == "unverified"
    assert "one, two" in answer.detail
    database.execute("CREATE TABLE public.t (id int)")
    assert database.ask(not_empty={"tables": ["t"]}).found == "t has no row"
    assert database.ask(not_empty={"tables": ["one.t"]}).verdict == "passed"


@pytest.mark.parametrize("written", ["a.b.c", "a..b", '"open', "two words", "x; DROP TABLE t", "$(id)", "-t"])
def test_what_is_no_name_is_said_and_runs_nothing(database: Any, written: str) -> None:
    answer = database.ask(gapless={"table": written, "column": "n"})
    assert answer.verdict == "unverified"
    assert "name" in answer.detail


ORDERS: dict[str, Any] = {"table": "orders", "column": "placed_at", "max_age": "24h"}


@pytest.mark.parametrize("column", ["timestamptz", "timestamp", "date"])
def test_a_young_row_passes_and_an_old_one_fails(database: Any, column: str) -> None:
    database.execute(f"CREATE TABLE orders (placed_at {column})")
    database.execute("INSERT INTO orders VALUES ('2026-11-20'), ('2020-01-01'), (NULL), ('-infinity')")
    answer = database.ask(recent=ORDERS)
    assert answer.verdict == "passed", answer
    assert answer.found == "the newest row is 12 h old"
    database.execute("DELETE FROM orders WHERE placed_at = '2026-11-20'")
    answer = database.ask(recent=ORDERS)
    assert answer.verdict == "failed"
    assert "days old" in answer.found


def test_age_is_measured_at_the_snapshot_and_not_by_todays_clock(database: Any) -> None:
    database.execute("CREATE TABLE orders (placed_at timestamptz)", "INSERT INTO orders VALUES (now())")
    answer = database.ask(recent=ORDERS)
    assert answer.verdict == "failed"
    assert answer.found == "no row from before the snapshot"
    assert "1 row after the snapshot" in answer.detail


def test_rows_from_the_future_are_left_out_and_said(database: Any) -> None:
    database.execute(
        "CREATE TABLE orders (placed_at timestamptz)",
        "INSERT INTO orders VALUES ('2026-11-20 11:59:30+00'), ('2026-11-20 12:00:30+00'), ('2027-01-01 00:00+00'), ('infinity')",
    )
    answer = database.ask(recent=ORDERS)
    assert answer.verdict == "passed"
    assert answer.found == "the newest row is 0 s old", "a minute ahead is another host's clock"
    assert "2 rows after the snapshot" in answer.detail


def test_a_column_without_zone_is_read_in_the_zone_that_is_given(database: Any) -> None:
    database.execute("CREATE TABLE orders (placed_at timestamp)", "INSERT INTO orders VALUES ('2026-11-20 12:30')")
    assert database.ask(recent=ORDERS).found == "no row from before the snapshot"
    assert database.ask(recent={**ORDERS, "time_zone": "Europe/Vienna"}).found == "the newest row is 30 min old"
    nowhere = database.ask(recent={**ORDERS, "time_zone": "Europe/Nowhere"})
    assert nowhere.verdict == "unverified"
    assert "not recognized" in nowhere.detail


def test_hostile_names_are_only_names_in_every_check(database: Any) -> None:
    table, column = '"%s ""t"" {x} \'; --"', '"%(latest)s {moment}"'
    database.execute(f"CREATE TABLE {table} ({column} timestamptz, id int)", f"INSERT INTO {table} VALUES ('2026-11-20', 1)")
    assert database.ask(recent={"table": table, "column": column, "max_age": "1d"}).verdict == "passed"
    assert database.ask(not_empty={"tables": [table]}).verdict == "passed"
    assert database.ask(integer={"table": table, "columns": ["id"]}).verdict == "passed"
    assert database.ask(integer={"table": table, "columns": [column]}).verdict == "failed"


def test_an_empty_table_is_not_recent(database: Any) -> None:
    database.execute("CREATE TABLE orders (placed_at timestamptz)")
    assert database.ask(recent=ORDERS).verdict == "failed"


def test_a_column_that_is_no_moment_is_unverified(database: Any) -> None:
    database.execute("CREATE TABLE orders (placed_at bigint)")
    assert "bigint, not a moment" in database.ask(recent=ORDERS).detail
