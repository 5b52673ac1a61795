# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Orphans are found whatever the catalogue says, and what nobody promised is only told."""

from __future__ import annotations

from typing import Any

import pytest

PARENT = "CREATE TABLE customers (id bigint PRIMARY KEY); INSERT INTO customers SELECT generate_series(1, 5)"


def without_asking(*statements: str) -> str:
    """Statements that no key is asked about, as damage is not."""
    return ";".join(["SET session_replication_role = replica", *statements, "RESET session_replication_role"])


def test_a_whole_database_passes_and_an_orphan_fails(database: Any) -> None:
    database.execute(
        PARENT,
        "CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, again int REFERENCES orders);"
        "INSERT INTO orders VALUES (1, 1, NULL), (2, NULL, 1), (3, 5, 3)",
    )
    answer = database.ask(foreign_keys={})
    assert (answer.verdict, answer.found) == ("passed", "no orphan under 2 foreign keys")
    database.execute(without_asking("DELETE FROM customers WHERE id = 1", "INSERT INTO orders VALUES (4, 77, 99)"))
    answer = database.ask(foreign_keys={})
    assert answer.verdict == "failed"
    assert "orders_customer_fkey of public.orders: 2 rows without a row in public.customers" in answer.found
    assert "orders_again_fkey of public.orders: 1 row without a row in public.orders" in answer.found


def test_a_key_that_was_never_validated_is_told_apart(database: Any) -> None:
    database.execute(
        PARENT,
        "CREATE TABLE orders (customer bigint); INSERT INTO orders VALUES (77);"
        "ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customers NOT VALID",
    )
    answer = database.ask(foreign_keys={})
    assert answer.verdict == "passed"
    assert "not validated" in answer.detail
    assert "1 row without a row in public.customers" in answer.detail


@pytest.mark.parametrize(("match", "orphans"), [("SIMPLE", 1), ("FULL", 2)])
def test_keys_of_several_columns_follow_their_way_of_matching(database: Any, match: str, orphans: int) -> None:
    database.execute(
        "CREATE TABLE parts (a int, b text, PRIMARY KEY (a, b)); INSERT INTO parts VALUES (1, 'x')",
        f"CREATE TABLE uses (a int, b varchar(9), FOREIGN KEY (a, b) REFERENCES parts MATCH {match})",
        "INSERT INTO uses VALUES (1, 'x'), (NULL, NULL)",
    )
    assert database.ask(foreign_keys={}).verdict == "passed"
    database.execute(without_asking("INSERT INTO uses VALUES (1, 'y'), (2, NULL)"))
    answer = database.ask(foreign_keys={})
    assert answer.verdict == "failed"
    assert "1 row without a row in public.parts" in answer.found
    assert ("1 row with a part of the key only (MATCH FULL)" in answer.found) == (orphans == 2)


def test_partitioned_tables_count_as_one_and_heirs_not_at_all(database: Any) -> None:
    database.execute(
        "CREATE TABLE parents (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF parents FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE p2 PARTITION OF parents FOR VALUES FROM (10) TO (20);"
        "INSERT INTO parents VALUES (1), (11)",
        "CREATE TABLE children (id int, parent int REFERENCES parents) PARTITION BY RANGE (id);"
        "CREATE TABLE c1 PARTITION OF children FOR VALUES FROM (0) TO (10); INSERT INTO children VALUES (1, 1), (2, 11)",
        "CREATE TABLE plain (parent int REFERENCES parents); CREATE TABLE heir () INHERITS (plain); INSERT INTO heir VALUES (99)",
    )
    answer = database.ask(foreign_keys={})
    assert (answer.verdict, answer.found) == ("passed", "no orphan under 2 foreign keys"), answer
    database.execute(without_asking("DELETE FROM p2"))
    assert "children_parent_fkey of public.children: 1 row" in database.ask(foreign_keys={}).found


def test_only_the_named_tables_are_asked_about(database: Any) -> None:
    database.execute(
        PARENT,
        "CREATE TABLE a (c bigint REFERENCES customers); CREATE TABLE b (c bigint REFERENCES customers)",
        without_asking("INSERT INTO a VALUES (77)"),
    )
    assert database.ask(foreign_keys={"tables": ["b"]}).verdict == "passed"
    assert database.ask(foreign_keys={"tables": ["a", "b"]}).verdict == "failed"
    assert database.ask(foreign_keys={"tables": ["customers"]}).verdict == "unverified"


def test_without_a_key_nothing_is_proven(database: Any) -> None:
    answer = database.ask(foreign_keys={})
    assert (answer.verdict, "no foreign key" in answer.detail) == ("unverified", True)


def test_hostile_names_and_operators_of_others_are_no_trouble(database: Any) -> None:
    database.execute(
        'CREATE TABLE "a""b %s {}" ("i;d {own}" numeric PRIMARY KEY); INSERT INTO "a""b %s {}" VALUES (1.0)',
        'CREATE TABLE "c %(x)s" ("{other}" int REFERENCES "a""b %s {}"); INSERT INTO "c %(x)s" VALUES (1)',
    )
    assert database.ask(foreign_keys={}).verdict == "passed"
    database.execute(without_asking('DELETE FROM "a""b %s {}"'))
    assert database.ask(foreign_keys={}).verdict == "failed"


def test_keys_over_periods_have_to_be_covered(database: Any) -> None:
    with database.connect() as connection:
        if connection.info.server_version < 180000:
            answer = database.ask(foreign_keys={})
            assert answer.verdict == "unverified"
            return
    database.execute(
        "CREATE TABLE rooms (id int4range, during daterange, PRIMARY KEY (id, during WITHOUT OVERLAPS));"
        "INSERT INTO rooms VALUES ('[1,1]', '[2026-01-01,2026-02-01)'), ('[1,1]', '[2026-02-01,2026-03-01)')",
        "CREATE TABLE stays (room int4range, during daterange, FOREIGN KEY (room, PERIOD during) REFERENCES rooms (id, PERIOD during));"
        "INSERT INTO stays VALUES ('[1,1]', '[2026-01-20,2026-02-10)')",
    )
    assert database.ask(foreign_keys={}).verdict == "passed"
    database.execute(without_asking("DELETE FROM rooms WHERE during @> '2026-02-15'::date"))
    assert database.ask(foreign_keys={}).verdict == "failed"
