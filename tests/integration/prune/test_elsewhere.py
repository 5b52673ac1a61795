# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one repository let go by retention stays a good backup in another one, and what is lost there is still missed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout, retired
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup_list import list_backups
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.retired import read_retired, write_retired
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from support.prunes import DAY, directory, set_stored
from support.shelf import Shelf
from support.store_fixtures import Bucket


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf({name: directory(tmp_path / name) for name in ("here", "offsite")})
    yield shelf
    shelf.close()


def history(shelf: Shelf, days: int) -> list[Manifest]:
    """A backup a day in both repositories, newest first."""
    latest = now() - DAY / 24  # asked once: all are of one time of the day, also around midnight
    made = [shelf.backup(at=latest - number * DAY) for number in range(days)]
    for manifest in made:
        for place in shelf.specs:
            set_stored(shelf, place, manifest)
    return made


def given(tmp_path: Path) -> dict[str, Any]:
    return {"system": "shop", "cache_dir": "", "max_remove": "90%", "lock_dir": str(tmp_path / "locks")}


def prune(shelf: Shelf, tmp_path: Path, **retention: Any) -> dict[str, Any]:
    specs = {name: {**spec, "retention": retention[name]} for name, spec in shelf.specs.items() if name in retention}
    return run({**given(tmp_path), "repositories": specs, "state_dir": str(tmp_path / "state")})


def listed(shelf: Shelf) -> dict[str, dict[str, Any]]:
    answer = list_backups({"system": "shop", "repositories": shelf.specs, "cache_dir": "", "verify": "sizes"})
    assert answer["broken"] == []
    return {backup["backup_id"]: backup for backup in answer["backups"]}


def test_a_shorter_retention_here_makes_no_backup_elsewhere_a_bad_one(shelf: Shelf, tmp_path: Path) -> None:
    made = history(shelf, 6)
    prune(shelf, tmp_path, here={"daily": 2})
    found = listed(shelf)
    assert [found[manifest.backup_id]["good"] for manifest in made] == [True] * 6
    assert found[made[0].backup_id]["absent"] == {}
    assert found[made[5].backup_id]["repositories"] == ["offsite"]
    assert found[made[5].backup_id]["absent"] == {"here": "removed there by retention"}
    prune(shelf, tmp_path, here={"daily": 1}, offsite={"daily": 4})
    assert len(list(shelf.repositories["here"].list("shop/retired/"))) == 1, "one list, not one for each run"
    assert [backup["good"] for backup in listed(shelf).values()] == [True] * 4


def test_what_is_lost_is_missed_though_others_were_let_go(shelf: Shelf, tmp_path: Path) -> None:
    made = history(shelf, 4)
    prune(shelf, tmp_path, here={"daily": 2})
    shelf.repositories["here"].delete(layout.manifest_key(made[1].ref))
    assert listed(shelf)[made[1].backup_id]["problems"] == ["here: its manifest is not there, though the backup was complete"]


def test_check_mode_leaves_no_word_of_what_did_not_go(shelf: Shelf, tmp_path: Path) -> None:
    history(shelf, 4)
    specs = {"here": {**shelf.specs["here"], "retention": {"daily": 2}}}
    run({**given(tmp_path), "repositories": specs, "state_dir": ""}, check_mode=True)
    assert list(shelf.repositories["here"].list("shop/retired/")) == []


def test_a_list_that_nobody_can_read_excuses_nothing(shelf: Shelf, tmp_path: Path) -> None:
    made = history(shelf, 3)
    prune(shelf, tmp_path, here={"daily": 2})
    (info,) = shelf.repositories["here"].list("shop/retired/")
    shelf.overwrite("here", info.key, b'{"schema": 2, "backup_ids": ["' + made[2].backup_id.encode() + b'"]}')
    assert not listed(shelf)[made[2].backup_id]["good"]
    write_retired(shelf.repositories["here"], "shop", "database", "shop", [made[2].backup_id])
    assert listed(shelf)[made[2].backup_id]["good"]


@pytest.mark.usefixtures("no_ambient_aws")
def test_lists_that_a_lock_keeps_are_read_together(versity_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retired, "MOST", 3)
    bucket = Bucket(versity_server, object_lock=True)
    shelf = Shelf({"offsite": bucket.spec(object_lock="compliance", object_lock_days=1)})
    place = shelf.repositories["offsite"]
    for number in range(5):
        write_retired(place, "shop", "database", "shop", [f"2026112{number}T031500Z-1a2b3c4d"])
    assert {f"2026112{number}T031500Z-1a2b3c4d" for number in (2, 3, 4)} <= read_retired(place, "shop", "database", "shop")
    shelf.close()
