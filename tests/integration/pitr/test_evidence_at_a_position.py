# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence of production at a position of its log: a recovery to there is compared with it, and equal means equal."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DatabaseError
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from support.parts import require
from support.pitr import Production, listing
from support.standbys import Standby

SCHEMA = """
CREATE TABLE orders (id bigserial PRIMARY KEY, note text NOT NULL, total int NOT NULL DEFAULT 7);
CREATE TABLE lines (id int, parent bigint) PARTITION BY RANGE (id);
CREATE TABLE lines_low PARTITION OF lines FOR VALUES FROM (0) TO (1000);
CREATE UNLOGGED TABLE lines_high PARTITION OF lines FOR VALUES FROM (1000) TO (2000);
CREATE TABLE queue (id bigserial PRIMARY KEY, job text);
CREATE TABLE refilled (id int);
CREATE UNLOGGED TABLE carts (id serial, what text);
INSERT INTO orders (note) SELECT 'order ' || n FROM generate_series(1, 500) AS n;
INSERT INTO lines SELECT n, n FROM generate_series(1, 1999) AS n;
INSERT INTO refilled SELECT generate_series(1, 100);
INSERT INTO carts (what) SELECT 'cart' FROM generate_series(1, 20);
"""
# What never stops: rows that come, change and go, sequences, a TRUNCATE.
BUSY = (
    "INSERT INTO orders (note) SELECT 'busy' FROM generate_series(1, 3)",
    "UPDATE orders SET total = total + 1 WHERE id % 17 = 0",
    "DELETE FROM orders WHERE id IN (SELECT id FROM orders WHERE note = 'busy' ORDER BY id LIMIT 2)",
    "INSERT INTO queue (job) SELECT 'job' FROM generate_series(1, 4)",
    "DELETE FROM queue",
    "TRUNCATE refilled; INSERT INTO refilled SELECT generate_series(1, 100)",
    "SELECT nextval('orders_id_seq')",
)


