# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A shop whose table was dropped, recovered to the moment before, and to every other kind of moment."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.parts import require
from support.pitr import Production


@dataclass
class Story:
    """Orders keep coming, and somebody drops the table."""

    production: Production
    base: str
    before: dt.datetime
    lsn: str
    xid: str
    last: str


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    require(f"postgresql:{request.param}")
    # Without autovacuum, whose records could fill the segment in which the story is told.
    shop = Production(request.param, tmp_path_factory.mktemp("keys"), autovacuum="off")
    try:
        shop.query("CREATE TABLE orders (id bigserial PRIMARY KEY, note text, placed_at timestamptz DEFAULT now())")
        shop.query("INSERT INTO orders (note) SELECT 'old' FROM generate_series(1, 1000)")
        shop.archive()
        base = shop.back_up()
        shop.query("INSERT INTO orders (note) VALUES ('after the base')")
        shop.archive()
        shop.query("SELECT pg_create_restore_point('before the migration')")
        xid = shop.query("INSERT INTO orders (note) VALUES ('migrated') RETURNING pg_current_xact_id()::xid::text")
        shop.query("INSERT INTO orders (note) VALUES ('the last order')")
        before = shop.moment()
        lsn = shop.query("SELECT pg_current_wal_insert_lsn()::text")
        shop.query("DROP TABLE orders")
        shop.query("CREATE TABLE orders (id bigint, note text)")
        last = shop.archive()
        yield Story(shop, base, before, lsn, xid, last)
    finally:
        shop.stop()


THERE = "SELECT 1 FROM orders WHERE note = '{}'"


def verdict(report: dict[str, Any]) -> tuple[str, str]:
    return report["verdict"], report["reason"]


@pytest.mark.parametrize("told", [15, 18], indirect=True, ids=["pg15", "pg18"])
def test_the_dropped_table_is_back_as_it_was_a_moment_before(told: Story, work_dir: Path) -> None:
    report = told.production.drill(
        work_dir,
        target={"time": told.before.isoformat()},
        markers={"must_exist": [THERE.format("the last order")], "must_not_exist": ["SELECT 1 FROM orders HAVING count(*) = 0"]},
        checks=[{"sql": {"query": "SELECT count(*) FROM orders", "expect": 1003}}],
        objective={"rto": "1h"},
        amcheck=True,
        data_checksums=True,
    )
    assert report["verdict"] == "passed", report["reason"]
    recovery = report["recovery"]
    assert (report["backup_id"], recovery["chain"], recovery["timeline"]) == (told.base, [told.base], 1)
    assert recovery["last_segment"] == told.last
    assert "recovery stopping before commit of transaction" in recovery["stopped"]
    assert (report["isolation"]["isolated"], report["settings"]["archive_mode"]) == (True, "off")
    assert 0 < report["service_ready_seconds"] <= report["verified_seconds"]
    assert (report["kind"], report["rpo_seconds"]) == ("base", None)


@pytest.mark.parametrize(
    ("target", "must", "must_not"),
    [
        ({"latest": True}, "SELECT count(*) = 0 FROM orders", "SELECT 1 FROM orders"),
        ({"name": "before the migration"}, THERE.format("after the base"), THERE.format("migrated")),
        ({"xid": "xid"}, THERE.format("migrated"), THERE.format("the last order")),
        ({"xid": "xid", "inclusive": False}, THERE.format("after the base"), THERE.format("migrated")),
        ({"lsn": "lsn"}, THERE.format("the last order"), "SELECT 1 FROM orders HAVING count(*) = 0"),
    ],
    ids=["latest", "name", "xid", "xid left out", "lsn"],
)
@pytest.mark.parametrize("told", [18], indirect=True, ids=["pg18"])
def test_every_kind_of_target(told: Story, work_dir: Path, target: dict[str, Any], must: str, must_not: str) -> None:
    target = {kind: getattr(told, str(value), value) for kind, value in target.items()}
    report = told.production.drill(work_dir, target=target, markers={"must_exist": [must], "must_not_exist": [must_not]})
    assert report["verdict"] == "passed", report["reason"]
