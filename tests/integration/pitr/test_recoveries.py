# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recoveries that are not the plain one: a chain, a tablespace, settings that production raised since, and what is measured."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.run import run as run_drill
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, IntegrityError
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import sign
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.heartbeat import run_heartbeat
from support.clusters import private_directory
from support.modules import run_module
from support.parts import require
from support.pitr import Production
from support.wal_damage import file_of


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Production, list[str]]]:
    """A server with a tablespace, a full and an incremental base backup, and more connections since."""
    require("postgresql:18", "program:age", "program:zstd")
    shop = Production(18, tmp_path_factory.mktemp("keys"))
    try:
        shop.query(f"CREATE TABLESPACE elsewhere LOCATION '{private_directory('lb-space')}'")
        shop.query("CREATE TABLE orders (id int PRIMARY KEY) TABLESPACE elsewhere")
        shop.query("INSERT INTO orders VALUES (1)")
        shop.archive()
        full = shop.back_up(staging_dir=str(tmp_path_factory.mktemp("staging")))
        shop.query("INSERT INTO orders VALUES (2)")
        increment = shop.back_up(mode="incremental", staging_dir=str(tmp_path_factory.mktemp("staging")))
        shop.server.settings = {**shop.server.settings, "max_connections": "160", "max_locks_per_transaction": "90"}
        shop.server.halt()
        shop.server.start()
        shop.query("INSERT INTO orders VALUES (3)")
        run_heartbeat(shop.server.login())
        shop.archive()
        yield shop, [full, increment]
    finally:
        shop.stop()


def test_a_chain_with_a_tablespace_and_settings_that_were_raised_since(
    grown: tuple[Production, list[str]], work_dir: Path, tmp_path: Path
) -> None:
    shop, chain = grown
    markers = {"must_exist": [f"SELECT 1 FROM orders WHERE id = {number}" for number in (1, 2, 3)]}
    report = shop.drill(
        work_dir, markers=markers, objective={"rpo": "1h"}, amcheck=True, data_checksums=True, report_dir=str(tmp_path / "reports")
    )
    assert report["verdict"] == "passed", report["reason"]
    assert report["recovery"]["chain"] == chain
    assert (report["settings"]["max_connections"], report["settings"]["max_locks_per_transaction"]) == ("160", "90")
    # The heartbeat came through, and how much was lost is no guess.
    assert report["recovery"]["heartbeat"] is not None
    assert 0 <= report["rpo_seconds"] < 3600
    assert (report["objective"]["met"], "heartbeat" in report["rpo_note"] or "arrivals" in report["rpo_note"]) == (True, True)
    assert {"pg_amcheck", "data checksums", "recovery", "WAL archive"} <= {check["name"] for check in report["checks"]}
    (written,) = (tmp_path / "reports").rglob("*.json")
    assert DrillReport.from_bytes(written.read_bytes()).to_document() == json.loads(written.read_bytes())
    assert "replayed" in written.with_suffix(".md").read_text()


def test_a_chain_without_its_first_link_is_no_backup(grown: tuple[Production, list[str]], work_dir: Path) -> None:
    shop, chain = grown
    place = shop.copy()
    (place.root / "shop" / "manifests" / "base" / "cluster" / f"{chain[0]}.json").unlink()
    report = shop.drill(work_dir, place)
    assert report["verdict"] == "failed"
    assert f"builds on {chain[0]}, which is not there" in report["reason"]


def test_the_figure_that_is_judged_is_the_worst_gap(grown: tuple[Production, list[str]], work_dir: Path) -> None:
    shop, _chain = grown
    place = shop.copy()
    latest = max((path for paths in place.files().values() for path in paths), key=lambda path: path.stat().st_mtime)
    moment = latest.stat().st_mtime + 7200
    os.utime(latest, (moment, moment))
    report = shop.drill(work_dir, place, objective={"rpo": "1h"})
    assert report["verdict"] == "passed", report["reason"]
    assert 7000 < report["rpo_seconds"] < 10800
    assert "the longest time between two arrivals" in report["rpo_note"]
    assert report["objective"]["met"] is False


def test_a_base_that_says_it_ended_earlier_than_it_did_does_not_come_up_as_a_success(
    grown: tuple[Production, list[str]], work_dir: Path
) -> None:
    # PostgreSQL comes up at the end of the base when the target time lies before it, and calls that a success.
    shop, chain = grown
    place = shop.copy()
    path = place.root / "shop" / "manifests" / "base" / "cluster" / f"{chain[0]}.json"
    manifest = Manifest.from_bytes(path.read_bytes())
    earlier = dataclasses.replace(manifest, snapshot_at=manifest.snapshot_at - dt.timedelta(days=1), signature="")
    path.write_bytes(dataclasses.replace(earlier, signature=sign(earlier.signed_bytes(), shop.signer.path)).to_bytes())
    target = {"time": (manifest.snapshot_at - dt.timedelta(hours=1)).isoformat()}
    report = shop.drill(work_dir, place, target=target, backup_id=chain[0])
    assert report["verdict"] == "failed", report["reason"]
    assert report["service_ready_seconds"] is None


def test_check_mode_says_what_would_be_replayed_and_names_a_hole(grown: tuple[Production, list[str]], work_dir: Path) -> None:
    shop, chain = grown
    rehearsal = run_drill(shop.options(work_dir), check_mode=True)["rehearsal"]
    assert rehearsal["backup_id"] == chain[-1]
    assert any(note.startswith("the WAL archive leads to the target: ") for note in rehearsal["notes"])
    place = shop.copy()
    names = [name for name in place.names() if len(name) == 24]
    file_of(place, names[-2]).unlink()
    with pytest.raises(IntegrityError, match=f"segment {names[-2]} is missing"):
        run_drill(shop.options(work_dir, place), check_mode=True)
    assert not work_dir.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"target": {"time": "2026-11-21T12:00:00Z", "xid": "1"}}, "time and xid are two targets"),
        ({"target": {"time": "noon"}}, "is not a moment with its time zone"),
        ({"target": {"lsn": "here"}}, "is not a position in the log"),
        ({"target": {"tome": "x"}}, "Did you mean 'time'"),
        ({"target": {"name": "x"}, "objective": {"rpo": "1h"}}, "objective.rpo with a target of your own choice says nothing"),
        ({"mode": "logical", "name": "shop", "target": {"latest": True}}, "target belongs to mode pitr"),
        ({"markers": {"must": []}}, "Did you mean"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(
    grown: tuple[Production, list[str]], work_dir: Path, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        run_drill(grown[0].options(work_dir, **change))


@pytest.mark.needs("program:ansible")
def test_the_module_says_the_same_from_ansible(grown: tuple[Production, list[str]], work_dir: Path, tmp_path: Path) -> None:
    shop, chain = grown
    passed = run_module("restore_drill", shop.options(work_dir, target={"latest": True}), tmp_path)
    assert (passed["failed"], passed["report"]["recovery"]["chain"]) == (False, chain), passed
