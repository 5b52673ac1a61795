# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `backup`: predicts, acts, and has nothing to do the second time; one database's trouble stays its own."""

from __future__ import annotations

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
