# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of several repositories as one list: what is there, what is good, and nothing broken hidden."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, ManifestError, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.inspection import inspect
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import sign
from support.keys import ssh_pair

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.timezone.utc)


def load(shelf: Any, kind: str | None = None, name: str | None = None, **more: Any) -> Catalogue:
    return Catalogue.load(shelf.all, "shop", kind, name, **more)


def test_the_same_backup_in_two_places_is_one_backup_newest_first(shelf: Any) -> None:
    older, newer = shelf.backup(5), shelf.backup(2)
    catalogue = load(shelf)
    assert [backup.ref for backup in catalogue.backups] == [newer.ref, older.ref]
    assert all(backup.repositories == ("here", "offsite") and backup.good for backup in catalogue.backups)
    assert catalogue.broken == []
    assert catalogue.newest_good_age(NOW) == 2 * 3600


def test_an_empty_place_has_no_backups(shelf: Any) -> None:
    catalogue = load(shelf)
    assert catalogue.backups == []
    assert (catalogue.newest(), catalogue.newest_complete(["here"]), catalogue.newest_good_age(NOW)) == (None, None, None)


def test_a_kind_and_a_name_narrow_the_list(shelf: Any) -> None:
    shelf.backup(1, name='odd "näme"/..')
    shelf.backup(2, kind="globals")
    shelf.backup(3)
    assert [backup.ref.name for backup in load(shelf, "database").backups] == ['odd "näme"/..', "shop"]
    assert [backup.ref.name for backup in load(shelf, "database", 'odd "näme"/..').backups] == ['odd "näme"/..']
    assert len(load(shelf).backups) == 3
    assert Catalogue.load(shelf.all, "shop2").backups == []


def test_a_backup_that_lost_one_of_its_manifests_is_not_good(shelf: Any) -> None:
    manifest = shelf.backup(1, into=["here"], meant_for={"here": "", "offsite": ""})
    (backup,) = load(shelf).backups
    assert not backup.good
    assert backup.problems == ("offsite: its manifest is not there, though the backup was complete",)
    assert load(shelf).newest_complete(["here", "offsite"]) is None
    assert load(shelf).newest_complete(["here"]) is None, "something took a manifest away: that backup is no reason to skip one"
    assert Catalogue.load([shelf.repositories["here"]], "shop").newest_complete(["here"]) == manifest


def test_a_backup_that_says_it_did_not_get_everywhere_is_good_where_it_is(shelf: Any) -> None:
    everywhere = shelf.backup(5)
    shelf.backup(1, into=["here"], meant_for={"here": "", "offsite": "it stalled"})
    catalogue = load(shelf)
    assert catalogue.backups[0].good
    assert catalogue.backups[0].absent == {"offsite": "it stalled"}
    assert catalogue.newest_complete(["here", "offsite"]) == everywhere


def test_a_copy_in_a_repository_of_a_later_day_counts_there(shelf: Any) -> None:
    manifest = shelf.backup(1, into=["here"])
    shelf.repositories["offsite"].put(layout.manifest_key(manifest.ref), manifest.to_bytes())
    (backup,) = load(shelf).backups
    assert (backup.good, backup.repositories) == (True, ("here", "offsite"))


def test_a_broken_manifest_is_reported_and_the_backup_seen_through_the_other(shelf: Any) -> None:
    manifest = shelf.backup(1)
    key = layout.manifest_key(manifest.ref)
    shelf.overwrite("here", key, manifest.to_bytes()[:-40])
    catalogue = load(shelf)
    (backup,) = catalogue.backups
    assert backup.manifest == manifest
    assert not backup.good
    assert [(broken.repository, broken.key) for broken in catalogue.broken] == [("here", key)]
    assert "not JSON" in catalogue.broken[0].reason


def test_the_newest_backup_with_no_readable_manifest_is_an_error_and_never_an_older_one(shelf: Any) -> None:
    shelf.backup(5)
    manifest = shelf.backup(1, into=["offsite"])
    shelf.overwrite("offsite", layout.manifest_key(manifest.ref), b"{}")
    with pytest.raises(ManifestError, match=f"newest backup {manifest.backup_id} has no readable manifest"):
        load(shelf).newest()
    with pytest.raises(ManifestError, match=f"backup {manifest.backup_id} has no readable manifest"):
        load(shelf).find(manifest.backup_id)
    assert len(load(shelf).backups) == 1


def test_a_backup_is_found_by_its_id(shelf: Any) -> None:
    older, _newer = shelf.backup(5), shelf.backup(1)
    found = load(shelf).find(older.backup_id)
    assert found is not None
    assert found.manifest == older
    assert load(shelf).find("20200101T000000Z-00000000") is None


def test_a_manifest_under_the_name_of_another_backup_is_broken(shelf: Any) -> None:
    older, newer = shelf.backup(5, into=["here"]), shelf.backup(1, into=["here"])
    shelf.overwrite("here", layout.manifest_key(newer.ref), older.to_bytes())
    catalogue = load(shelf)
    assert [backup.ref for backup in catalogue.backups] == [older.ref]
    assert "speaks of another backup" in catalogue.broken[0].reason


