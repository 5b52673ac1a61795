# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What occurs twice is found in the rows themselves, whatever an index says."""

from __future__ import annotations

from typing import Any

import pytest

# The index goes blind while rows come in that it would refuse.
SMUGGLE = """
    UPDATE pg_catalog.pg_index SET indisready = false, indislive = false WHERE indexrelid = '{index}'::regclass;
    INSERT INTO {rows};
    UPDATE pg_catalog.pg_index SET indisready = true, indislive = true WHERE indexrelid = '{index}'::regclass
"""


def smuggle(database: Any, index: str, rows: str) -> None:
    for statement in SMUGGLE.format(index=index, rows=rows).split(";"):
        database.execute(statement)


@pytest.mark.parametrize(
    ("table", "index", "rows", "doubles"),
    [
        ("t (a int PRIMARY KEY)", "t_pkey", "t VALUES (1), (1), (2)", 1),
        ("t (a int, b text, UNIQUE (a, b))", "t_a_b_key", "t VALUES (1, 'x'), (1, 'x'), (2, 'y'), (2, 'y')", 2),
        ("t (a int, b text, UNIQUE (a, b))", "t_a_b_key", "t VALUES (1, 'x'), (1, 'y'), (1, NULL), (1, NULL)", 0),
        ("t (a int, UNIQUE NULLS NOT DISTINCT (a))", "t_a_key", "t VALUES (NULL), (NULL)", 1),
        ("t (a int, b int, UNIQUE (a) INCLUDE (b))", "t_a_b_key", "t VALUES (1, 1), (1, 2)", 1),
    ],
)
def test_doubles_are_found_behind_the_indexs_back(database: Any, table: str, index: str, rows: str, doubles: int) -> None:
    database.execute(f"CREATE TABLE {table}")
    assert database.ask(unique={}).verdict == "passed"
    smuggle(database, index, rows)
    answer = database.ask(unique={})
    assert answer.verdict == ("failed" if doubles else "passed"), answer
    if doubles:
        assert answer.found == f"{index} of public.t: {doubles} value{'s' if doubles > 1 else ''} more than once"


def test_expressions_conditions_and_collations_are_the_indexs_own(database: Any) -> None:
    with database.connect() as connection:
        has_icu = connection.execute("SELECT EXISTS (SELECT FROM pg_catalog.pg_collation WHERE collname = 'de-x-icu')").fetchone() == (
            True,
        )
    rules = "provider = icu, locale = 'und-u-ks-level2', deterministic = false" if has_icu else "locale = 'C'"
    database.execute(
        f"CREATE COLLATION nocase ({rules})",
        "CREATE TABLE t (name text, gone bool, alias text)",
        "CREATE UNIQUE INDEX by_name ON t (lower(name)) WHERE NOT gone",
        "CREATE UNIQUE INDEX by_alias ON t (alias COLLATE nocase)",
        "INSERT INTO t VALUES ('Ada', false, 'a'), ('ADA', true, 'b')",
    )
    answer = database.ask(unique={"tables": ["t"]})
    assert (answer.verdict, answer.found) == ("passed", "no value more than once under 2 unique indexes"), answer
    smuggle(database, "by_name", "t VALUES ('aDA', false, 'c')")
    assert "by_name of public.t: 1 value" in database.ask(unique={}).found
    smuggle(database, "by_alias", f"t VALUES ('Eve', false, '{'C' if has_icu else 'c'}')")
    assert "by_alias of public.t: 1 value" in database.ask(unique={}).found


def test_partitions_are_asked_together(database: Any) -> None:
    database.execute(
        "CREATE TABLE t (a int PRIMARY KEY) PARTITION BY RANGE (a); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
        "INSERT INTO t VALUES (1)",
    )
    answer = database.ask(unique={})
    assert (answer.verdict, answer.found) == ("passed", "no value more than once under 1 unique index")
    smuggle(database, "t1_pkey", "t VALUES (1)")
    assert "t_pkey of public.t: 1 value" in database.ask(unique={}).found


def test_columns_that_no_index_promises_can_be_named(database: Any) -> None:
    database.execute("CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 1), (1, 2), (NULL, 1), (NULL, 1)")
    assert database.ask(unique={"tables": ["t"], "columns": ["a", "b"]}).verdict == "passed"
    answer = database.ask(unique={"tables": ["t"], "columns": ["a"]})
    assert (answer.verdict, answer.found) == ("failed", "public.t (a): 1 value more than once")


def test_with_nothing_declared_unique_nothing_is_proven(database: Any) -> None:
    assert database.ask(unique={}).verdict == "unverified"
    database.execute("CREATE TABLE t (a int)")
    answer = database.ask(unique={"tables": ["t"]})
    assert (answer.verdict, "Name the columns" in answer.detail) == ("unverified", True)


def test_hostile_names_are_only_names(database: Any) -> None:
    database.execute('CREATE TABLE "t""; %s {}" ("1" int, "k {key} %(x)s" int, UNIQUE ("1", "k {key} %(x)s"))')
    assert database.ask(unique={}).verdict == "passed"
    assert database.ask(unique={"tables": ['"t""; %s {}"'], "columns": ['"1"']}).verdict == "passed"


def test_what_cannot_be_asked_is_said_and_the_rest_is_asked(database: Any) -> None:
    database.execute(
        "CREATE FUNCTION picky(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 1 / ($1 - 3); END $$",
        "CREATE TABLE t (a int PRIMARY KEY, b int); CREATE UNIQUE INDEX by_picky ON t (picky(b)); INSERT INTO t VALUES (1, 1)",
    )
    assert database.ask(unique={}).verdict == "passed"
    database.execute("CREATE OR REPLACE FUNCTION picky(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 1 / ($1 - 1); END $$")
    answer = database.ask(unique={})
    assert (answer.verdict, answer.found) == ("unverified", "1 of 2 could not be asked")
    assert "by_picky of public.t could not be asked: division by zero" in answer.detail
