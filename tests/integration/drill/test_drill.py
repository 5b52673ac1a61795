# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill from end to end: a real backup, a real restore, and a report that says what was found."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import stat
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill import guard, logical
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.run import run as run_drill
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DrillNotPassed, DrillRefused
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport
from support.clusters import Server
from support.drills import BackedUp, back_up
from support.logical import new_identity
from support.modules import run_module

NAME = 'my "shop"; $(id)'
SHOP = """
CREATE ROLE "clerk x" LOGIN PASSWORD 'secret'; CREATE ROLE reader;
CREATE EXTENSION hstore;
CREATE TABLE orders (id bigserial PRIMARY KEY, total_cents integer NOT NULL, tags hstore, placed_at timestamptz DEFAULT now());
ALTER TABLE orders OWNER TO "clerk x"; GRANT SELECT ON orders TO reader;
INSERT INTO orders (total_cents, tags) SELECT n, hstore('n', n::text) FROM generate_series(1, 5000) n;
CREATE TABLE invoices (number integer PRIMARY KEY, total_cents integer); INSERT INTO invoices SELECT n, n FROM generate_series(1, 300) n;
CREATE TABLE "odd ""name""
$(x)" (v text); INSERT INTO "odd ""name""
$(x)" VALUES ('a'), (NULL);
CREATE VIEW turnover AS SELECT sum(total_cents) AS cents FROM orders;
CREATE MATERIALIZED VIEW best AS SELECT * FROM orders ORDER BY total_cents DESC LIMIT 10;
SELECT lo_from_bytea(0, 'large object');
"""
CHECKS = [
    {"gapless": {"table": "invoices", "column": "number"}},
    {"integer": {"table": "orders", "columns": ["total_cents"]}},
    {"not_empty": {"tables": ["orders"]}},
    {"recent": {"table": "orders", "column": "placed_at", "max_age": "1h"}},
    {"sql": {"query": "SELECT count(*) FROM public.invoices", "expect": 300}},
]


@contextlib.contextmanager
def backed_up(server: Server, directory: Path) -> Iterator[BackedUp]:
    """A backed-up shop with a hostile name, whose database is read-only and impatient by default."""
    with server.database(NAME, extra="CONNECTION LIMIT 40"):
        server.execute(SHOP, NAME)
        quoted = NAME.replace('"', '""')
        server.execute(f'ALTER DATABASE "{quoted}" SET default_transaction_read_only = on')
        server.execute(f"ALTER DATABASE \"{quoted}\" SET statement_timeout = '100ms'")
        yield back_up(server, NAME, directory, checks=CHECKS)
    for role in ("clerk x", "reader"):
        server.execute(f'DROP ROLE "{role}"')


@pytest.fixture(scope="module")
def shop(postgres18: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackedUp]:
    with backed_up(postgres18, tmp_path_factory.mktemp("shop")) as taken:
        yield taken


@pytest.fixture(scope="module")
def shop15(postgres15: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackedUp]:
    with backed_up(postgres15, tmp_path_factory.mktemp("shop15")) as taken:
        yield taken


@pytest.mark.parametrize("which", ["shop", "shop15"])
def test_a_healthy_backup_passes_with_its_measures(which: str, request: pytest.FixtureRequest, work_dir: Path, tmp_path: Path) -> None:
    shop: BackedUp = request.getfixturevalue(which)
    told: list[str] = []
    given = shop.options(work_dir, checks=CHECKS, objective={"rpo": "1h", "rto": "1h"}, report_dir=str(tmp_path / "reports"))
    result = run_drill(given, progress=told.append)
    report = result["report"]
    assert (report["verdict"], report["backup_id"], report["repository"]) == ("passed", shop.backup_id, "copy")
    assert {check["verdict"] for check in report["checks"]} == {"passed"}
    assert {"restore", "row counts", "sequences", "schema", "extensions"} < {check["name"] for check in report["checks"]}
    assert sum(check["name"].startswith(("gapless", "integer", "not_empty", "recent", "sql")) for check in report["checks"]) == 5
    assert 0 < report["service_ready_seconds"] <= report["verified_seconds"]
    assert 0 <= report["rpo_seconds"] < 3600
    assert (report["objective"]["met"], report["isolation"]["isolated"]) == (True, True)
    assert (report["settings"]["fsync"], report["settings"]["archive_mode"]) == ("off", "off")
    names = [phase["name"] for phase in report["phases"]]
    assert names == ["choose", "guard", "evidence", "target", "fetch", "restore", "statistics", "service", "checks", "teardown"]
    assert len(told) == len(names)
    assert os.listdir(work_dir) == [".lock"]

    written, ticket, page, results = (Path(path) for path in result["report_files"])
    assert DrillReport.from_bytes(written.read_bytes()).to_document() == report == json.loads(written.read_bytes())
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert shop.backup_id in ticket.read_text()
    assert shop.backup_id in page.read_text()
    assert page.name == f"{written.stem}.html"
    assert ElementTree.parse(results).getroot().get("failures") == "0"


