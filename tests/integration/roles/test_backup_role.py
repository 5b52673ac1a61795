# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `backup`: predicts, acts, and has nothing to do the second time; one database's trouble stays its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.logical import posix


def test_check_mode_predicts_a_backup_and_leaves_nothing_behind(system: Any) -> None:
    run = system.back_up("--check", "--diff")
    assert run.status == 0, run.output
    assert run.recap("db1")["changed"] == 1
    assert not list(system.repository.iterdir())


def test_the_second_run_changes_nothing(system: Any) -> None:
    first = system.back_up()
    assert first.status == 0, first.output
    assert first.recap("db1")["changed"] == 1
    assert len(system.manifests) == len(system.databases)
    taken = system.manifests
    for arguments in ((), ("--check",)):
        again = system.back_up(*arguments)
        assert again.status == 0, again.output
        assert again.recap("db1")["changed"] == 0
    assert system.manifests == taken


def test_a_database_that_is_not_there_does_not_keep_the_others_from_their_backup(system: Any) -> None:
    shop, _ = system.databases
    run = system.back_up(lifeboat_databases=[{"name": "no such database"}, {"name": shop}])
    assert run.status != 0
    assert "1 of 2 databases of system shop not backed up. no such database: " in run.output
    assert [path.parent.name for path in system.manifests] == [shop]


def test_a_missing_program_is_said_once_before_anything_starts(system: Any, tmp_path: Path) -> None:
    run = system.back_up(lifeboat_bin_dir=str(tmp_path))
    assert run.status != 0
    assert "postgresql-client-18" in run.output
    assert "Take a backup of each database" not in run.output


def test_an_unknown_word_in_the_description_of_a_database_is_refused(system: Any) -> None:
    run = system.back_up(lifeboat_databases=[{"name": "shop", "chekcs": []}])
    assert run.status != 0
    assert "chekcs" in run.output
    assert not list(system.repository.iterdir())


def test_each_database_has_options_of_its_own_and_those_of_drills_are_none_of_a_backups(system: Any) -> None:
    shop, licences = system.databases
    described = [
        {
            "name": shop,
            "digests": {"tables": ["all"]},
            "limits": {"min_objects": 1},
            "max_age": "1h",
            "volume_size": "64KiB",
            "compression_level": 1,
            "application_version": "shop:4.2",
            "objective": {"rpo": "1h"},
            "check_groups": [],
            "drill": {"timeout": "10m"},
        },
        {"name": licences, "checks": [], "format": "directory", "jobs": 1, "snapshot_budget": "1h", "lock_timeout": "10s"},
    ]
    run = system.back_up(lifeboat_databases=described, lifeboat_application_version="licences:1")
    assert run.status == 0, run.output
    manifests = {path.parent.name: json.loads(path.read_text()) for path in system.manifests}
    assert {name: found["application_version"] for name, found in manifests.items()} == {shop: "shop:4.2", licences: "licences:1"}
    assert manifests[licences]["format"] == "directory"
    assert "digest_seconds" in manifests[shop]["costs"]
    assert "digest_seconds" not in manifests[licences]["costs"]


def test_a_wrong_value_of_one_database_is_answered_before_anything_runs(system: Any) -> None:
    run = system.back_up(lifeboat_databases=[{"name": system.databases[0]}, {"name": system.databases[1], "max_age": "soon"}])
    assert run.status != 0
    assert "databases, item 2" in run.output
    assert not system.manifests


def test_a_database_named_twice_is_refused(system: Any) -> None:
    run = system.back_up(lifeboat_databases=[{"name": "shop"}, {"name": "shop"}])
    assert run.status != 0
    assert "each only once" in run.output


def test_a_repository_that_is_a_copy_is_filled_in_the_same_run_also_when_a_database_has_no_backup(system: Any, tmp_path: Path) -> None:
    abroad = tmp_path / "abroad"
    abroad.mkdir()
    places = {"here": posix(system.repository), "abroad": {**posix(abroad), "copy_from": "here", "cadence": "monthly"}}
    off = system.back_up(lifeboat_repositories=places, lifeboat_copies=False)
    assert off.status == 0, off.output
    assert not list(abroad.rglob("*.json"))
    broken = [{"name": "no such database"}, {"name": system.databases[0]}]
    run = system.back_up(lifeboat_repositories=places, lifeboat_databases=broken, lifeboat_verify_keys=[system.signer.public])
    assert run.status != 0
    assert "no such database" in run.output
    copies = {path.name for path in abroad.rglob("manifests/database/*/*.json")}
    assert copies == {path.name for path in system.manifests}
    again = system.back_up(lifeboat_repositories=places)
    assert (again.status, again.recap("db1")["changed"]) == (0, 0), again.output
