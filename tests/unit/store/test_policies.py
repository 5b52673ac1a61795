# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policies say what each credential may do, and nothing of what it must not."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.policies import PURPOSES, bucket_statements, identity_policy


def allowed(purpose: str, locks: bool = False) -> set[str]:
    document = identity_policy(purpose, "shop", "a/", locks)
    return {action for statement in document["Statement"] for action in statement["Action"]}


def test_who_writes_deletes_nothing_and_who_reads_writes_nothing() -> None:
    assert {"s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:AbortMultipartUpload"} <= allowed("write")
    assert not [action for action in allowed("write", locks=True) if "Delete" in action or "Bypass" in action or ":PutBucket" in action]
    assert not [action for action in allowed("read", locks=True) if ":Put" in action or "Delete" in action or "Abort" in action]
    assert allowed("report") == {"s3:PutObject"}
    assert allowed("write", locks=True) - allowed("write") == {"s3:PutObjectRetention", "s3:GetObjectRetention"}


def test_who_prunes_puts_only_the_list_of_what_was_let_go() -> None:
    document = identity_policy("prune", "shop", "a/", False)
    (put,) = [statement for statement in document["Statement"] if "s3:PutObject" in statement["Action"]]
    assert put == {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": ["arn:aws:s3:::shop/a/*/retired/*"]}


@pytest.mark.parametrize("purpose", PURPOSES)
def test_actions_on_objects_name_objects_below_the_prefix_and_those_on_the_bucket_name_the_bucket(purpose: str) -> None:
    for statement in identity_policy(purpose, "shop", "a/", True)["Statement"]:
        of_bucket = {action for action in statement["Action"] if "Bucket" in action or "Lifecycle" in action}
        assert of_bucket in (set(), set(statement["Action"]))
        (resource,) = statement["Resource"]
        assert resource == "arn:aws:s3:::shop" if of_bucket else resource.startswith("arn:aws:s3:::shop/a/")


def test_the_buckets_own_policy_forbids_what_another_one_might_allow() -> None:
    users: dict[str, Any] = {purpose: [purpose] for purpose in ("write", "read", "prune")}
    found = bucket_statements("off-site", "shop", "", True, users)
    denied = {
        user: {action for one in found if one["Effect"] == "Deny" and one["Principal"] == {"AWS": [user]} for action in one["Action"]}
        for user in users
    }
    assert {"s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutBucketVersioning", "s3:PutLifecycleConfiguration"} <= denied["write"]
    assert "s3:PutObject" in denied["read"]
    assert "s3:DeleteObject" not in denied["prune"]
    names = [one["Sid"] for one in found]
    assert len(set(names)) == len(names)
    assert all(name.isalnum() and name.startswith("Lifeboat") for name in names)
