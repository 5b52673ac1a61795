# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stores and credentials that refuse, lock, hide or break off: nothing that was to stay goes, and the run says what is."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    AccessDenied,
    IntegrityError,
    RepositoryError,
    RetentionRefused,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune import act
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.plan import PrunePlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.wal import Cut, old_wal
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix import PosixRepository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import segment_name
from support.prunes import SEGMENT_BYTES, directory, exists, fill, ids, put_wal
from support.s3proxy import Cut as CutLine
from support.s3proxy import Reply, S3Proxy
from support.shelf import Shelf
from support.store_fixtures import Bucket

pytestmark = pytest.mark.usefixtures("no_ambient_aws")

READS = ("s3:ListBucket", "s3:GetObject", "s3:GetObjectVersion")


@pytest.fixture
def given(tmp_path: Path) -> Any:
    def options(spec: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {
            "system": "shop", "repositories": {"here": {**spec, "retention": {"keep": 2}}}, "max_remove": "90%", "accept": ["dates"],
            "cache_dir": "", "state_dir": str(tmp_path / "state"), "lock_dir": str(tmp_path / "locks"), **more,
        }  # fmt: skip

    return options


@pytest.fixture
def shelf(versity_bucket: Bucket) -> Iterator[Shelf]:
    shelf = Shelf({"here": versity_bucket.spec()})
    yield shelf
    shelf.close()


def test_a_credential_that_may_not_delete_is_told_what_it_lacks(shelf: Shelf, versity_bucket: Bucket, given: Any) -> None:
    made = fill(shelf, 4)
    reader = versity_bucket.store.add_user(f"reader-{versity_bucket.name}")
    versity_bucket.store.allow(versity_bucket.name, {reader[0]: READS})
    with pytest.raises(AccessDenied, match=r"Allow it s3:DeleteObject"):
        run(given(versity_bucket.spec(user=reader)))
    assert all(exists(shelf, manifest) for manifest in made)


def test_a_credential_that_may_delete_and_no_versions_hides_and_says_so(shelf: Shelf, versity_bucket: Bucket, given: Any) -> None:
    made = fill(shelf, 4)
    pruner = versity_bucket.store.add_user(f"pruner-{versity_bucket.name}")
    versity_bucket.store.allow(versity_bucket.name, {pruner[0]: (*READS, "s3:DeleteObject")})
    result = run(given(versity_bucket.spec(user=pruner)))
    assert ids(result["removed"]) == [made[2].backup_id, made[3].backup_id]
    assert [exists(shelf, manifest) for manifest in made] == [True, True, False, False]


def test_what_is_locked_waits_and_is_said_and_the_rest_goes(versity_bucket: Bucket, given: Any) -> None:
    plain, locking = versity_bucket.spec(), versity_bucket.spec(object_lock="compliance", object_lock_days=1)
    shelf = Shelf({"here": plain, "locked": locking})
    third = fill(shelf, 3)[2]
    locked = shelf.backup(at=now() - dt.timedelta(days=9), into=["locked"])
    predicted = run(given(plain), check_mode=True)
    result = run(given(plain))
    for answer in (predicted, result):
        assert ids(answer["removed"]) == [third.backup_id]
        assert ids(answer["waiting"]) == [locked.backup_id]
        assert answer["waiting"][0]["reasons"][0].startswith("locked until ")
    assert exists(shelf, locked)
    assert result["repositories"]["here"]["waiting"] == 1
    shelf.close()


def test_a_log_that_is_locked_stays_and_does_not_count_as_gone(versity_bucket: Bucket) -> None:
    plain, locking = versity_bucket.spec(), versity_bucket.spec(object_lock="compliance", object_lock_days=1)
    shelf = Shelf({"here": plain, "locked": locking})
    locked = put_wal(shelf, [90], place="locked")[90]
    free = locked.replace(segment_name(1, 90, SEGMENT_BYTES), segment_name(1, 91, SEGMENT_BYTES))
    shelf.repositories["here"].put(free, b"sealed")
    for gone in (1, 0):
        found = old_wal(shelf.repositories["here"], "shop", Cut(100, 1, SEGMENT_BYTES, "x"), remove=True)
        assert (found.files, found.locked) == (gone, 1)
    there = [key for key in shelf.keys("here") if "/wal/" in key]
    assert (locked in there, free in there) == (True, False)
    shelf.close()


def test_a_lock_goes_along_with_a_backup_that_a_longer_class_took_over(versity_bucket: Bucket, given: Any) -> None:
    locking = versity_bucket.spec(object_lock="compliance", object_lock_days=1)
    shelf = Shelf({"here": locking})
    made = fill(shelf, 3, every=dt.timedelta(days=40))
    options = given({**locking, "object_lock_days": 20})
    options["repositories"]["here"]["retention"] = {"monthly": 12}
    assert run(options)["locks"] == [], "what was stored just now is locked for long enough"
    volumes = [volume.name for artifact in made[1].artifacts for volume in artifact.volumes]
    until = now() + dt.timedelta(days=19)
    assert act.lengthen_locks(shelf.repositories["here"], made[1].ref, volumes, until)
    for key in (layout.manifest_key(made[1].ref), *(layout.artifact_key(made[1].ref, name) for name in volumes)):
        held = shelf.repositories["here"].locked_until(key)
        assert held is not None
        assert abs(held - until) < dt.timedelta(seconds=2)
    assert not act.lengthen_locks(shelf.repositories["here"], made[1].ref, volumes, until - dt.timedelta(days=1)), "never shortened"
    shelf.close()


def test_a_backup_that_somebody_hid_is_not_taken_for_the_remains_of_a_killed_run(shelf: Shelf, versity_bucket: Bucket, given: Any) -> None:
    made = fill(shelf, 5)
    key = layout.manifest_key(made[1].ref)
    versity_bucket.store.client().delete_object(Bucket=versity_bucket.name, Key=key)  # a marker, as a delete without a version leaves
    read = PrunePlan.from_options
    with pytest.MonkeyPatch.context() as patched:  # the store's dates cannot be set back
        patched.setattr(PrunePlan, "from_options", lambda options: dataclasses.replace(read(options), orphan_age_seconds=-60.0))
        with pytest.raises(IntegrityError, match="was hidden by something else"):
            run(given(versity_bucket.spec()))
    assert [info.key for info in shelf.repositories["here"].list(layout.backup_prefix(made[1].ref))] != []


@pytest.mark.parametrize("fault", [Reply(500, "InternalError"), CutLine(after_bytes=200), Reply(403, "AccessDenied")])
def test_a_listing_that_fails_midway_removes_nothing(rclone_bucket: Bucket, given: Any, fault: Any) -> None:
    shelf = Shelf({"here": rclone_bucket.spec()})
    fill(shelf, 5)
    before = rclone_bucket.keys()
    with S3Proxy(rclone_bucket.store.endpoint) as proxy:
        short = {"connect_timeout": "1s", "read_timeout": "1s"}
        for skip in (1, 2):  # after the clock: the manifests, then the artifacts
            proxy.clear()
            proxy.on("ListObjectsV2", fault, skip=skip)
            with pytest.raises(RepositoryError):
                run(given(rclone_bucket.spec(endpoint=proxy.endpoint, **short)))
            assert rclone_bucket.keys() == before
    shelf.close()


def test_a_listing_that_ends_early_makes_nothing_go(tmp_path: Path, given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf({"here": directory(tmp_path / "here")})
    fill(shelf, 9, newest=dt.timedelta(days=8))
    listed = PosixRepository.list

    def cut(self: PosixRepository, prefix: str = "") -> Any:
        found = list(listed(self, prefix))
        return iter(found[2:] if prefix.endswith("/manifests/") else found)

    monkeypatch.setattr(PosixRepository, "list", cut)
    with pytest.raises(RetentionRefused, match="was not listed and exists"):
        run(given(shelf.specs["here"]))
    monkeypatch.undo()
    assert len(shelf.keys("here")) == 9 * 5, "nothing went"
    shelf.close()
