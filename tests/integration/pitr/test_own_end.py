# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A base backup drilled to its own end: without any archive where it carries its log, and what that says about the RPO."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.run import run as run_drill
from support.parts import require
from support.pitr import Production
from support.wal import Place

CARRIED, LATER = "SELECT 1 FROM orders WHERE id = 1", "SELECT 1 FROM orders WHERE id = 2"
MARKERS = {"must_exist": [CARRIED], "must_not_exist": [LATER]}


@pytest.fixture(scope="module")
def production(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """Order 1 is in the base backups, of which the last carries its log; order 2 is behind them, in the archive."""
    require(f"postgresql:{request.param}", "program:age", "program:zstd")
    shop = Production(request.param, tmp_path_factory.mktemp("keys"), wal_keep_size="64MB")
    try:
        shop.query("CREATE TABLE orders (id int PRIMARY KEY)")
        shop.query("INSERT INTO orders VALUES (1)")
        shop.archive()
        shop.back_up()
        shop.back_up(wal="included")
        shop.query("INSERT INTO orders VALUES (2)")
        shop.archive()
        yield shop
    finally:
        shop.stop()


on_both = pytest.mark.parametrize("production", [15, 18], indirect=True, ids=["pg15", "pg18"])
on_18 = pytest.mark.parametrize("production", [18], indirect=True, ids=["pg18"])


def without_archive(production: Production) -> Place:
    place = production.copy()
    shutil.rmtree(place.root / "shop" / "wal")
    return place


@on_both
def test_a_backup_that_carries_its_log_comes_to_its_own_end_without_an_archive(production: Production, work_dir: Path) -> None:
    place = without_archive(production)
    failure = production.moment() + dt.timedelta(hours=3)
    more: dict[str, Any] = {"target": {"immediate": True}, "failure_at": failure.isoformat(), "markers": MARKERS}
    report = production.drill(work_dir, place, objective={"rpo": "2h", "rto": "1h"}, enforce_objective=False, **more)
    assert report["verdict"] == "passed", report["reason"]
    assert report["recovery"]["stopped"].startswith("recovery stopping after reaching consistency")
    assert report["recovery"]["segments"] >= 1
    assert 3 * 3600 <= report["rpo_seconds"] < 4 * 3600
    assert report["rpo_note"] == "to the end of the base backup itself, as if no log were archived after it"
    assert (report["objective"]["met"], "RPO" in report["objective"]["reason"]) == (False, True)
    rehearsal = run_drill(production.options(work_dir, place, target={"immediate": True}), check_mode=True)["rehearsal"]
    assert "the log up to the target is in the base backup itself" in rehearsal["notes"]


@on_18
def test_the_latest_state_needs_the_archive_and_the_other_target_is_named(production: Production, work_dir: Path) -> None:
    report = production.drill(work_dir, without_archive(production))
    assert (report["verdict"], report["service_ready_seconds"]) == ("failed", None)
    assert "there is no WAL archive of system 'shop'" in report["reason"]
    assert "target {immediate: true} drills it to its end" in report["reason"]


@on_18
def test_with_an_archive_the_same_backup_goes_on_to_the_latest_state(production: Production, work_dir: Path) -> None:
    report = production.drill(work_dir, markers={"must_exist": [CARRIED, LATER]})
    assert report["verdict"] == "passed", report["reason"]


@on_18
def test_a_backup_whose_log_is_archived_comes_to_its_own_end_by_the_archive(production: Production, work_dir: Path) -> None:
    first = min(path.stem for path in (production.place.root / "shop/manifests/base/cluster").glob("*.json"))
    report = production.drill(work_dir, backup_id=first, target={"immediate": True}, markers=MARKERS)
    assert report["verdict"] == "passed", report["reason"]
    missing = without_archive(production)
    report = production.drill(work_dir, missing, backup_id=first, target={"immediate": True}, markers=MARKERS)
    assert (report["verdict"], "there is no WAL archive" in report["reason"]) == ("failed", True)
