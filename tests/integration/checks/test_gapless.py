# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbering: silent on a whole one, and each way to break it is named."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks import gapless as gapless_module

INVOICES: dict[str, Any] = {"table": "invoices", "column": "number"}
BY_YEAR = {**INVOICES, "group_by": ["year"]}


@pytest.fixture
def invoices(database: Any) -> Any:
    """Numbers 1 to 100 in 2025 and 1 to 50 in 2026."""
    database.execute(
        "CREATE TABLE invoices (year int, number bigint)",
        "INSERT INTO invoices SELECT 2025, n FROM generate_series(1, 100) n",
        "INSERT INTO invoices SELECT 2026, n FROM generate_series(1, 50) n",
    )
    return database


def test_a_whole_numbering_that_ends_where_production_ended_passes(invoices: Any) -> None:
    answer = invoices.ask(invoices.evidence(gapless=BY_YEAR), gapless={**BY_YEAR, "start": 1})
    assert answer.verdict == "passed", answer
    assert "2 groups" in answer.expected
    assert answer.found == "150 rows, 2 groups, no gap"


def test_one_numbering_without_groups_says_where_it_ends(invoices: Any) -> None:
    invoices.execute("DELETE FROM invoices WHERE year = 2026")
    answer = invoices.ask(invoices.evidence(gapless=INVOICES), gapless=INVOICES)
    assert answer.verdict == "passed", answer
    assert "to 100 in 100 rows as in production" in answer.expected
    assert answer.found == "100 rows, 1 to 100, no gap"


def test_without_evidence_a_whole_numbering_is_unverified(invoices: Any) -> None:
    answer = invoices.ask(gapless=BY_YEAR)
    assert answer.verdict == "unverified"
    assert answer.detail == "where production ended was not recorded"


def test_without_evidence_a_gap_is_failed_all_the_same(invoices: Any) -> None:
    invoices.execute("DELETE FROM invoices WHERE year = 2025 AND number IN (17, 40, 41, 42)")
    answer = invoices.ask(gapless=BY_YEAR)
    assert answer.verdict == "failed"
    assert answer.found == "4 numbers missing: year=2025: 17, year=2025: 40 to 42"


def test_many_gaps_are_counted_and_the_first_few_named(invoices: Any) -> None:
    invoices.execute("DELETE FROM invoices WHERE year = 2025 AND number % 2 = 0 AND number < 100")
    answer = invoices.ask(gapless=BY_YEAR)
    assert answer.found.startswith("49 numbers missing: year=2025: 2, year=2025: 4")
    assert answer.found.endswith(", …")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DELETE FROM invoices WHERE year = 2026 AND number > 48", "year=2026: ends at 48, production's at 50; 48 rows, production had 50"),
        ("DELETE FROM invoices WHERE year = 2026", "year=2026: missing, production had 50 rows"),
        ("DELETE FROM invoices WHERE year = 2025 AND number < 3", "year=2025: begins at 3, production's at 1"),
        ("INSERT INTO invoices VALUES (2027, 1)", "year=2027: new, production had no such group; 1 row here"),
        ("INSERT INTO invoices VALUES (2026, 51)", "year=2026: ends at 51, production's at 50"),
        ("INSERT INTO invoices VALUES (2026, 50)", "1 row with a number already taken: year=2026: 50"),
        ("INSERT INTO invoices VALUES (2026, NULL), (2026, NULL)", "2 rows without a number"),
        ("TRUNCATE invoices", "year=2025: missing, production had 100 rows"),
        ("DELETE FROM invoices WHERE number = 20", "2 numbers missing: year=2025: 20, year=2026: 20"),
    ],
)
def test_each_kind_of_loss_is_failed_and_named(invoices: Any, damage: str, said: str) -> None:
    recorded = invoices.evidence(gapless=BY_YEAR)
    invoices.execute(damage)
    answer = invoices.ask(recorded, gapless=BY_YEAR)
    assert answer.verdict == "failed"
    assert said in answer.detail


def test_a_gap_that_production_had_is_failed_and_said_to_be_older(invoices: Any) -> None:
    invoices.execute("DELETE FROM invoices WHERE year = 2025 AND number = 17")
    answer = invoices.ask(invoices.evidence(gapless=BY_YEAR), gapless=BY_YEAR)
    assert answer.verdict == "failed"
    assert "production had the very same numbering" in answer.detail


def test_the_start_is_held_against_every_group(invoices: Any) -> None:
    answer = invoices.ask(invoices.evidence(gapless=BY_YEAR), gapless={**BY_YEAR, "start": 0})
    assert answer.verdict == "failed"
    assert "year=2025: begins at 1, not at 0; year=2026: begins at 1, not at 0" in answer.detail


