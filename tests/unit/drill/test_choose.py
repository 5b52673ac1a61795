# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup is drilled: the newest of all, from the first place that holds it, and nothing is passed over in silence."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.choose import choose
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ManifestError, ObjectMissing, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef, manifest_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.backups import manifest_for

OLD, NEW = "20261120T031500Z-00000001", "20261121T031500Z-00000002"
PLAN = DrillPlan("shop", "shop", {}, "/identity")


def repository(root: Path, name: str, *backup_ids: str) -> Repository:
    """A directory that holds these backups' manifests, each saying that it was meant for nobody else."""
    (root / name).mkdir()
    opened = open_repository(name, {"type": "posix", "path": str(root / name)})
    for backup_id in backup_ids:
        ref = BackupRef("shop", "database", "shop", backup_id)
        opened.put(manifest_key(ref), manifest_for(ref)([], {}).to_bytes())
    return opened


def test_the_newest_of_all_is_taken_from_the_first_that_holds_it(tmp_path: Path) -> None:
    places = [repository(tmp_path, "a", OLD), repository(tmp_path, "b", OLD), repository(tmp_path, "c", NEW)]
    found = choose(PLAN, places)
    assert (found.manifest.backup_id, found.repository.name) == (NEW, "c")
    older = choose(dataclasses.replace(PLAN, backup_id=OLD), places)
    assert (older.manifest.backup_id, older.repository.name) == (OLD, "a")
    assert found.reachable == tuple(places)


def test_a_broken_newest_manifest_is_never_passed_over(tmp_path: Path) -> None:
    place = repository(tmp_path, "a", OLD)
    place.put(manifest_key(BackupRef("shop", "database", "shop", NEW)), b"{")
    with pytest.raises(ManifestError, match=NEW):
        choose(PLAN, [place])
    with pytest.raises(ManifestError, match="broken"):
        choose(dataclasses.replace(PLAN, backup_id=NEW), [place])
    assert choose(dataclasses.replace(PLAN, backup_id=OLD), [place]).manifest.backup_id == OLD


def test_a_manifest_that_lies_under_anothers_name_is_broken(tmp_path: Path) -> None:
    place = repository(tmp_path, "a", OLD)
    other = manifest_for(BackupRef("shop", "database", "shop", OLD))([], {}).to_bytes()
    place.put(manifest_key(BackupRef("shop", "database", "shop", NEW)), other)
    with pytest.raises(ManifestError, match="another backup"):
        choose(PLAN, [place])


def test_a_place_that_cannot_be_listed_is_unverified_and_all_of_them_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    gone = open_repository("gone", {"type": "posix", "path": str(tmp_path / "file")})
    place = repository(tmp_path, "a", NEW)
    found = choose(PLAN, [gone, place])
    assert [(result.name, result.verdict) for result in found.results] == [("repository gone", "unverified")]
    assert found.reachable == (place,)
    with pytest.raises(RepositoryError, match="no repository can be listed"):
        choose(PLAN, [gone])


def test_without_a_backup_there_is_nothing_to_prove(tmp_path: Path) -> None:
    with pytest.raises(ObjectMissing, match="there is no backup of database 'shop' of system 'shop'"):
        choose(PLAN, [repository(tmp_path, "a")])
    with pytest.raises(ObjectMissing, match=f"no backup {NEW}"):
        choose(dataclasses.replace(PLAN, backup_id=NEW), [repository(tmp_path, "b", OLD)])
