# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes, what stays, and what is refused, in real directories and buckets."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.lock import host_lock
from ansible_collections.lifeboat.postgres.plugins.module_utils.cli import main
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    IntegrityError,
    LifeboatError,
    Locked,
    RepositoryError,
    RetentionRefused,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import sign
from support.backups import check_complete
from support.keys import ssh_pair
from support.modules import run_module
from support.prunes import DAY, directory, exists, fill, fill_bases, ids, name_keys, put_wal
from support.reports import a_report
from support.shelf import Shelf

Prune = Callable[..., dict[str, Any]]


def refused(prune: Prune, shelf: Shelf, *arguments: Any, **options: Any) -> LifeboatError:
    """The error of a prune that removed nothing."""
    before = shelf.keys("here")
    with pytest.raises(LifeboatError) as caught:
        prune(shelf, *arguments, **options)
    assert shelf.keys("here") == before
    return caught.value


def test_what_no_class_keeps_goes_whole_and_the_rest_stays_whole(any_shelf: Shelf, prune: Prune) -> None:
    made = fill(any_shelf, 6)
    predicted = prune(any_shelf, check_mode=True)
    assert len(any_shelf.keys("here")) == 6 * 5, "check mode removes nothing"
    result = prune(any_shelf)
    assert ids(result["removed"]) == ids(predicted["removed"]) == [manifest.backup_id for manifest in made[3:]]
    assert result["changed"]
    assert predicted["changed"]
    for manifest in made[:3]:
        assert check_complete(any_shelf.repositories["here"], manifest.ref) == manifest
    assert len(any_shelf.keys("here")) == 3 * 5, "no file of the others is left"
    assert [version.key for version in any_shelf.repositories["here"].everything("shop/")] == any_shelf.keys("here"), "and no version"
    assert [entry["reasons"][0] for entry in result["kept"]] == ["daily 1 of 3", "daily 2 of 3", "daily 3 of 3"]
    assert result["removed"][0]["reasons"] == ["beyond daily 3"]
    assert made[3].backup_id in result["diff"]["before"]
    again = prune(any_shelf)
    assert not again["changed"]
    assert "diff" not in again


def test_nothing_goes_before_the_newest_was_read_whole_and_that_is_remembered(shelf: Shelf, prune: Prune) -> None:
    made = fill(shelf, 5)
    result = prune(shelf)
    assert result["repositories"]["here"]["read_whole"] == [f"database/shop {made[0].backup_id}"]
    assert "newest verified" in result["kept"][0]["reasons"]
    assert prune(shelf, {"daily": 2})["repositories"]["here"]["read_whole"] == []


def test_without_reading_only_a_drill_proves_and_without_one_nothing_goes(shelf: Shelf, prune: Prune) -> None:
    fill(shelf, 5)
    result = prune(shelf, verify="drills")
    assert not result["changed"]
    assert result["kept"][4]["reasons"] == ["none of its backups is verified, so none goes"]
    assert "no backup of database/shop is verified" in result["warnings"][0]


def test_what_a_drill_said_counts_for_more_than_bytes(shelf: Shelf, prune: Prune, tmp_path: Path) -> None:
    made = fill(shelf, 6)
    reports = directory(tmp_path / "reports")
    with open_repository("reports", reports) as repository:
        for manifest, verdict in ((made[0], "failed"), (made[4], "passed")):
            report = a_report(backup_id=manifest.backup_id, verdict=verdict, started_at=now())
            repository.put(layout.report_key(manifest.ref, report.started_at), report.to_bytes())
    result = prune(shelf, {"daily": 2}, report_repository=reports)
    assert [exists(shelf, manifest) for manifest in made] == [True, True, True, False, True, False]
    reasons = {entry["backup_id"]: entry["reasons"] for entry in result["kept"]}
    assert reasons[made[0].backup_id] == ["left as it is: its drill failed"]
    assert reasons[made[1].backup_id] == ["daily 1 of 2", "newest good"]
    assert reasons[made[4].backup_id] == ["newest verified", "newest that passed a drill"]