def test_manifests_that_contradict_each_other_are_not_good(shelf: Any) -> None:
    manifest = shelf.backup(1)
    text = manifest.to_bytes().replace(b'"host_name": "db1"', b'"host_name": "db2"')
    shelf.overwrite("offsite", layout.manifest_key(manifest.ref), text)
    (backup,) = load(shelf).backups
    assert backup.problems == ("offsite: its manifest says otherwise than the others",)


def test_a_stranger_among_the_manifests_is_reported(shelf: Any) -> None:
    shelf.backup(1)
    strangers = ("shop/notes.txt", "%73hop/20261121T031500Z-00000000.json", "%FF/20261121T031500Z-00000000.json")
    for key in (f"shop/manifests/database/{stranger}" for stranger in strangers):
        shelf.repositories["here"].put(key, b"hello")
    catalogue = load(shelf)
    assert len(catalogue.backups) == 1
    assert all("not a manifest's name" in broken.reason for broken in catalogue.broken)
    assert len(catalogue.broken) == 3


def test_signatures_are_held_against_the_given_keys(shelf: Any, tmp_path: Path) -> None:
    ours, theirs = ssh_pair(tmp_path / "ours"), ssh_pair(tmp_path / "theirs")
    shelf.backup(3, sign=lambda data: sign(data, ours.path))
    shelf.backup(2, sign=lambda data: sign(data, theirs.path))
    shelf.backup(1)
    unsigned, foreign, good = load(shelf, verify_keys=[ours.public]).backups
    assert good.good
    assert "not among the allowed" in foreign.problems[0]
    assert "not signed" in unsigned.problems[0]
    assert all(backup.good for backup in load(shelf).backups)
    with pytest.raises(ConfigurationError, match="not a public key"):
        load(shelf, verify_keys=["ssh-ed25519 nonsense"])


def test_sizes_and_digests_find_what_is_missing_cut_or_changed(shelf: Any) -> None:
    whole, missing, cut, changed = (shelf.backup(hours) for hours in (1, 2, 3, 4))
    shelf.repositories["offsite"].delete(layout.artifact_key(missing.ref, "evidence.json.zst.age"))
    shelf.overwrite("here", layout.artifact_key(cut.ref, "database.dump.zst.age.001"), b"b" * 9)
    shelf.overwrite("here", layout.artifact_key(changed.ref, "database.dump.zst.age"), b"a" * 2999 + b"A")
    backups = load(shelf).backups
    by_size = {backup.ref: backup.problems for backup in inspect(backups, shelf.all, "sizes")}
    assert by_size == {
        whole.ref: (),
        missing.ref: ("offsite: evidence.json.zst.age is missing",),
        cut.ref: ("here: database.dump.zst.age.001 has 9 bytes, the manifest says 10",),
        changed.ref: (),
    }
    by_digest = {backup.ref: backup.problems for backup in inspect(backups, shelf.all, "digests")}
    assert by_digest == {**by_size, changed.ref: ("here: database.dump.zst.age has another SHA-256 digest than the manifest says",)}


def test_what_is_beside_a_name_of_the_same_beginning_is_not_taken_for_it(shelf: Any) -> None:
    shelf.backup(1, name="shop2")
    assert load(shelf, "database", "shop").backups == []


def test_a_repository_that_cannot_be_reached_hides_nothing_else(shelf: Any, tmp_path: Path) -> None:
    shelf.backup(1, into=["here"], meant_for={"here": "", "offsite": "", "far": ""})
    (tmp_path / "file").write_text("not a directory")
    far = open_repository("far", {"type": "posix", "path": str(tmp_path / "file")}, read_only=True)
    catalogue = Catalogue.load([shelf.repositories["here"], far], "shop")
    assert list(catalogue.unreachable) == ["far"]
    assert catalogue.backups[0].problems == ("far: cannot be looked at",)
    with pytest.raises(RepositoryError, match="no repository can be listed"):
        Catalogue.load([far], "shop")


def test_of_three_hundred_manifests_each_is_read_once_and_the_newest_costs_one_read(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        shelf.backup(number + 1, into=["here"], meant_for={"here": ""}, files=False)
    reads: list[str] = []
    real = shelf.repositories["here"].read

    def read(key: str, *more: Any) -> bytes:
        reads.append(key)
        return real(key, *more)  # type: ignore[no-any-return]

    monkeypatch.setattr(shelf.repositories["here"], "read", read)
    newest = load(shelf).newest_complete(["here"])
    assert len(reads) == 1
    catalogue = load(shelf)
    assert len(catalogue.backups) == 300
    assert newest == catalogue.backups[0].manifest
    assert [backup.ref.backup_id for backup in catalogue.backups] == sorted((b.ref.backup_id for b in catalogue.backups), reverse=True)
    assert len(reads) == 1 + 300
