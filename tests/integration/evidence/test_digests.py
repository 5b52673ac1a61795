# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A table's content as one number: the same after a healthy restore, whatever its types; another when one byte is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.counts import partition_trees
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.digest_plan import DigestPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.digests import take_digests
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import Digests, Evidence
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import open_connection
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import exported_snapshot
from support import roundtrip
from support.clusters import Server
from support.roundtrip import Pair, alarms, compared, restored

REALISTIC = (Path(roundtrip.__file__).parent / "realistic.sql").read_text()
ALL = DigestPlan(("all",), large_objects=True)

TYPES = """
CREATE TYPE mood AS ENUM ('glad', 'sad'); ALTER TYPE mood ADD VALUE 'so so' BEFORE 'sad'; COMMIT;
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN short AS varchar(9);
CREATE TABLE every (
    id int PRIMARY KEY, gone int, mood mood, moods mood[], pair pair, pairs pair[], dom short, doc json, docb jsonb, raw bytea, flt float8,
    flt4 float4, at timestamptz, day date, span interval, num numeric, txt text, chr char(5), bits varbit, net inet, rng tstzrange,
    multi int4multirange, xml text, vec tsvector, cash money, tab regclass, twice int GENERATED ALWAYS AS (id * 2) STORED
);
ALTER TABLE every DROP COLUMN gone;
INSERT INTO every (
    id, mood, moods, pair, pairs, dom, doc, docb, raw, flt, flt4, at, day, span, num, txt, chr, bits, net, rng, multi, vec, cash, tab
) VALUES
    (1, 'sad', '{glad,NULL}', '(1,"a ""b"", c")', ARRAY[ROW(1, NULL)::pair], 'x', '{"b": 1,  "a": [1.0, 1.00]}', '{"b": 1, "a": [1.0]}',
     '\\x00ff5c', 'NaN', '-0', 'infinity', '0044-03-15 BC', '1 mon -2 days 03:04:05.6', 1.10, '', 'ab', B'101', '10.0.0.1/8',
     '[2026-01-01, 2026-02-01)', '{[1,3),[7,9)}', 'a b', '12.34', 'every'),
    (2, 'glad', '[2:3]={sad,glad}', NULL, '{}', '', 'null', 'null', '', '-0', 'Infinity', '2026-03-29 02:30:00.123456+01', '12345-01-01',
     '-1 year', 'NaN', NULL, 'ab   ', B'', 'fe80::1', 'empty', '{}', '', NULL, NULL),
    (3, NULL, NULL, '(,)', NULL, NULL, NULL, NULL, NULL, 0.1::float8 + 0.2, 1e-45, NULL, NULL, NULL, 1e-100,
     E'tab\\t\\\\ "quote" \\u00fc', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE twins (v text); INSERT INTO twins VALUES ('a'), ('a'), (NULL), ('');
CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES;
CREATE TABLE nothing (n int);
CREATE TABLE "odd "" na%me; --" ("a b" int, "%s" text); INSERT INTO "odd "" na%me; --" VALUES (1, 'x');
CREATE TABLE parent (n int, late int); CREATE TABLE child (own text, n int NOT NULL, late int); ALTER TABLE child INHERIT parent;
INSERT INTO parent VALUES (1, 2); INSERT INTO child (n, late, own) VALUES (2, 3, 'x');
CREATE TABLE moods (mood mood, n int) PARTITION BY HASH (mood);
CREATE TABLE moods_0 PARTITION OF moods FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE moods_1 PARTITION OF moods FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO moods SELECT (enum_range(NULL::mood))[1 + n % 3], n FROM generate_series(1, 99) n;
CREATE TABLE days (at date, n int) PARTITION BY RANGE (at);
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
INSERT INTO days VALUES ('2026-02-03', 1);
SELECT lo_from_bytea(4711, 'one'), lo_put(lo_create(4712), 5000, 'after a hole'), lo_create(4713);
"""
DAMAGE = {
    "a character": ("UPDATE every SET txt = 'x' WHERE id = 1", "public.every"),
    "NULL for an empty text": ("UPDATE every SET txt = NULL WHERE id = 1", "public.every"),
    "a byte": ("UPDATE every SET raw = '\\x00ff5d' WHERE id = 1", "public.every"),
    "the sign of zero": ("UPDATE every SET flt = 0 WHERE id = 2", "public.every"),
    "the last digit of a float": ("UPDATE every SET flt = 0.3 WHERE id = 3", "public.every"),
    "a space in a json": ('UPDATE every SET doc = \'{"b": 1, "a": [1.0, 1.00]}\' WHERE id = 1', "public.every"),
    "a trailing zero": ("UPDATE every SET num = 1.1 WHERE id = 1", "public.every"),
    "a label of an enum": ("UPDATE every SET mood = 'glad' WHERE id = 1", "public.every"),
    "a microsecond": ("UPDATE every SET at = at + interval '1 microsecond' WHERE id = 2", "public.every"),
    "values of two rows": ("UPDATE twins SET v = CASE WHEN v IS NULL THEN '' WHEN v = '' THEN NULL ELSE 'b' END", "public.twins"),
    "a row for its twin": ("UPDATE twins SET v = 'b' WHERE v = 'a'", "public.twins"),
    "a row in a rehashed tree": ("UPDATE moods SET n = 0 WHERE n = 7", "public.moods"),
    "a row in a partition": ("UPDATE days SET n = 2", "public.days_1"),
    "a row of a child": ("UPDATE child SET own = 'y'", "public.child"),
    "an odd name": ('UPDATE "odd "" na%me; --" SET "%s" = \'X\'', 'public.odd " na%me; --'),
    "a large object": ("SELECT lo_put(4711, 0, 'O')", "large objects"),
}