@contextmanager
def writers(production: Production, count: int = 2) -> Iterator[None]:
    """Sessions that write without a pause for as long as the block runs."""
    ended = threading.Event()
    faults: list[BaseException] = []

    def write(first: int) -> None:
        try:
            with production.server.connect("shop") as conn:
                number = first
                while not ended.is_set():
                    conn.execute(BUSY[number % len(BUSY)].encode())
                    number += 1
                    ended.wait(0.004)  # the log that they fill has to be archived, too
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=write, args=(number * 3,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not faults, faults


@pytest.fixture(scope="module")
def production(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    major, wal_level = request.param
    require(f"postgresql:{major}", "program:age", "program:zstd")
    shop = Production(major, tmp_path_factory.mktemp("keys"), wal_level=wal_level)
    try:
        shop.query("CREATE DATABASE shop")
        shop.server.execute(SCHEMA, "shop")
        shop.archive()
        yield shop
    finally:
        shop.stop()


on_logical = pytest.mark.parametrize("production", [(15, "logical"), (18, "logical")], indirect=True, ids=["pg15", "pg18"])
on_replica = pytest.mark.parametrize("production", [(15, "replica")], indirect=True, ids=["pg15"])
DIGESTS = {"tables": ["all"], "large_objects": True}


def base(production: Production, **evidence: Any) -> Manifest:
    backup_id = production.back_up(evidence={"databases": ["shop"], **evidence})
    path = production.place.root / "shop" / "manifests" / "base" / "cluster" / f"{backup_id}.json"
    return Manifest.from_bytes(path.read_bytes())


def drill(production: Production, work_dir: Path, **more: Any) -> dict[str, Any]:
    production.archive()  # what the writers left behind is still on its way there
    return production.drill(work_dir, target={"evidence": True}, database="shop", **more)


def verdicts(report: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["verdict"] for check in report["checks"]}


def slots(production: Production) -> Any:
    return production.query("SELECT count(*) FROM pg_replication_slots")


@on_logical
def test_under_writers_that_never_stop_the_recovered_rows_equal_the_evidence_of_a_slot(production: Production, work_dir: Path) -> None:
    with writers(production):
        manifest = base(production, digests=DIGESTS)
    (point,) = manifest.evidence
    assert (point.database, point.exact, point.how) == ("shop", True, "the snapshot of a logical replication slot")
    assert slots(production) == 0
    report = drill(production, work_dir)
    assert report["verdict"] == "passed", report["reason"]
    found = verdicts(report)
    assert {found[name] for name in ("row counts", "content digests", "sequences", "schema", "privileges")} == {"passed"}
    (place,) = (check for check in report["checks"] if check["name"] == "evidence")
    assert place["found"] == "exact: the snapshot of a logical replication slot"
    assert point.lsn in report["recovery"]["target"]
    assert "2 unlogged tables came back empty, as after every recovery: public.carts, public.lines_high" in report["warnings"]


@on_replica
def test_where_nothing_is_in_flight_the_position_is_exact_and_a_difference_is_found(production: Production, work_dir: Path) -> None:
    manifest = base(production, digests=DIGESTS, checks=[{"gapless": {"table": "orders", "column": "id"}}])
    (point,) = manifest.evidence
    assert (point.exact, point.how) == (True, "nothing was in flight")
    production.server.execute("DELETE FROM orders WHERE id = 3; TRUNCATE refilled", "shop")
    checks = [{"gapless": {"table": "orders", "column": "id"}}]
    report = drill(production, work_dir, checks=checks)
    assert report["verdict"] == "passed", report["reason"]
    # The same comparison with a state of a moment later: what it is for.
    later = production.query("SELECT pg_current_wal_insert_lsn()::text")
    production.query("SELECT pg_logical_emit_message(false, 'test', 'behind')")
    found = with_position(production, manifest, later, work_dir)
    assert found["verdict"] == "failed"
    assert {name for name, verdict in verdicts(found).items() if verdict == "failed"} == {"row counts", "content digests"}
    assert "public.orders: expected 500, found 499" in found["reason"]


def with_position(production: Production, manifest: Manifest, lsn: str, work_dir: Path) -> dict[str, Any]:
    """A drill of the same base backup with another position for its evidence, signed by nobody."""
    place = production.copy()
    path = place.root / "shop" / "manifests" / "base" / "cluster" / f"{manifest.backup_id}.json"
    document = json.loads(path.read_bytes())
    document["evidence"][0]["lsn"] = lsn
    path.chmod(0o600)
    path.write_text(json.dumps(document))
    production.archive()
    shutil.copytree(production.place.root / "shop" / "wal", place.root / "shop" / "wal", dirs_exist_ok=True)
    return production.drill(work_dir, place, target={"evidence": True}, database="shop", verify_keys=[], waive=["same_host", "signature"])


@on_replica
def test_under_writers_that_never_stop_a_healthy_recovery_never_fails(production: Production, work_dir: Path) -> None:
    with writers(production):
        manifest = base(production, within="0s", digests=DIGESTS)
    (point,) = manifest.evidence
    report = drill(production, work_dir)
    # Whether a moment without transactions was met is chance; what follows from it is not.
    assert report["verdict"] in (("passed",) if point.exact else ("passed", "unverified")), (point.how, report["reason"])
    assert "failed" not in verdicts(report).values()


@on_replica
def test_bounds_are_called_bounds_and_fail_nothing(production: Production, work_dir: Path) -> None:
    with production.server.connect("shop") as conn:
        conn.execute("BEGIN; INSERT INTO orders (note) VALUES ('in flight'); PREPARE TRANSACTION 'waits'")
        try:
            manifest = base(production, within="1s")
        finally:
            conn.execute("COMMIT PREPARED 'waits'")
    (point,) = manifest.evidence
    assert (point.exact, point.how) == (False, "bounds, since 1 prepared transaction waited for an end")
    report = drill(production, work_dir)
    assert report["verdict"] == "passed", report["reason"]
    (counts,) = (check for check in report["checks"] if check["name"] == "row counts")
    assert counts["expected"].startswith("bounds, not numbers: 7 tables between two snapshots")
    assert any("not compared for equality" in warning for warning in report["warnings"])
    behind = production.query("SELECT pg_current_wal_insert_lsn()::text")
    production.query("SELECT pg_logical_emit_message(false, 'test', 'behind')")
    found = with_position(production, manifest, behind, work_dir)
    # A row more than in either of the snapshots: loss or not, nobody can know.
    assert (found["verdict"], verdicts(found)["row counts"]) == ("unverified", "unverified")
    assert "rows that came and went between the two snapshots would explain it" in found["reason"]


@on_replica
def test_a_login_that_may_not_leave_the_segment_is_told_and_the_backup_is_there(production: Production) -> None:
    with production.server.role("lifeboat_base", "LOGIN REPLICATION IN ROLE pg_read_all_data"):
        result = production.take(login_user="lifeboat_base", evidence={"databases": ["shop"]})
    assert [point["database"] for point in result["evidence"]] == ["shop"]
    assert any("the login may not call pg_switch_wal" in note for note in result["warnings"])


@on_replica
def test_what_cannot_be_read_or_is_not_there_is_said_before_anything_is_copied(production: Production) -> None:
    before = listing(production.place.root)
    with production.server.role("blind", "LOGIN REPLICATION"), pytest.raises(DatabaseError, match="role 'blind' may not read"):
        production.take(login_user="blind", evidence={"databases": ["shop"]})
    with pytest.raises(ConfigurationError, match="there is no database 'shap'"):
        production.take(evidence={"databases": ["shap"]})
    assert {name for name in set(listing(production.place.root)) - set(before) if "/base/" in name} == set()


@on_replica
def test_a_base_backup_without_evidence_leaves_such_a_drill_unverified(production: Production, work_dir: Path) -> None:
    production.back_up(evidence={"all_databases": True})
    report = production.drill(work_dir, target={"evidence": True}, database="postgres")
    assert (report["verdict"], report["service_ready_seconds"]) == ("unverified", None)
    assert "has no evidence of database 'postgres'" in report["reason"]
    assert "It has some of 'shop'" in report["reason"]


@on_replica
def test_evidence_of_a_standby_is_compared_and_unlogged_tables_keep_it_from_being_taken(production: Production, work_dir: Path) -> None:
    production.query("CREATE DATABASE licences")
    production.server.execute("CREATE TABLE keys (id serial, of text); INSERT INTO keys (of) VALUES ('a'), ('b')", "licences")
    least = {name: production.server.settings[name] for name in ("max_connections", "max_prepared_transactions", "max_wal_senders")}
    with Standby(production.server, {**least, "archive_mode": "off", "hot_standby_feedback": "on"}) as standby:
        standby.catch_up()
        login = {"login_unix_socket": str(standby.socket_dir), "login_port": standby.port}
        with pytest.raises(DatabaseError, match="the rows of unlogged tables are not there"):
            production.take(**login, evidence={"databases": ["shop"]})
        with writers(production, 1), segments_left(production):
            result = production.take(**login, evidence={"databases": ["licences"], "digests": DIGESTS})
    (point,) = result["evidence"]
    assert any("a standby cannot end a segment" in note for note in result["warnings"])
    production.archive()
    report = production.drill(work_dir, target={"evidence": True}, database="licences")
    assert report["verdict"] == "passed", (point, report["reason"])
    production.server.drop_database("licences")


@contextmanager
def segments_left(production: Production) -> Iterator[None]:
    """The primary leaves segments, as it does under load: a standby cannot."""
    ended = threading.Event()

    def leave() -> None:
        while not ended.wait(0.2):
            if not production.server.waiting():  # else a busy machine's archiver would never be done
                production.server.switch()

    thread = threading.Thread(target=leave)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
