# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Buckets are looked at as they are, in stores that know much and stores that know little; nothing is changed by looking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.run import run
from support.modules import run_module
from support.store_fixtures import Bucket
from support.stores import SECRET_KEY, Store

pytestmark = pytest.mark.usefixtures("no_ambient_aws")

LOCK: dict[str, Any] = {"object_lock": "compliance", "object_lock_days": 30}


def asked(store: Store, bucket: str, user: tuple[str, str] = ("", ""), spec: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The options with which an administrator of the store looks at one bucket."""
    place = {"type": "s3", "bucket": bucket, "endpoint": store.endpoint, **(spec or {})}
    administrators = {"offsite": {"credentials_file": str(store.credentials_file(*user))}}
    return {"repositories": {"offsite": place}, "administrators": administrators, **more}


def test_a_bucket_that_is_not_there_is_to_be_made_and_is_not_made_by_looking(versity_server: Store) -> None:
    found = run(asked(versity_server, "not-there", spec=LOCK))
    (one,) = found["buckets"]
    assert (one["exists"], one["reachable"], found["good"], found["differs"]) == (False, True, True, True)
    assert one["settings"]["object_lock_default_retention"] == {"mode": "COMPLIANCE", "days": 30}
    assert "not-there" not in [bucket["Name"] for bucket in versity_server.client().list_buckets()["Buckets"]]
    assert found["diff"][0]["before"] == "absent\n"


def test_what_a_store_does_not_have_is_told_from_what_is_not_set(moto_server: Store, versity_server: Store, rclone_bucket: Bucket) -> None:
    everything = run(asked(moto_server, moto_server.create_bucket("bare")))["buckets"][0]
    assert everything["lacks"] == []
    assert everything["differs"] == ["versions", "lifecycle", "public_access", "encryption"]
    some = run(asked(versity_server, versity_server.create_bucket("some", versioning=True)))["buckets"][0]
    assert "lifecycle" in some["lacks"]
    assert "versions" not in some["differs"]
    none = run(asked(rclone_bucket.store, rclone_bucket.name))
    assert {"lock", "lifecycle", "encryption"} <= set(none["buckets"][0]["lacks"])


def test_a_bucket_made_without_lock_is_a_problem_with_a_way_out(versity_server: Store) -> None:
    found = run(asked(versity_server, versity_server.create_bucket("unlocked", versioning=True), spec=LOCK))
    (problem,) = found["problems"]
    assert problem.startswith("unlocked: the bucket exists without object lock")
    assert "name a new bucket" in problem
    assert found["buckets"][0]["settings"] == {}, "amazon.aws would refuse the rest together with it"


def test_rules_of_others_that_take_backups_too_early_are_a_problem(moto_server: Store) -> None:
    bucket = moto_server.create_bucket("ruled", versioning=True)
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 90}}
    moto_server.client().put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    found = run(asked(moto_server, bucket, spec={"retention": {"monthly": 12}}))
    (problem,) = found["problems"]
    assert problem.startswith("ruled: offsite: the rule 'old' removes objects after 90 days, and retention keeps backups for up to 366")


@pytest.mark.parametrize(
    ("user", "said"),
    [(("nobody", "Zq7-wrong-secret-Zq7"), "does not know the access key"), (("", "Zq7-wrong-secret-Zq7"), "does not belong")],
)
def test_a_wrong_credential_is_a_problem_that_shows_nothing_of_it(versity_server: Store, user: tuple[str, str], said: str) -> None:
    found = run(asked(versity_server, "any", user=user))
    assert said in found["problems"][0]
    assert "Zq7" not in json.dumps(found).replace(SECRET_KEY, "SHOWN")
    assert found["buckets"][0]["differs"] == []


def test_a_user_that_may_see_nothing_is_told_what_he_lacks(versity_bucket: Bucket) -> None:
    user = versity_bucket.store.add_user(f"blind-{versity_bucket.name}")
    found = run(asked(versity_bucket.store, versity_bucket.name, user=user))
    assert [problem for problem in found["problems"] if "may not see the bucket's versions" in problem]


def test_the_module_hands_over_what_amazon_aws_is_to_be_told_and_no_secret(versity_server: Store, tmp_path: Path) -> None:
    result = run_module("bucket_info", asked(versity_server, "by-module", spec={"region": "eu-central-1"}), tmp_path)
    assert not result["failed"], result
    assert not result["changed"]
    (one,) = result["buckets"]
    assert one["connection"]["endpoint_url"] == versity_server.endpoint
    assert one["connection"]["region"] == "eu-central-1"
    assert one["environment"]["AWS_SHARED_CREDENTIALS_FILE"] == str(versity_server.credentials_file())
    assert SECRET_KEY not in json.dumps(result)