def test_a_newest_that_is_damaged_fails_the_run_and_an_older_whole_one_stands_for_it(shelf: Shelf, prune: Prune) -> None:
    made = fill(shelf, 6)
    key = layout.artifact_key(made[0].ref, "database.dump.zst.age")
    shelf.overwrite("here", key, b"x" * 3000)  # of the same size: only its digest tells
    with pytest.raises(IntegrityError, match=f"backup {made[0].backup_id} of database/shop is damaged") as caught:
        prune(shelf)
    assert exists(shelf, made[0]), "it is evidence"
    assert [exists(shelf, manifest) for manifest in made[1:]] == [True, True, True, False, False]
    assert ids(caught.value.result["removed"]) == [made[4].backup_id, made[5].backup_id]


def test_an_incomplete_backup_takes_no_place_and_is_left(shelf: Shelf, prune: Prune) -> None:
    made = fill(shelf, 5)
    shelf.repositories["here"].delete(layout.artifact_key(made[1].ref, "evidence.json.zst.age"))
    result = prune(shelf, {"daily": 2})
    assert [exists(shelf, manifest) for manifest in made] == [True, True, True, False, False]
    assert "bytes are here" in result["kept"][1]["reasons"][0]


def test_age_takes_what_a_class_would_keep_but_not_the_newest_verified(shelf: Shelf, prune: Prune) -> None:
    made = fill(shelf, 6, every=40 * DAY)  # each in a month of its own
    result = prune(shelf, {"monthly": 12, "max_age": "100d"})
    assert [exists(shelf, manifest) for manifest in made] == [True, True, True, False, False, False]
    assert result["removed"][0]["reasons"] == ["older than 100 days"]


def test_silence_for_weeks_stops_the_ages_and_says_so(shelf: Shelf, prune: Prune) -> None:
    made = fill(shelf, 6, newest=40 * DAY)
    with pytest.raises(IntegrityError, match="nothing came for 40 days") as caught:
        prune(shelf, {"daily": 5, "max_age": "3d"})
    assert ids(caught.value.result["removed"]) == [made[5].backup_id], "the numbers do not ask the clock"


def test_a_chain_stays_whole_and_so_does_its_log(shelf: Shelf, prune: Prune, tmp_path: Path) -> None:
    full, first, second, newer = fill_bases(shelf, [None, 0, 1, None], segments=[100, 110, 120, 130])
    keys = put_wal(shelf, [90, 99, 100, 131])
    result = prune(shelf, {"keep": 2}, max_remove="100%")
    assert [exists(shelf, one) for one in (full, first, second, newer)] == [True, True, True, True]
    assert f"its increment {second.backup_id} is kept" in next(e for e in result["kept"] if e["backup_id"] == first.backup_id)["reasons"]
    there = [key for key in shelf.keys("here") if "/wal/" in key]
    assert there == [keys["history"], keys[100], keys[131]]
    wal = result["repositories"]["here"]["wal"]
    assert (wal["files"], wal["needed_by"], wal["first"][-2:], wal["last"][-2:]) == (2, full.backup_id, "5A", "63")
    prune(shelf, {"keep": 1}, max_remove="100%")
    assert [exists(shelf, one) for one in (full, first, second, newer)] == [False, False, False, True]
    assert [key for key in shelf.keys("here") if "/wal/" in key] == [keys["history"], keys[131]]


def test_without_a_base_backup_no_log_goes(shelf: Shelf, prune: Prune) -> None:
    fill(shelf, 5)
    put_wal(shelf, [1, 2, 3])
    prune(shelf)
    assert len([key for key in shelf.keys("here") if "/wal/" in key]) == 4


def test_remains_of_killed_runs_go_after_their_time_and_not_before(shelf: Shelf, prune: Prune) -> None:
    fill(shelf, 4)
    young, old = fill(shelf, 2, name="other", every=20 * DAY)
    for manifest in (young, old):
        (Path(shelf.specs["here"]["path"]) / layout.manifest_key(manifest.ref)).unlink()
    upload = shelf.repositories["here"].start_upload("shop/database/shop/20260101T000000Z-00000000/x")
    upload.write(b"half")
    hidden = next(Path(shelf.specs["here"]["path"]).rglob(".lifeboat-unfinished-*"))
    result = prune(shelf)
    assert (ids(result["orphans"]), result["repositories"]["here"]["uploads"]) == ([old.backup_id], 0)
    os.utime(hidden, (0, 0))
    assert prune(shelf)["repositories"]["here"]["uploads"] == 1
    assert not hidden.exists()
    assert [info.key for info in shelf.repositories["here"].list(layout.backup_prefix(old.ref))] == []
    assert [info.key for info in shelf.repositories["here"].list(layout.backup_prefix(young.ref))] != []


