# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups copied from repository to repository: whole or not at all, each only once, and nothing broken silently passed over."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.lock import host_lock
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup_list import list_backups
from ansible_collections.lifeboat.postgres.plugins.module_utils.copies.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    ConfigurationError,
    IntegrityError,
    LifeboatError,
    Locked,
    ObjectMissing,
    RepositoryError,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import sign
from support.backups import check_complete
from support.keys import ssh_pair
from support.modules import run_module
from support.shelf import Shelf

DUMP = "database.dump.zst.age"


def hours_ago(hours: float) -> dt.datetime:
    return now() - dt.timedelta(hours=hours)


@pytest.fixture
def copy(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run the copy from `here` to `abroad`; further options of the target by `cadence`, of the run by name."""

    def copied(shelf: Shelf, check_mode: bool = False, cadence: str = "every backup", **options: Any) -> dict[str, Any]:
        abroad = {**shelf.specs["abroad"], "copy_from": "here", "cadence": cadence, "retention": {"monthly": 12}}
        given = {"system": "shop", "repositories": {**shelf.specs, "abroad": abroad}, "lock_dir": str(tmp_path / "locks"), **options}
        return run(given, check_mode)

    return copied


def ids(result: dict[str, Any]) -> list[str]:
    return [entry["backup_id"] for entry in result["copied"]]


def failed(run: Callable[..., dict[str, Any]], *arguments: Any, **options: Any) -> LifeboatError:
    with pytest.raises(LifeboatError) as caught:
        run(*arguments, **options)
    return caught.value


def manifests(shelf: Shelf, place: str = "abroad") -> list[str]:
    return [key for key in shelf.keys(place) if "/manifests/" in key]


def test_a_copy_is_whole_the_manifest_the_same_and_the_second_run_has_nothing_to_do(any_shelf: Shelf, copy: Any) -> None:
    manifest = any_shelf.backup(at=hours_ago(5), into=["here"])
    predicted = copy(any_shelf, check_mode=True)
    assert (predicted["changed"], ids(predicted)) == (True, [manifest.backup_id])
    assert any_shelf.keys("abroad") == []
    result = copy(any_shelf)
    assert (result["changed"], ids(result), result["problems"]) == (True, [manifest.backup_id], [])
    assert result["copied"][0]["moved_bytes"] == manifest.size_bytes
    assert check_complete(any_shelf.repositories["abroad"], manifest.ref) == manifest
    key = layout.manifest_key(manifest.ref)
    assert any_shelf.repositories["abroad"].read(key) == any_shelf.repositories["here"].read(key)
    for check_mode in (True, False):
        again = copy(any_shelf, check_mode)
        assert (again["changed"], again["copied"]) == (False, [])


def test_a_copy_that_no_manifest_names_is_known_and_good(shelf: Shelf, copy: Any) -> None:
    manifest = shelf.backup(at=hours_ago(5), into=["here"], meant_for={"here": "", "abroad": "it was full"})
    copy(shelf)
    (found,) = list_backups({"system": "shop", "repositories": shelf.specs, "verify": "digests"})["backups"]
    assert (found["backup_id"], found["repositories"], found["good"], found["absent"]) == (manifest.backup_id, ["here", "abroad"], True, {})


def test_each_asset_has_its_own_copies_and_kind_and_name_narrow_them(shelf: Shelf, copy: Any) -> None:
    made = [shelf.backup(at=hours_ago(3), into=["here"], kind=kind, name=name) for kind, name in
            (("database", 'odd "näme"/..'), ("database", "shop"), ("globals", "shop"))]  # fmt: skip
    assert ids(copy(shelf, kind="database", name="shop")) == [made[1].backup_id]
    assert ids(copy(shelf, kind="globals")) == [made[2].backup_id]
    assert ids(copy(shelf)) == [made[0].backup_id]


def test_a_period_gets_one_copy_and_what_was_missed_is_caught_up(shelf: Shelf, copy: Any) -> None:
    this_month = now().replace(day=1, hour=0, minute=0, second=0)
    old, older = this_month - dt.timedelta(days=3), this_month - dt.timedelta(days=5)
    first = shelf.backup(at=older, into=["here"])
    assert ids(copy(shelf, cadence="monthly")) == [first.backup_id]
    shelf.backup(at=old, into=["here"])
    assert ids(copy(shelf, cadence="monthly")) == []
    newer = shelf.backup(at=this_month, into=["here"])
    assert ids(copy(shelf, cadence="monthly")) == [newer.backup_id]
    assert len(manifests(shelf)) == 2


def test_one_backup_can_be_asked_for_by_its_id(shelf: Shelf, copy: Any) -> None:
    old, new = shelf.backup(at=hours_ago(900), into=["here"]), shelf.backup(at=hours_ago(1), into=["here"])
    assert ids(copy(shelf, cadence="monthly")) == [new.backup_id]
    assert ids(copy(shelf, backup_id=old.backup_id)) == [old.backup_id]
    assert copy(shelf, backup_id=old.backup_id)["changed"] is False
    assert "no backup 20200101T000000Z-00000000" in str(failed(copy, shelf, backup_id="20200101T000000Z-00000000"))


def test_source_and_target_may_be_given_without_names(shelf: Shelf, tmp_path: Path) -> None:
    manifest = shelf.backup(at=hours_ago(1), into=["here"])
    given = {"system": "shop", "source": shelf.specs["here"], "target": shelf.specs["abroad"], "lock_dir": str(tmp_path / "locks")}
    assert ids(run(given)) == [manifest.backup_id]
    assert check_complete(shelf.repositories["abroad"], manifest.ref) == manifest


def test_a_copy_of_a_copy_is_made_in_the_same_run(shelf: Shelf, tmp_path: Path) -> None:
    manifest = shelf.backup(at=hours_ago(1), into=["here"])
    (tmp_path / "far").mkdir()
    far = {"type": "posix", "path": str(tmp_path / "far"), "copy_from": "abroad"}
    specs = {"far": far, "abroad": {**shelf.specs["abroad"], "copy_from": "here"}, "here": shelf.specs["here"]}
    result = run({"system": "shop", "repositories": specs, "lock_dir": str(tmp_path / "locks")})
    assert [(entry["target"], entry["backup_id"]) for entry in result["copied"]] == [
        ("abroad", manifest.backup_id),
        ("far", manifest.backup_id),
    ]


DAMAGE: dict[str, Callable[[Shelf, Manifest], None]] = {
    "has another digest": lambda shelf, backup: shelf.overwrite("here", layout.artifact_key(backup.ref, DUMP), b"a" * 2999 + b"A"),
    "has 2999 bytes": lambda shelf, backup: shelf.overwrite("here", layout.artifact_key(backup.ref, DUMP), b"a" * 2999),
    "is missing": lambda shelf, backup: shelf.repositories["here"].delete(layout.artifact_key(backup.ref, DUMP + ".001")),
    "not JSON": lambda shelf, backup: shelf.overwrite("here", layout.manifest_key(backup.ref), b"{"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_broken_newest_is_named_every_time_and_the_newest_good_one_is_copied(shelf: Shelf, copy: Any, damage: str) -> None:
    good = shelf.backup(at=now() - dt.timedelta(minutes=2), into=["here"])
    bad = shelf.backup(at=now() - dt.timedelta(minutes=1), into=["here"])
    DAMAGE[damage](shelf, bad)
    error = failed(copy, shelf, cadence="yearly")
    assert isinstance(error, IntegrityError)
    said = "came back with another digest" if "digest" in damage else damage
    assert said in str(error)
    assert bad.backup_id in str(error)
    assert ids(error.result) == [good.backup_id]
    assert manifests(shelf) == [layout.manifest_key(good.ref)]
    assert check_complete(shelf.repositories["abroad"], good.ref) == good
    if damage == "not JSON":  # what a manifest says is looked at in each run, bytes only when they are copied
        assert bad.backup_id in str(failed(copy, shelf, cadence="yearly"))


def test_when_no_backup_is_good_nothing_is_copied_and_that_is_said(shelf: Shelf, copy: Any) -> None:
    bad = shelf.backup(at=hours_ago(1), into=["here"])
    DAMAGE["is missing"](shelf, bad)
    for check_mode in (True, False):
        error = failed(copy, shelf, check_mode)
        assert "is missing" in str(error)
        assert error.result["changed"] is False
    assert shelf.keys("abroad") == []


def test_a_forged_manifest_is_not_copied_and_a_signed_one_stays_valid(shelf: Shelf, copy: Any, tmp_path: Path) -> None:
    ours, theirs = ssh_pair(tmp_path / "ours"), ssh_pair(tmp_path / "theirs")
    good = shelf.backup(at=hours_ago(2), into=["here"], sign=lambda data: sign(data, ours.path))
    forged = shelf.backup(at=hours_ago(1), into=["here"], sign=lambda data: sign(data, theirs.path))
    error = failed(copy, shelf, cadence="yearly", verify_keys=[ours.public])
    assert forged.backup_id in str(error)
    assert "not among the allowed" in str(error)
    assert manifests(shelf) == [layout.manifest_key(good.ref)]
    answer = list_backups({"system": "shop", "repositories": {"abroad": shelf.specs["abroad"]}, "verify_keys": [ours.public]})
    assert [backup["good"] for backup in answer["backups"]] == [True]


def test_a_newest_copy_that_was_altered_is_named(shelf: Shelf, copy: Any) -> None:
    manifest = shelf.backup(at=hours_ago(1), into=["here"])
    copy(shelf)
    shelf.overwrite("abroad", layout.manifest_key(manifest.ref), b"{")
    assert "abroad: the manifest is not JSON" in str(failed(copy, shelf))


def test_what_an_earlier_run_had_begun_is_used_and_what_is_something_else_is_refused(shelf: Shelf, copy: Any) -> None:
    manifest = shelf.backup(at=hours_ago(1), into=["here"])
    key = layout.artifact_key(manifest.ref, DUMP)
    shelf.repositories["abroad"].put(key, b"a" * 2999 + b"A")
    error = failed(copy, shelf)
    assert isinstance(error, RepositoryError)
    assert "something else lies where" in str(error)
    assert manifests(shelf) == []
    shelf.overwrite("abroad", key, b"a" * 3000)
    result = copy(shelf)
    # What the refused run had copied beside it is used, too: how much that was, is for its threads to say.
    assert 0 < result["copied"][0]["moved_bytes"] <= manifest.size_bytes - 3000
    assert check_complete(shelf.repositories["abroad"], manifest.ref) == manifest


def test_a_volume_too_large_for_the_target_is_said_before_it_is_sent(shelf: Shelf, copy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.backup(at=hours_ago(1), into=["here"])
    monkeypatch.setattr(type(shelf.repositories["abroad"]), "max_object_bytes", 2000)
    assert f"{DUMP} of backup" in str(failed(copy, shelf))
    assert shelf.keys("abroad") == []


def test_an_empty_source_is_a_fault_but_not_before_the_first_backup(shelf: Shelf, copy: Any) -> None:
    assert "no backup to copy" in copy(shelf, check_mode=True)["warnings"][0]
    assert "no backup to copy" in str(failed(copy, shelf))


def test_a_place_that_cannot_be_listed_does_not_keep_the_others_from_their_copies(shelf: Shelf, tmp_path: Path) -> None:
    manifest = shelf.backup(at=hours_ago(1), into=["here"])
    gone = {"type": "posix", "path": str(tmp_path / "not mounted"), "copy_from": "here"}
    specs = {"gone": gone, "here": shelf.specs["here"], "abroad": {**shelf.specs["abroad"], "copy_from": "here"}}
    error = failed(run, {"system": "shop", "repositories": specs, "lock_dir": str(tmp_path / "locks")})
    assert "repository 'gone' cannot be listed" in str(error)
    assert ids(error.result) == [manifest.backup_id]


def test_two_runs_to_one_target_do_not_overlap(shelf: Shelf, copy: Any, tmp_path: Path) -> None:
    shelf.backup(at=hours_ago(1), into=["here"])
    with host_lock("shop", "copy", "abroad", tmp_path / "locks"), pytest.raises(Locked, match="running already"):
        copy(shelf)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "shop"}, "name needs kind"),
        ({"kind": "databse"}, "Did you mean 'database'"),
        ({"backup_id": "newest"}, "is not a backup id"),
        ({"targets": ["abraod"]}, "Did you mean 'abroad'"),
        ({"targets": ["here"]}, "is no repository with copy_from"),
        ({"parallel": 0}, "parallel is 0, the least is 1"),
        ({"stall_timeout": "soon"}, "stall_timeout: expected a duration"),
        ({"paralel": 2}, "Did you mean 'parallel'"),
        ({"source": {"type": "posix", "path": "/x"}}, "Give one of the two"),
        ({"verify_keys": ["ssh-ed25519 nonsense"]}, "not a public key"),
        ({"repositories": {"here": {"type": "posix", "path": "/x"}}}, "no repository has copy_from"),
    ],
)
def test_what_is_wrong_with_the_options_is_named(shelf: Shelf, copy: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(LifeboatError, match=re.escape(said)):
        copy(shelf, **options)


def test_a_place_is_not_copied_to_itself(shelf: Shelf, tmp_path: Path) -> None:
    spec = shelf.specs["here"]
    with pytest.raises(ConfigurationError, match="are the same place"):
        run({"system": "shop", "source": spec, "target": spec, "lock_dir": str(tmp_path)})
    with pytest.raises(ConfigurationError, match="copy_from has no meaning in source"):
        run({"system": "shop", "source": {**spec, "copy_from": "x"}, "target": spec})
    with pytest.raises(ConfigurationError, match="target is required"):
        run({"system": "shop", "source": spec})


def test_the_module_copies_once_predicts_it_and_fails_with_what_was_done(shelf: Shelf, tmp_path: Path) -> None:
    manifest = shelf.backup(at=hours_ago(2), into=["here"])
    specs = {**shelf.specs, "abroad": {**shelf.specs["abroad"], "copy_from": "here"}}
    options = {"system": "shop", "repositories": specs, "lock_dir": str(tmp_path / "locks")}
    home = tmp_path / "ansible"
    assert [run_module("backup_copy", options, home, check=check)["changed"] for check in (True, False, False)] == [True, True, False]
    assert check_complete(shelf.repositories["abroad"], manifest.ref) == manifest
    shelf.backup(at=hours_ago(1), into=["here"])
    bad = shelf.backup(at=hours_ago(0.5), into=["here"])
    DAMAGE["has another digest"](shelf, bad)
    answer = run_module("backup_copy", options, home)
    assert answer["failed"]
    assert (answer["changed"], len(answer["copied"]), len(answer["problems"])) == (True, 1, 1)
    assert bad.backup_id in answer["msg"]
    assert ObjectMissing.__name__ not in str(answer)