def test_evidence_of_another_grouping_proves_nothing(invoices: Any) -> None:
    invoices.execute("DELETE FROM invoices WHERE year = 2026")
    answer = invoices.ask(invoices.evidence(gapless=BY_YEAR), gapless=INVOICES)
    assert answer.verdict == "unverified"
    assert "another definition" in answer.detail


def test_a_table_that_was_empty_in_production_may_be_empty(invoices: Any) -> None:
    invoices.execute("TRUNCATE invoices")
    answer = invoices.ask(invoices.evidence(gapless=INVOICES), gapless=INVOICES)
    assert answer.verdict == "passed", answer


def test_a_lost_table_is_failed_and_a_mistyped_one_unverified(invoices: Any) -> None:
    recorded = invoices.evidence(gapless=INVOICES)
    invoices.execute("ALTER TABLE invoices RENAME TO bills")
    assert invoices.ask(recorded, gapless=INVOICES).verdict == "failed"
    mistyped = invoices.ask(gapless=INVOICES)
    assert (mistyped.verdict, mistyped.found) == ("unverified", "there is no table invoices")


def test_more_groups_than_are_named_are_compared_by_digest(invoices: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gapless_module, "NAMED_GROUPS", 10)
    invoices.execute("INSERT INTO invoices SELECT 3000 + g, n FROM generate_series(1, 40) g, generate_series(1, 3) n")
    recorded = invoices.evidence(gapless=BY_YEAR)
    assert "groups" not in recorded
    assert invoices.ask(recorded, gapless=BY_YEAR).verdict == "passed"
    invoices.execute("DELETE FROM invoices WHERE year = 3017 AND number = 3")
    answer = invoices.ask(recorded, gapless=BY_YEAR)
    assert answer.verdict == "failed"
    assert answer.found == "the groups end elsewhere than production's: 42 groups with 269 rows, production had 42 with 270"


def test_numeric_numbers_and_groups_of_several_columns_with_null_work(database: Any) -> None:
    database.execute(
        "CREATE DOMAIN serial_no AS numeric(12,0)",
        "CREATE TABLE vouchers (series text, branch text, no serial_no)",
        "INSERT INTO vouchers SELECT s, b, n FROM (VALUES ('a', 'x'), ('a', NULL), (NULL, NULL)) v(s, b), generate_series(7, 20) n",
    )
    check = {"table": "vouchers", "column": "no", "group_by": ["series", "branch"]}
    recorded = database.evidence(gapless=check)
    assert database.ask(recorded, gapless=check).verdict == "passed"
    database.execute("DELETE FROM vouchers WHERE series IS NULL AND no = 9")
    assert "series=NULL, branch=NULL: 9" in database.ask(recorded, gapless=check).found


def test_fractions_and_what_is_no_number_are_named(database: Any) -> None:
    database.execute("CREATE TABLE odd (no numeric)", "INSERT INTO odd VALUES (1), (2), (2.5), ('NaN'), ('Infinity')")
    answer = database.ask(gapless={"table": "odd", "column": "no"})
    assert answer.verdict == "failed"
    assert answer.found == "3 rows whose number is not whole"


def test_a_text_column_cannot_be_judged(database: Any) -> None:
    database.execute("CREATE TABLE t (no text)")
    answer = database.ask(gapless={"table": "t", "column": "no"})
    assert answer.verdict == "unverified"
    assert "no is text" in answer.detail


def test_hostile_names_are_only_names(database: Any) -> None:
    hostile = 'my ""inv\'oices""; DROP TABLE x; --\n$(id) %s {} Ü'
    database.execute(
        f'CREATE SCHEMA "Süd %"; CREATE TABLE "Süd %"."{hostile}" ("nu.m ber %(x)s" int, "-y" text)',
        f'INSERT INTO "Süd %"."{hostile}" SELECT n, \'<b>{{}}%s\' FROM generate_series(1, 10) n',
    )
    check = {"table": f'"Süd %"."{hostile}"', "column": '"nu.m ber %(x)s"', "group_by": ['"-y"']}
    recorded = database.evidence(gapless=check)
    assert database.ask(recorded, gapless=check).verdict == "passed"
    database.execute(f'DELETE FROM "Süd %"."{hostile}" WHERE "nu.m ber %(x)s" = 5')
    answer = database.ask(recorded, gapless=check)
    assert answer.verdict == "failed"
    assert '"-y"=<b>{}%s: 5' in answer.found
