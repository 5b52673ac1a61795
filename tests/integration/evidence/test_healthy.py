# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A healthy restore is never an alarm, whatever the schema."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import roundtrip
from support.clusters import Server
from support.roundtrip import Pair, alarms, compared, restored

REALISTIC = (Path(roundtrip.__file__).parent / "realistic.sql").read_text()
QUERIES = {
    "all moments": "SELECT 'infinity'::timestamptz, '-infinity'::date, now() > '2000-01-01', NULL, 0.1::float8, '1 day'::interval",
    "orders": "SELECT kind, count(*), sum(balance) FROM app.customers GROUP BY kind ORDER BY kind;",
}


@pytest.fixture
def realistic(pair: Pair) -> Iterator[str]:
    with _roles(pair.production), pair.production.database() as name:
        pair.production.execute(REALISTIC, name)
        pair.production.execute(
            f"""
            ALTER DATABASE {name} SET search_path = app, "$user", public;
            ALTER DATABASE {name} SET work_mem = '7MB';
            ALTER ROLE shop_owner IN DATABASE {name} SET statement_timeout = '1min';
            ALTER DATABASE {name} OWNER TO shop_owner; REVOKE CONNECT ON DATABASE {name} FROM PUBLIC;
            COMMENT ON DATABASE {name} IS 'a shop';
            """,
            name,
        )
        yield name


@pytest.mark.parametrize("pair", [15], indirect=True)
def test_nothing_is_an_alarm_on_the_next_major_version_either(pair: Pair, realistic: str, tmp_path: Path) -> None:
    taken = roundtrip.dump(pair.production, realistic, tmp_path / "dump", queries=QUERIES)
    with Server(18) as target, restored(target, taken) as errors:
        assert not errors.issues
        results = compared(target, taken.evidence)
        assert not alarms(results)
        assert results["schema"].detail == results["privileges"].detail
        target.execute("DROP TABLE app.refers CASCADE; INSERT INTO app.by_status VALUES ('new', 1)", taken.evidence.database)
        changed = compared(target, taken.evidence)
    assert results["schema"].detail == "recorded on PostgreSQL 15, and this is 18: only names were compared"
    assert "table app.refers is missing" in changed["schema"].detail
    assert changed["row counts"].verdict == "failed"


@contextlib.contextmanager
def _roles(server: Server) -> Iterator[None]:
    with server.connect() as connection:
        connection.execute('CREATE ROLE shop_owner LOGIN; CREATE ROLE "the ""reader"""')
    try:
        yield
    finally:
        with server.connect() as connection:
            connection.execute('DROP ROLE shop_owner, "the ""reader"""')


def test_every_kind_of_object_reads_the_same_after_a_restore(pair: Pair, realistic: str, tmp_path: Path) -> None:
    taken = roundtrip.dump(pair.production, realistic, tmp_path / "dump", queries=QUERIES)
    assert not taken.evidence.missing
    assert not taken.evidence.unstable
    with restored(pair.target, taken) as errors:
        assert not errors.issues
        results = compared(pair.target, taken.evidence)
    assert not alarms(results)
    kinds = {name.split(" ")[0] for name in taken.evidence.objects}
    assert kinds >= {"table", "column", "index", "constraint", "trigger", "function", "aggregate", "view", "policy", "sequence", "cast"}
    assert set(results) >= {"row counts", "sequences", "schema", "privileges", "extensions", "large objects", "query orders"}
