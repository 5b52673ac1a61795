# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every comparison fires on what it is for, names it, and leaves the others silent."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import Collation, Evidence
from support import roundtrip
from support.clusters import Server
from support.roundtrip import Pair, alarms, compared, restored

SHOP = """
CREATE EXTENSION hstore;
CREATE TYPE state AS ENUM ('new', 'paid');
CREATE TABLE orders (
    id serial PRIMARY KEY, state state DEFAULT 'new', cents bigint NOT NULL CHECK (cents >= 0), note varchar(20) DEFAULT 'x'
);
CREATE INDEX by_note ON orders (note) WHERE note IN ('a', 'b');
CREATE TABLE lines (order_id int REFERENCES orders, n int);
CREATE TABLE events (at int) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (10) TO (20);
CREATE TABLE empty (); CREATE SEQUENCE downwards INCREMENT -1;
CREATE FUNCTION price(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER touched BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
CREATE VIEW cheap AS SELECT id FROM orders WHERE (cents < 10 OR cents = 50) AND note = 'x';
CREATE MATERIALIZED VIEW totals AS SELECT sum(cents) AS cents FROM orders;
ALTER TABLE lines ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON lines USING (n > 0);
COMMENT ON TABLE orders IS 'money'; GRANT SELECT ON orders TO PUBLIC;
INSERT INTO orders (cents) SELECT n FROM generate_series(1, 100) n; INSERT INTO lines SELECT n, n FROM generate_series(1, 100) n;
INSERT INTO events SELECT n FROM generate_series(0, 19) n; SELECT nextval('downwards'), nextval('downwards');
SELECT lo_from_bytea(4711, 'one'), lo_from_bytea(4712, 'another');
"""
QUERIES = {"turnover": "SELECT sum(cents), NULL FROM public.orders", "states": "SELECT state, count(*) FROM public.orders GROUP BY 1"}


@dataclass(frozen=True)
class Restored:
    target: Server
    evidence: Evidence

    @contextlib.contextmanager
    def after(self, damage: str) -> Iterator[Evidence]:
        """A copy of the restored database with this done to it, and the evidence to compare it with."""
        name = f"{self.evidence.database}_copy"
        self.target.execute(f'CREATE DATABASE "{name}" TEMPLATE "{self.evidence.database}"')
        try:
            self.target.execute(damage, name)
            yield replace(self.evidence, database=name)
        finally:
            self.target.drop_database(name)


@pytest.fixture(scope="module")
def shop(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restored]:
    with pair.production.database() as name:
        pair.production.execute(SHOP, name)
        taken = roundtrip.dump(pair.production, name, tmp_path_factory.mktemp("dump") / "dump", queries=QUERIES)
        with restored(pair.target, taken) as errors:
            assert not errors.issues
            yield Restored(pair.target, taken.evidence)


def test_nothing_fires_on_the_restored_database(shop: Restored) -> None:
    with shop.after("SELECT nextval('orders_id_seq'), nextval('downwards')") as evidence:
        assert not alarms(compared(shop.target, evidence))