def test_no_secret_is_told(shop: BackedUp, work_dir: Path, tmp_path: Path) -> None:
    result = run_drill(shop.options(work_dir, report_dir=str(tmp_path)))
    secret = shop.identity.file.read_text().strip()
    texts = [json.dumps(result), *(path.read_text() for path in tmp_path.rglob("*") if path.is_file())]
    assert len(texts) == 5
    assert not [text for text in texts if secret in text or "PRIVATE KEY" in text]


def test_the_rpo_runs_to_the_moment_of_failure(shop: BackedUp, work_dir: Path) -> None:
    later = dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=5)
    report = shop.drill(work_dir, failure_at=later.isoformat(), objective={"rpo": "4h"})
    assert (report["verdict"], report["objective"]["met"]) == ("passed", False)
    assert 5 * 3600 <= report["rpo_seconds"] < 6 * 3600
    report = shop.drill(work_dir, failure_at="2020-01-01T00:00:00Z", objective={"rpo": "4h"})
    assert (report["verdict"], report["rpo_seconds"], report["objective"]["met"]) == ("passed", None, None)
    assert "after the moment of failure" in report["rpo_note"]


def test_a_missed_objective_fails_unless_that_is_relaxed(shop: BackedUp, work_dir: Path) -> None:
    with pytest.raises(DrillNotPassed, match="objective was not met: RTO"):
        run_drill(shop.options(work_dir, objective={"rto": "0.01s"}))
    result = run_drill(shop.options(work_dir, objective={"rto": "0.01s"}, enforce_objective=False))
    assert (result["report"]["verdict"], result["report"]["objective"]["met"]) == ("passed", False)


def test_a_failing_check_fails_the_drill_and_says_what_was_found(shop: BackedUp, work_dir: Path) -> None:
    report = shop.drill(work_dir, checks=[{"sql": {"query": "SELECT count(*) FROM public.invoices", "expect": 301}}])
    assert report["verdict"] == "failed"
    assert "300" in report["reason"]
    assert report["service_ready_seconds"] > 0
    assert report["verified_seconds"] is None


def test_a_check_that_cannot_run_is_unverified(shop: BackedUp, work_dir: Path) -> None:
    report = shop.drill(work_dir, checks=[{"sql": {"query": "SELECT 1/0", "expect": 1}}])
    assert (report["verdict"], report["verified_seconds"]) == ("unverified", None)


def test_another_identity_does_not_open_it(shop: BackedUp, work_dir: Path, tmp_path: Path) -> None:
    stranger = new_identity(tmp_path / "stranger")
    report = shop.drill(work_dir, identity_file=str(stranger.file))
    assert report["verdict"] == "unverified"
    assert "does not open this backup" in report["reason"]
    assert not work_dir.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"waive": []}, "this host took the backup"),
        ({"production_hosts": ["192.0.2.1", "localhost"]}, "this is the production host 'localhost'"),
        ({"verify_keys": []}, "who took this backup cannot be known"),
        ({"bin_dir": "/nonexistent"}, "there is no postgres of PostgreSQL"),
        ({"run_as": "nobody-of-that-name"}, "run_as is|no user"),
        ({"identity_file": "/nonexistent"}, "identity cannot be read"),
    ],
)
def test_a_guard_refuses_and_nothing_is_touched(shop: BackedUp, work_dir: Path, change: dict[str, Any], says: str) -> None:
    report = shop.drill(work_dir, **change)
    assert report["verdict"] == "unverified"
    assert re.search(says, report["reason"]), report["reason"]
    assert report["checks"] == []
    assert report["service_ready_seconds"] is None
    assert not work_dir.exists()


def test_a_work_directory_in_use_is_left_alone(shop: BackedUp, work_dir: Path) -> None:
    (work_dir / "base").mkdir(parents=True)
    with pytest.raises(DrillNotPassed, match="in use: it holds 'base'"):
        run_drill(shop.options(work_dir))
    assert os.listdir(work_dir) == ["base"]