@pytest.mark.parametrize(
    ("damage", "said", "word"),
    [
        ("not json", "1 manifest cannot be believed", "broken"),
        ("foreign", "1 manifest cannot be believed", "broken"),
        ("future", "dated in the future", "future"),
        ("flood", "got 300 backups within a day", "flood"),
        ("vanished", "of 8 backups are left", "vanished"),
        ("too many", "would go at once, and max_remove allows 90% of them", "max_remove"),
    ],
)
def test_what_looks_wrong_refuses_everything_until_it_is_accepted_by_name(
    shelf: Shelf, prune: Prune, damage: str, said: str, word: str
) -> None:
    made = fill(shelf, 8)
    assert not prune(shelf, {"daily": 9})["changed"]
    root = Path(shelf.specs["here"]["path"])
    manifests = root / "shop" / "manifests" / "database" / "shop"
    retention = {"daily": 6}
    if damage == "not json":
        shelf.overwrite("here", layout.manifest_key(made[2].ref), b"{")
    elif damage == "foreign":
        shelf.repositories["here"].put("shop/manifests/database/shop/readme.json", b"{}")
    elif damage == "future":
        shelf.backup(at=now() + DAY, into=["here"])
    elif damage == "flood":
        template = (manifests / f"{made[0].backup_id}.json").read_text()
        for number in range(299):
            forged = f"{made[0].backup_id[:-8]}{number:08x}"
            (manifests / f"{forged}.json").write_text(template.replace(made[0].backup_id, forged))
    elif damage == "vanished":
        for manifest in made[3:]:
            (root / layout.manifest_key(manifest.ref)).unlink()
        retention = {"daily": 2}
    else:
        fill(shelf, 30, name="many")
        retention = {"keep": 1}
    error = refused(prune, shelf, retention)
    assert isinstance(error, RetentionRefused)
    assert said in str(error)
    assert f"accept: [{word}]" in str(error)
    if word == "max_remove":
        assert prune(shelf, retention, accept=["max_remove"])["changed"]


def test_a_flood_of_forged_ones_fills_no_class_where_signatures_are_asked_for(shelf: Shelf, prune: Prune, tmp_path: Path) -> None:
    pair = ssh_pair(tmp_path / "signing")
    made = fill(shelf, 5, sign=lambda data: sign(data, pair.path))
    forged = fill(shelf, 5, every=dt.timedelta(hours=25))
    result = prune(shelf, {"daily": 3}, verify_keys=[pair.public])
    assert [exists(shelf, manifest) for manifest in made] == [True, True, True, False, False]
    assert all(exists(shelf, manifest) for manifest in forged), "what is not believed is left for people to look at"
    assert "signature" in next(entry for entry in result["kept"] if entry["backup_id"] == forged[0].backup_id)["reasons"][0]


def test_a_place_that_fails_does_not_keep_the_others_and_the_run_is_red(shelf: Shelf, prune: Prune, tmp_path: Path) -> None:
    made = fill(shelf, 5)
    lost = {"type": "posix", "path": str(tmp_path / "not mounted"), "retention": {"daily": 1}}
    shelf.specs = {**shelf.specs, "lost": lost}
    with pytest.raises(RepositoryError, match="the repository's directory does not exist") as caught:
        prune(shelf)
    assert ids(caught.value.result["removed"]) == [made[3].backup_id, made[4].backup_id]


def test_a_database_may_keep_more_than_the_rest(shelf: Shelf, prune: Prune) -> None:
    fill(shelf, 5)
    fill(shelf, 5, name="licences")
    result = prune(shelf, overrides=[{"name": "licences", "retention": {"daily": 4}}])
    assert [entry["name"] for entry in result["removed"]] == ["licences", "shop", "shop"]


def test_two_prunes_of_one_place_do_not_meet(shelf: Shelf, prune: Prune, tmp_path: Path) -> None:
    fill(shelf, 5)
    with host_lock("shop", "prune", "here", tmp_path / "locks"), pytest.raises(Locked):
        prune(shelf)


def test_what_the_last_prune_left_behind_is_said_when_it_cannot_be_read(shelf: Shelf, prune: Prune, tmp_path: Path) -> None:
    fill(shelf, 5)
    prune(shelf)
    next((tmp_path / "state").glob("*.json")).write_text("{")
    assert "cannot be read" in str(refused(prune, shelf, {"daily": 1}))