# What is done to the restored database, and which comparisons fail with which words.
DAMAGES = {
    "rows lost": ("DELETE FROM lines WHERE n > 90", {"row counts": r"public\.lines: expected 100, found 90$"}),
    "a row too many": ("INSERT INTO lines VALUES (1, 1)", {"row counts": r"public\.lines: expected 100, found 101$"}),
    "a partition's rows lost": ("TRUNCATE events_2", {"row counts": r"events: expected 20, found 10.*events_2: expected 10, found 0"}),
    "a table lost": (
        "DROP TABLE empty",
        {
            "row counts": r"public\.empty: .*no such table",
            "schema": r"^table public\.empty is missing$",
            "privileges": "table public.empty is missing",
        },
    ),
    "a table from elsewhere": (
        "CREATE TABLE other ()",
        {
            "row counts": "public.other: found, and not in production",
            "schema": "table public.other is not in production",
            "privileges": "table public.other is not",
        },
    ),
    "a sequence behind": (
        "SELECT setval('orders_id_seq', 99)",
        {"sequences": r"^public\.orders_id_seq: expected 100 or beyond, found 99$"},
    ),
    "a sequence behind by its flag": ("SELECT setval('orders_id_seq', 100, false)", {"sequences": "orders_id_seq"}),
    "a descending sequence behind": ("SELECT setval('downwards', -1)", {"sequences": r"^public\.downwards: expected -2"}),
    "a sequence lost": (
        "DROP SEQUENCE downwards",
        {
            "sequences": "public.downwards: missing",
            "schema": "sequence public.downwards is missing",
            "privileges": "sequence public.downwards is missing",
        },
    ),
    "another column type": ("ALTER TABLE lines ALTER order_id TYPE bigint", {"schema": r"^column public\.lines\.order_id is different$"}),
    "a column lost": (
        "ALTER TABLE lines DROP n CASCADE",
        {"schema": r"table public\.lines is different|column public\.lines\.n is missing"},
    ),
    "another default": ("ALTER TABLE orders ALTER note SET DEFAULT 'y'", {"schema": r"^column public\.orders\.note is different$"}),
    "a not null lost": ("ALTER TABLE orders ALTER cents DROP NOT NULL", {"schema": r"^column public\.orders\.cents is different$"}),
    "an index lost": ("DROP INDEX by_note", {"schema": r"^index public\.by_note is missing$"}),
    "another index": (
        "DROP INDEX by_note; CREATE INDEX by_note ON orders (note) WHERE note IN ('a', 'c')",
        {"schema": r"^index public\.by_note is different$"},
    ),
    "a primary key lost": ("ALTER TABLE orders DROP CONSTRAINT orders_pkey CASCADE", {"schema": "index public.orders_pkey is missing"}),
    "a foreign key lost": (
        "ALTER TABLE lines DROP CONSTRAINT lines_order_id_fkey",
        {"schema": "^constraint lines_order_id_fkey on public.lines is missing$"},
    ),
    "another check": (
        "ALTER TABLE orders DROP CONSTRAINT orders_cents_check, ADD CONSTRAINT orders_cents_check CHECK (cents > 0)",
        {"schema": "^constraint orders_cents_check on public.orders is different$"},
    ),
    "a trigger off": ("ALTER TABLE orders DISABLE TRIGGER touched", {"schema": "^trigger touched on public.orders is different$"}),
    "a function body changed": (
        "CREATE OR REPLACE FUNCTION price(int) RETURNS int LANGUAGE sql AS 'SELECT 2'",
        {"schema": r"^function public\.price\(integer\) is different$"},
    ),
    "other parentheses in a view": (
        "CREATE OR REPLACE VIEW cheap AS SELECT id FROM orders WHERE cents < 10 OR (cents = 50 AND note = 'x')",
        {"schema": r"^view public\.cheap is different$"},
    ),
    "a materialised view unfilled": (
        "REFRESH MATERIALIZED VIEW totals WITH NO DATA",
        {"schema": "materialized view public.totals is different"},
    ),
    "another enum": ("ALTER TYPE state RENAME VALUE 'paid' TO 'settled'", {"schema": r"^type public\.state is different$"}),
    "a policy lost": ("DROP POLICY mine ON lines", {"schema": "^policy mine on public.lines is missing$"}),
    "row security off": ("ALTER TABLE lines DISABLE ROW LEVEL SECURITY", {"schema": r"^table public\.lines is different$"}),
    "a comment lost": ("COMMENT ON TABLE orders IS NULL", {"schema": r"^table public\.orders is different$"}),
    "a grant lost": ("REVOKE SELECT ON orders FROM PUBLIC", {"privileges": r"^table public\.orders is different$"}),
    "another owner": ("ALTER VIEW cheap OWNER TO pg_monitor", {"privileges": r"^view public\.cheap is different$"}),
    "an extension lost": ("DROP EXTENSION hstore", {"extensions": "^hstore is missing$"}),
    "a large object lost": ("SELECT lo_unlink(4711)", {"large objects": "", "privileges": "large objects"}),
    "a large object cut": ("SELECT lo_truncate(lo_open(4712, x'20000'::int), 2)", {"large objects": ""}),
    "other numbers": (
        "UPDATE orders SET cents = cents + 1 WHERE id = 1",
        {"query turnover": r"row 1: expected 5050, NULL, found 5051, NULL"},
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_named(shop: Restored, name: str) -> None:
    damage, expected = DAMAGES[name]
    with shop.after(damage) as evidence:
        results = compared(shop.target, evidence)
    fired = {result.name: result for result in alarms(results)}
    # A query that counts, and what hangs on a dropped object, may fire as well: no comparison of another kind does.
    assert set(fired) == set(expected)
    for comparison, words in expected.items():
        assert fired[comparison].verdict == "failed"
        assert re.search(words, fired[comparison].detail)
        assert fired[comparison].expected


def test_settings_and_grants_of_the_database_come_back_or_are_missed(pair: Pair, tmp_path: Path) -> None:
    with pair.production.database() as name:
        pair.production.execute(f"ALTER DATABASE {name} SET \"app.secret\" = 'geheim'; ALTER DATABASE {name} SET search_path = a, b")
        taken = roundtrip.dump(pair.production, name, tmp_path / "dump")
        with restored(pair.target, taken):
            assert not alarms(compared(pair.target, taken.evidence))
            pair.target.execute(f'ALTER DATABASE {name} RESET "app.secret"')
            pair.target.execute(f"ALTER DATABASE {name} SET work_mem = '9MB'")
            (alarm,) = alarms(compared(pair.target, taken.evidence))
            assert (alarm.name, alarm.verdict) == ("database settings", "failed")
            assert alarm.detail == "app.secret is missing or different, work_mem is not in production"
            assert "geheim" not in repr(alarm)


def test_another_locale_is_a_failure_and_another_collation_version_a_remark(shop: Restored) -> None:
    other = replace(shop.evidence, encoding={**shop.evidence.encoding, "lc_collate": "de_DE.UTF-8"})
    (alarm,) = alarms(compared(shop.target, other))
    assert (alarm.name, alarm.detail) == ("encoding and locale", "lc_collate: expected de_DE.UTF-8, found C.UTF-8")
    versions = (Collation('pg_catalog."en-x-icu"', "153.14", "153.80"), Collation("database", "2.28", "2.36"))
    result = compared(shop.target, replace(shop.evidence, collations=versions))["collations"]
    assert result.verdict == "passed"
    assert "REINDEX" in result.detail


def test_what_was_not_recorded_is_unverified_and_never_passed(shop: Restored) -> None:
    tables = tuple(replace(table, rows=None) if table.name == "lines" else table for table in shop.evidence.tables)
    missing = {"query late": "the time allowed for evidence was used up", "definition of every view": "locked", "large objects": "time"}
    part = replace(shop.evidence, tables=tables, missing=missing, large_objects=None)
    verdicts = {alarm.name: (alarm.verdict, alarm.detail) for alarm in alarms(compared(shop.target, part))}
    assert verdicts == {
        "row counts": ("unverified", "not counted in production: public.lines"),
        "schema": ("unverified", "every view: locked"),
        "large objects": ("unverified", "time"),
        "query late": ("unverified", "the time allowed for evidence was used up"),
    }


def test_evidence_by_other_rules_is_compared_by_names_and_unverified(shop: Restored) -> None:
    older = replace(shop.evidence, rules=0, objects=dict.fromkeys(shop.evidence.objects, "0" * 64))
    assert {alarm.name: alarm.verdict for alarm in alarms(compared(shop.target, older))} == {
        "schema": "unverified",
        "privileges": "unverified",
    }
    with shop.after("DROP INDEX by_note") as evidence:
        alarm = compared(shop.target, replace(evidence, rules=0))["schema"]
        assert alarm.verdict == "failed"
        assert "index public.by_note is missing" in alarm.detail


def test_owners_cannot_be_judged_without_the_roles(shop: Restored) -> None:
    alarm = compared(shop.target, replace(shop.evidence, roles=("postgres", "nobody_here")))["privileges"]
    assert (alarm.verdict, alarm.detail) == ("unverified", "roles missing on the target: nobody_here")