def digest(server: Server, dbname: str, plan: DigestPlan) -> Digests:
    """The digests of a database, without a dump beside them."""
    with open_connection(server.login(dbname), application_name="test") as connection, exported_snapshot(connection) as snapshot:
        return take_digests(snapshot, partition_trees(connection), plan)


@pytest.fixture(scope="module")
def every_type(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    """Restored on the other server; the evidence of production."""
    with pair.production.database() as name:
        pair.production.execute(TYPES, name)
        taken = roundtrip.dump(pair.production, name, tmp_path_factory.mktemp("digests") / "dump", digests=ALL)
        with restored(pair.target, taken) as errors:
            assert not errors.issues
            yield taken.evidence


def test_a_healthy_restore_has_the_same_digests_whatever_the_types(pair: Pair, every_type: Evidence) -> None:
    recorded = every_type.digests
    assert recorded is not None
    assert not recorded.missing
    assert {"public.every", "public.bare", "public.nothing", "public.moods", "public.days_1"} <= set(recorded.tables)
    assert not {"public.moods_0", "public.days"} & set(recorded.tables)
    assert recorded.tables["public.nothing"] == "0" * 16
    results = compared(pair.target, every_type)
    assert not alarms(results)
    assert results["content digests"].expected == f"{len(recorded.tables)} of {len(recorded.tables)} tables digested"


def test_a_change_is_found_and_its_table_named_and_no_other(pair: Pair, every_type: Evidence) -> None:
    """Each one is done, looked for and undone, in the restored database."""
    for damage, label in DAMAGE.values():
        name = f"{every_type.database}_copy"
        pair.target.execute(f'CREATE DATABASE "{name}" TEMPLATE "{every_type.database}"')
        try:
            pair.target.execute(damage, name)
            result = compared(pair.target, replace(every_type, database=name))
        finally:
            pair.target.drop_database(name)
        assert result["content digests"].verdict == "failed", damage
        assert result["content digests"].detail == f"{label}: other content than in production", damage
        assert not [other for other in alarms(result) if other.name != "content digests"], damage


def test_a_table_that_is_gone_is_named(pair: Pair, every_type: Evidence) -> None:
    assert every_type.digests is not None
    with pair.target.database() as empty:
        result = compared(pair.target, replace(every_type, database=empty))["content digests"]
    assert result.verdict == "failed"
    assert "public.every: no such table" in result.detail


def test_nothing_fires_on_every_kind_of_object(pair: Pair, tmp_path: Path) -> None:
    with pair.production.connect() as connection:
        connection.execute('CREATE ROLE shop_owner LOGIN; CREATE ROLE "the ""reader"""')
    try:
        with pair.production.database() as name:
            pair.production.execute(REALISTIC, name)
            taken = roundtrip.dump(pair.production, name, tmp_path / "dump", digests=ALL)
            with restored(pair.target, taken) as errors:
                assert not errors.issues
                results = compared(pair.target, taken.evidence)
        assert not alarms(results)
        assert results["content digests"].verdict == "passed"
    finally:
        with pair.production.connect() as connection:
            connection.execute('DROP ROLE shop_owner, "the ""reader"""')


def test_only_what_was_asked_for_and_is_due_is_digested(postgres: Server) -> None:
    with postgres.database() as name:
        postgres.execute("".join(f"CREATE TABLE t{number} AS SELECT {number} AS n;" for number in range(30)), name)
        whole = digest(postgres, name, DigestPlan(("all",)))
        part = digest(postgres, name, DigestPlan(("all",), rotate_days=3))
        some = digest(postgres, name, DigestPlan(("t1?", "nowhere"), exclude=("public.t11",)))
    assert len(whole.tables) == part.wanted == 30
    assert 0 < len(part.tables) < 30
    assert part.tables.items() <= whole.tables.items()
    assert part.parts == 3
    assert part.coverage == f"{len(part.tables)} of 30 tables digested (part {part.part} of 3, in turn by the day)"
    assert not part.missing, "what is not due today is not missing"
    assert set(some.tables) == {f"public.t1{number}" for number in range(10)} - {"public.t11"}
    assert some.missing == {"nowhere": "production has no table of that name"}


def test_what_the_budget_leaves_out_is_named_and_makes_a_drill_unverified(pair: Pair, tmp_path: Path) -> None:
    with pair.production.database() as name:
        pair.production.execute(
            "CREATE TABLE small AS SELECT 1 AS n; CREATE TABLE large AS SELECT n, md5(n::text) AS t FROM generate_series(1, 400000) n;"
            "ANALYZE large",
            name,
        )
        for budget in (0.05, 0.1, 0.2, 0.4, 0.8):  # the longer ones where a busy machine has no time for one row in the shortest
            taken = roundtrip.dump(pair.production, name, tmp_path / "dump", digests=DigestPlan(("all",), budget_seconds=budget))
            if taken.evidence.digests is not None and taken.evidence.digests.tables:
                break
        recorded = taken.evidence.digests
        assert recorded is not None
        assert set(recorded.tables) == {"public.small"}
        assert recorded.missing == {"public.large": "the time allowed for digests was used up"}
        assert not taken.evidence.uncounted
        assert "evidence: no digest of public.large: the time allowed for digests was used up" in taken.evidence.notes
        with restored(pair.target, taken):
            result = compared(pair.target, taken.evidence)["content digests"]
        assert result.verdict == "unverified"
        assert "public.large has no digest in production" in result.detail


def test_a_table_that_cannot_be_written_as_text_is_named_and_the_rest_is_digested(postgres: Server) -> None:
    with postgres.database() as name:
        postgres.execute(
            "CREATE TYPE mood AS ENUM ('glad'); CREATE TABLE good AS SELECT 1 AS n; CREATE TABLE bad AS SELECT 'glad'::mood AS mood;"
            "DELETE FROM pg_enum WHERE enumtypid = 'mood'::regtype",
            name,
        )
        taken = digest(postgres, name, DigestPlan(("all",)))
    assert set(taken.tables) == {"public.good"}
    assert "invalid internal value for enum" in taken.missing["public.bad"]


def test_digests_by_other_rules_are_not_compared(pair: Pair, every_type: Evidence) -> None:
    assert every_type.digests is not None
    other = replace(every_type, digests=replace(every_type.digests, rules=99))
    result = compared(pair.target, other)["content digests"]
    assert result.verdict == "unverified"
    assert "another version of lifeboat.postgres" in result.detail