def test_a_narrowed_run_forgets_nothing_of_the_rest(shelf: Shelf, prune: Prune, tmp_path: Path) -> None:
    fill(shelf, 5)
    fill(shelf, 5, name="other")
    prune(shelf)
    prune(shelf, {"daily": 2}, kind="database", name="shop")
    state = json.loads(next((tmp_path / "state").glob("*.json")).read_text())
    assert {asset: entry["left"] for asset, entry in state["assets"].items()} == {"database/shop": 2, "database/other": 3}


def test_keys_stay_while_a_kept_backup_may_need_them(tmp_path: Path, shelf: Shelf, prune: Prune) -> None:
    vault = Shelf({"vault": directory(tmp_path / "vault", retention={"keep": 1})})
    old, new = (fill(vault, 1, place="vault", kind="keys", name="master")[0] for _ in range(2))
    fill(shelf, 2)
    shelf.specs = {**shelf.specs, "vault": vault.specs["vault"]}
    result = prune(shelf, {"daily": 5}, verify="digests")
    assert {entry["backup_id"] for entry in result["kept"] if entry["repository"] == "vault"} == {old.backup_id, new.backup_id}
    vault.close()


def test_the_module_predicts_says_why_in_its_diff_and_then_does_it(shelf: Shelf, tmp_path: Path) -> None:
    made = fill(shelf, 5)
    given = {
        "system": "shop", "repositories": shelf.specs, "objective": {"retention": {"daily": 3}},
        "state_dir": str(tmp_path / "state"), "cache_dir": str(tmp_path / "cache"), "lock_dir": str(tmp_path / "locks"),
    }  # fmt: skip
    predicted = run_module("backup_prune", given, tmp_path, check=True)
    assert predicted["changed"]
    assert all(exists(shelf, manifest) for manifest in made)
    done = run_module("backup_prune", given, tmp_path)
    assert done["removed"] == predicted["removed"]
    assert [exists(shelf, manifest) for manifest in made] == [True, True, True, False, False]
    again = run_module("backup_prune", given, tmp_path)
    assert not again["failed"]
    assert not again["changed"]


def test_the_command_lists_what_would_go_and_why(shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = fill(shelf, 5)
    here = {**shelf.specs["here"], "retention": {"daily": 3}}
    file = tmp_path / "prune.json"
    own = {"state_dir": "", "cache_dir": "", "lock_dir": str(tmp_path / "locks")}
    file.write_text(json.dumps({"system": "shop", "repositories": {"here": here}, **own}))
    assert main(["prune", "--dry-run", "-c", str(file)]) == 0
    said = capsys.readouterr().out
    assert "here keeps daily 3" in said
    assert f"database/shop {made[4].backup_id}: beyond daily 3" in said
    assert "3 backups stay" in said
    assert all(exists(shelf, manifest) for manifest in made)
    assert main(["prune", "-c", str(file), "--json"]) == 0
    assert ids(json.loads(capsys.readouterr().out)["removed"]) == [made[3].backup_id, made[4].backup_id]


def test_a_key_goes_when_nothing_that_is_kept_anywhere_needs_it(tmp_path: Path, shelf: Shelf, prune: Prune) -> None:
    vault = Shelf({"vault": directory(tmp_path / "vault", retention={"keep": 1})})
    archive = Shelf({"archive": directory(tmp_path / "archive")})  # without retention: looked at, and left alone
    new, old = fill(vault, 2, place="vault", kind="keys", name="master")
    for number, manifest in enumerate((new, old)):
        name_keys(vault, "vault", manifest, {"master": f"print-{number}"})
    name_keys(shelf, "here", fill(shelf, 1)[0], {"master": "print-0"})
    needing = fill(archive, 1, place="archive")[0]
    name_keys(archive, "archive", needing, {"master": "print-1"})
    shelf.specs = {**shelf.specs, **vault.specs, **archive.specs}
    result = prune(shelf)
    assert not result["removed"]
    assert f"needed by backup {needing.backup_id}" in next(e for e in result["kept"] if e["backup_id"] == old.backup_id)["reasons"]
    archive.repositories["archive"].delete(layout.manifest_key(needing.ref))
    assert ids(prune(shelf)["removed"]) == [old.backup_id]
    assert exists(vault, new, "vault")
    archive.close()
    vault.close()
