# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions in SQL: values compared as people mean them, and nothing that a query could do but read."""

from __future__ import annotations

import time
from typing import Any

import pytest


@pytest.fixture
def shop(database: Any) -> Any:
    database.execute("CREATE TABLE orders (id int, status text, cents bigint)")
    database.execute("INSERT INTO orders VALUES (1, 'paid', 990), (2, 'open', 10)")
    return database


@pytest.mark.parametrize(
    ("query", "expect"),
    [
        ("SELECT count(*) FROM orders", 2),
        ("SELECT count(*) FROM orders", "2"),
        ("SELECT sum(cents) FROM orders", 1000.0),
        ("SELECT 12345678901234567.89", "12345678901234567.89"),
        ("SELECT 0.1::float8", 0.1),
        ("SELECT bool_and(cents > 0) FROM orders", True),
        ("SELECT false", "f"),
        ("SELECT status FROM orders WHERE id = 1;", "paid"),
        ("SELECT '2'::text -- trailing", 2),
        ("SELECT date '2026-11-20'", "2026-11-20"),
        ("SELECT '7c1f6a34-0f63-4a8e-9a3e-8a4c3a5a0b11'::uuid", "7c1f6a34-0f63-4a8e-9a3e-8a4c3a5a0b11"),
        ("SELECT 'é%s %(x)s {}'", "é%s %(x)s {}"),
        ("VALUES (1)", 1),
        ("SELECT 0", 0),
    ],
)
def test_the_value_that_is_expected_passes(shop: Any, query: str, expect: Any) -> None:
    answer = shop.ask(sql={"query": query, "expect": expect})
    assert answer.verdict == "passed", answer


@pytest.mark.parametrize(
    ("query", "expect", "found"),
    [
        ("SELECT count(*) FROM orders", 3, "2"),
        ("SELECT true", 1, "true"),
        ("SELECT NULL::int", 0, "null"),
        ("SELECT status FROM orders WHERE id = 9", "paid", "no row"),
        ("SELECT 12345678901234567.89", "12345678901234567.88", "12345678901234567.89"),
        ("SELECT '02'::text", "2", "02"),
    ],
)
def test_any_other_value_fails_and_is_shown(shop: Any, query: str, expect: Any, found: str) -> None:
    answer = shop.ask(sql={"query": query, "expect": expect})
    assert (answer.verdict, answer.found) == ("failed", found)


def test_rows_are_objects_for_jmespath(shop: Any) -> None:
    query = "SELECT status, count(*) AS orders, sum(cents) AS cents FROM orders GROUP BY status ORDER BY status"
    good = "length(@) == `2` && [?status == 'paid'].cents | [0] == `990`"
    assert shop.ask(sql={"query": query, "jmespath": good}).verdict == "passed"
    bad = shop.ask(sql={"query": query, "jmespath": "[0].status == 'paid'"})
    assert bad.verdict == "failed"
    assert '"status": "open"' in bad.found


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"query": "SELECT 1", "jmespath": "[0"}, "JMESPath expression cannot be evaluated"),
        ({"query": "SELECT 1 AS n", "jmespath": "[0].n"}, "gives 1, neither true nor false"),
        ({"query": "SELECT 1, 2", "expect": 1}, "1 rows of 2 columns"),
        ({"query": "SELECT id FROM orders", "expect": 1}, "2 rows of 1 columns"),
        ({"query": "SELECT generate_series(1, 2000)", "jmespath": "true"}, "more than 1000 rows"),
        ({"query": "SELEC 1", "expect": 1}, 'syntax error at or near "SELEC"'),
        ({"query": "SELECT 1; DELETE FROM orders", "expect": 1}, "multiple commands"),
        ({"query": "DELETE FROM orders RETURNING 1", "expect": 1}, "syntax error"),
        ({"query": "COMMIT", "expect": 1}, "syntax error"),
        ({"query": "SELECT nextval('serial')", "expect": 1}, "read-only transaction"),
        ({"query": "SELECT 'infinity'::timestamptz", "expect": 1}, "too large"),
    ],
)
def test_a_question_that_cannot_be_answered_is_unverified_with_its_cause(shop: Any, options: dict[str, Any], cause: str) -> None:
    shop.execute("CREATE SEQUENCE serial")
    answer = shop.ask(sql=options)
    assert answer.verdict == "unverified"
    assert cause in answer.detail
    assert shop.ask(sql={"query": "SELECT count(*) FROM orders", "expect": 2}).verdict == "passed"


def test_a_long_question_ends_at_its_timeout(shop: Any) -> None:
    started = time.monotonic()
    answer = shop.ask(sql={"query": "SELECT pg_sleep(600)", "expect": 1, "timeout": "0.2s"})
    assert time.monotonic() - started < 300
    assert answer.verdict == "unverified"
    assert "longer than its timeout of 0.2 s" in answer.detail


def test_names_are_found_where_the_application_finds_them(shop: Any) -> None:
    shop.execute('CREATE SCHEMA "Süd, West"', 'CREATE TABLE "Süd, West".only_here AS SELECT 7 AS n')
    assert shop.ask(sql={"query": "SELECT n FROM only_here", "expect": 7}).verdict == "unverified"
    shop.execute("""DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = "Süd, West", public', current_database()); END $$""")
    assert shop.ask(sql={"query": "SELECT n FROM only_here", "expect": 7}).verdict == "passed"
    assert shop.ask(sql={"query": "SELECT count(*) FROM orders", "expect": 2}).verdict == "passed"


def test_a_lost_connection_is_unverified_and_the_next_check_still_asked(shop: Any) -> None:
    lost = shop.ask(sql={"query": "SELECT pg_terminate_backend(pg_backend_pid())", "expect": True})
    assert lost.verdict == "unverified"
    assert shop.ask(not_empty={"tables": ["orders"]}).verdict == "passed"
