# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a credential could do to backups is found by doing it to a canary (law 5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.audit.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.store_fixtures import Bucket

pytestmark = pytest.mark.usefixtures("no_ambient_aws")

WRITER = ("s3:PutObject", "s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:PutObjectRetention", "s3:GetObjectRetention")
LOOKS = ("s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration", "s3:GetLifecycleConfiguration")


def asked(spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"system": "shop", "repositories": {"offsite": spec}, **more}


def said(result: dict[str, Any], rule: str = "destroy") -> dict[str, str]:
    """Verdict by what was tried."""
    found = [one for one in result["findings"] if one["rule"] == rule]
    return {one["detail"].partition(":")[0]: one["verdict"] for one in found}


def user_of(bucket: Bucket, name: str, *actions: str) -> dict[str, Any]:
    user = bucket.store.add_user(f"{name}-{bucket.name}")
    bucket.store.allow(bucket.name, {user[0]: actions})
    return bucket.spec(user=user)


def test_a_writer_that_can_destroy_nothing_is_good_and_leaves_what_was_there(versity_bucket: Bucket) -> None:
    with open_repository("offsite", versity_bucket.spec()) as repository:
        repository.put("shop/database/x", b"a backup")
    result = run(asked(user_of(versity_bucket, "writer", *WRITER, *LOOKS)))
    assert said(result) == dict.fromkeys(("replace", "delete", "delete the version itself", "configure versions"), "good")
    assert said(result, "versions") == {"the bucket keeps versions": "good"}
    with open_repository("offsite", versity_bucket.spec()) as repository:
        assert repository.read("shop/database/x") == b"a backup"


def test_one_that_may_delete_versions_is_weak_though_the_bucket_keeps_them(versity_bucket: Bucket) -> None:
    result = run(asked(user_of(versity_bucket, "careless", *WRITER, "s3:DeleteObject", "s3:DeleteObjectVersion")))
    found = said(result)
    assert (found["replace"], found["delete"], found["delete the version itself"]) == ("good", "good", "weak")
    assert result["good"] is False
    (finding,) = [one for one in result["findings"] if one["verdict"] == "weak" and one["rule"] == "destroy"]
    assert "s3:DeleteObjectVersion" in finding["advice"]
    assert versity_bucket.keys() == [], "the canary was removed where that is allowed"


def test_a_lock_is_what_keeps_it_from_one_that_may_delete_versions(versity_bucket: Bucket) -> None:
    spec = user_of(versity_bucket, "locked", *WRITER, "s3:DeleteObject", "s3:DeleteObjectVersion")
    result = run(asked({**spec, "object_lock": "compliance", "object_lock_days": 1}))
    assert said(result)["delete the version itself"] == "good"


def test_whoever_may_configure_the_bucket_may_switch_off_what_guards_it(versity_bucket: Bucket) -> None:
    result = run(asked(versity_bucket.spec()))
    assert said(result)["configure versions"] == "weak"
    client = versity_bucket.store.client()
    assert client.get_bucket_versioning(Bucket=versity_bucket.name)["Status"] == "Enabled", "it was not switched off"


def test_a_store_without_versions_loses_what_is_replaced(rclone_bucket: Bucket) -> None:
    result = run(asked(rclone_bucket.spec()))
    found = said(result)
    assert (found["replace"], found["delete"]) == ("weak", "weak")
    assert rclone_bucket.keys() == []


def test_one_that_cannot_write_at_all_is_weak_for_writing_and_good_for_reading(versity_bucket: Bucket) -> None:
    spec = user_of(versity_bucket, "reader", "s3:GetObject", "s3:ListBucket")
    assert said(run(asked(spec))) == {"it cannot write": "weak"}
    assert said(run(asked(spec, purpose="read")), "reads-only") == {"this credential cannot write": "good"}
    writer = user_of(versity_bucket, "writes", *WRITER)
    assert said(run(asked(writer, purpose="read")), "reads-only") == {"this credential can write": "weak"}


def test_check_mode_writes_nothing_and_says_what_it_did_not_try(versity_bucket: Bucket) -> None:
    result = run(asked(versity_bucket.spec()), check_mode=True)
    assert said(result) == {"what this credential can destroy was not tried": "unknown"}
    listed = versity_bucket.store.client().list_object_versions(Bucket=versity_bucket.name)
    assert not listed.get("Versions") and not listed.get("DeleteMarkers")


def test_what_cannot_be_reached_is_unknown_and_not_good(tmp_path: Path) -> None:
    result = run(asked({"type": "posix", "path": str(tmp_path / "gone")}))
    ((words, verdict),) = said(result, "reachable").items()
    assert words.startswith("the repository's directory does not exist")
    assert verdict == "unknown"
    assert said(result) == {}


def test_a_directory_that_its_writer_owns_keeps_nothing_from_him(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    result = run(asked({"type": "posix", "path": str(tmp_path / "here")}, data_directory=str(tmp_path)))
    assert said(result) == {"replace": "weak", "delete": "weak"}
    assert said(result, "same-disk") == {"it lies on the disk of the database": "weak"}
    assert said(result, "off-host") == {"every repository lies on this machine": "weak"}
    assert [path for path in (tmp_path / "here").rglob("*") if path.is_file()] == []