def test_a_full_disk_is_known_before(shop: BackedUp, work_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CLUSTER_BYTES", 10**18)
    report = shop.drill(work_dir)
    assert report["verdict"] == "unverified"
    assert "too full for this drill" in report["reason"]


def test_a_missing_extension_is_named_with_its_package(shop: BackedUp, work_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logical, "available_extensions", lambda cluster: ["plpgsql"])
    report = shop.drill(work_dir)
    assert report["verdict"] == "unverified"
    assert "missing on this host: hstore" in report["reason"]
    assert f"postgresql-{shop.server.major}" in report["reason"]


def test_check_mode_says_what_would_be_done_and_does_nothing(shop: BackedUp, work_dir: Path) -> None:
    result = run_drill(shop.options(work_dir), check_mode=True)
    rehearsal = result["rehearsal"]
    assert (result["changed"], rehearsal["backup_id"], rehearsal["repository"]) == (True, shop.backup_id, "copy")
    assert (rehearsal["isolated"], rehearsal["work_dir"]) == (True, str(work_dir))
    assert not work_dir.exists()
    with pytest.raises(DrillRefused, match="this host took the backup"):
        run_drill(shop.options(work_dir, waive=[]), check_mode=True)
    with pytest.raises(ConfigurationError, match="Did you mean 'rpo'"):
        run_drill(shop.options(work_dir, objective={"rpq": "1h"}), check_mode=True)


def test_a_named_backup_that_is_not_there_fails(shop: BackedUp, work_dir: Path) -> None:
    report = shop.drill(work_dir, backup_id="20260101T000000Z-00000000")
    assert (report["verdict"], report["backup_id"]) == ("failed", "")
    assert "no backup 20260101T000000Z-00000000" in report["reason"]
    assert shop.drill(work_dir, backup_id=shop.backup_id)["verdict"] == "passed"


def test_a_repository_that_cannot_be_listed_may_hold_a_newer_backup(shop: BackedUp, work_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    repositories = {"gone": {"type": "posix", "path": str(tmp_path / "file")}, **shop.options(work_dir)["repositories"]}
    report = shop.drill(work_dir, repositories=repositories)
    assert (report["verdict"], report["repository"]) == ("unverified", "copy")
    assert "gone" in report["reason"]
    assert shop.drill(work_dir, repositories=repositories, repository="copy")["verdict"] == "passed"


def test_the_report_goes_to_a_report_repository_also_when_the_drill_fails(shop: BackedUp, work_dir: Path, tmp_path: Path) -> None:
    place = tmp_path / "reports"
    place.mkdir()
    spec = {"type": "posix", "path": str(place)}
    report = shop.drill(work_dir, report_repository=spec, name="no such database")
    assert (report["verdict"], "no backup" in report["reason"]) == ("failed", True)
    assert {path.suffix for path in place.rglob("*") if path.is_file()} == {".json", ".md", ".html", ".xml"}


def test_a_report_that_cannot_be_stored_fails_a_drill_that_passed(shop: BackedUp, work_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DrillNotPassed, match="report could not be stored") as failure:
        run_drill(shop.options(work_dir, report_dir=str(tmp_path / "file" / "reports")))
    assert failure.value.result["report"]["verdict"] == "passed"


@pytest.mark.needs("program:ansible")
def test_the_module_says_the_same_from_ansible(shop: BackedUp, work_dir: Path, tmp_path: Path) -> None:
    passed = run_module("restore_drill", shop.options(work_dir), tmp_path)
    assert (passed["failed"], passed["changed"], passed["report"]["verdict"]) == (False, True, "passed"), passed
    failed = run_module("restore_drill", shop.options(work_dir, waive=[]), tmp_path)
    assert (failed["failed"], failed["report"]["verdict"]) == (True, "unverified")
    assert "this host took the backup" in failed["msg"]
    rehearsed = run_module("restore_drill", shop.options(work_dir), tmp_path, check=True)
    assert (rehearsed["failed"], rehearsed["rehearsal"]["backup_id"]) == (False, shop.backup_id)
    reaped = run_module("restore_drill", {"reap": True, "work_dir": str(work_dir)}, tmp_path)
    assert (reaped["failed"], reaped["changed"], reaped["reaped"]) == (False, False, [])
    missing = run_module("restore_drill", {"system": "shop"}, tmp_path)
    assert (missing["failed"], "repositories" in missing["msg"]) == (True, True)
