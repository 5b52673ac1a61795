# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of buckets: derived from the repositories, and refused in one sentence where it contradicts what was promised."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.asked import Asked, Bucket
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.promise import DAY, kept_seconds

S3: dict[str, Any] = {"type": "s3", "bucket": "shop-backups", "credentials_file": "/etc/lifeboat/writer"}


def asked(spec: dict[str, Any] | None = None, **more: Any) -> Asked:
    return Asked.from_options({"repositories": {"offsite": {**S3, **(spec or {})}}, **more})


def one(spec: dict[str, Any] | None = None, **more: Any) -> Bucket:
    (bucket,) = asked(spec, **more).buckets
    return bucket


@pytest.mark.parametrize(
    ("retention", "least_days", "most_days"),
    [
        ({"daily": 7, "weekly": 4, "monthly": 12}, 7, 366),
        ({"hourly": 24, "daily": 7}, 1, 7),
        ({"yearly": 4}, 1461, 1461),
        ({"daily": 7, "max_age": 5 * 86400}, 5, 5),
        ({"max_age": 90 * 86400}, 90, 90),
        ({"daily": 7, "keep": 3}, 7, math.inf),
        ({"keep": 3}, 0, math.inf),
        ({"keep": 3, "max_age": 30 * 86400}, 0, 30),
        ({}, 0, math.inf),
    ],
)
def test_what_retention_promises_at_least_and_at_most(retention: dict[str, int], least_days: float, most_days: float) -> None:
    assert kept_seconds(retention) == (least_days * DAY, most_days * DAY)


def test_the_credential_of_the_database_host_is_never_used() -> None:
    assert one().options.credentials_file is None
    named = one(administrators={"offsite": {"credentials_file": "/root/admin", "profile": "boss"}}).options
    assert (named.credentials_file, named.profile) == ("/root/admin", "boss")


def test_what_is_not_a_bucket_is_left_out_and_shared_buckets_come_once() -> None:
    both = asked(
        repositories={
            "here": {"type": "posix", "path": "/mnt/backup/lifeboat"},
            "one": {**S3, "prefix": "one"},
            "two": {**S3, "prefix": "two", "object_lock": "compliance", "object_lock_days": 30},
        },
        report_repository={**S3, "bucket": "shop-reports"},
    )
    assert [[tenant.name for tenant in bucket.tenants] for bucket in both.buckets] == [["one", "two"], ["reports"]]
    assert both.buckets[0].lock == ("COMPLIANCE", 30)
    assert [rule.name for rule in both.buckets[0].rules] == ["lifeboat-tidy:one", "lifeboat-tidy:two"]


def test_only_backups_get_cold_or_expire() -> None:
    found = asked(
        key_repositories={"vault": {**S3, "bucket": "keys"}},
        report_repository={**S3, "bucket": "reports"},
        cold_after="30d",
        expire_after="400d",
    )
    rules = {tenant.name: tenant.rules for bucket in found.buckets for tenant in bucket.tenants}
    assert [(rule.cold, rule.expires) for rule in rules["offsite"]] == [(0, 400), (30, 0)]
    assert [(rule.cold, rule.expires) for name in ("vault", "reports") for rule in rules[name]] == [(0, 0), (0, 0)]


def test_what_was_asked_for_by_name_is_required() -> None:
    lock = {"object_lock": "governance", "object_lock_days": 30}
    assert one().required == {"versions"}
    assert one(lock).required == {"versions", "lock"}
    assert one(lock, require=["versions"], cold_after="30d").required == {"versions", "lifecycle"}
    assert one(principals={"offsite": {"read": ["drill"]}}).required == {"versions", "policy"}


@pytest.mark.parametrize(
    ("spec", "more", "said"),
    [
        (
            {"retention": {"monthly": 12}},
            {"expire_after": "365d"},
            r"expire_after \(365 days\) is shorter than retention, .* up to 366 days .*Say 366d",
        ),
        ({"retention": {"keep": 5}}, {"expire_after": "365d"}, "which keeps backups of any age .*Leave expire_after out"),
        ({}, {"expire_after": "30d", "objective": "baseline"}, "expire_after .30 days. is shorter than retention"),
        ({}, {"expire_after": "30d", "retention": {"weekly": 8}}, "up to 56 days"),
        (
            {"object_lock": "compliance", "object_lock_days": 3, "retention": {"daily": 7, "weekly": 4}},
            {},
            r"object_lock_days \(3\) is shorter than retention, which keeps every backup for 7 days .*Say 7 or more",
        ),
        (
            {"object_lock": "compliance", "object_lock_days": 60, "retention": {"daily": 7, "max_age": "30d"}},
            {},
            "longer than retention.max_age",
        ),
        ({}, {"cold_after": "10d", "cold_class": "standard_ia"}, "from the 30th day on"),
        ({}, {"cold_after": "30d", "expire_after": "30d"}, "is not longer than cold_after"),
        ({}, {"noncurrent_after": "1d"}, "noncurrent_after is 86400 seconds, the least is 604800"),
        ({}, {"abort_after": "soon"}, "abort_after: expected a duration"),
        ({}, {"cold_class": "glacir"}, "Did you mean 'glacier'"),
        ({}, {"require": ["version"]}, "Did you mean 'versions'"),
        ({}, {"encryption": "des"}, "encryption: unknown value 'des'"),
        ({}, {"targets": ["ofsite"]}, "targets: 'ofsite' is no repository .*Did you mean 'offsite'"),
        ({}, {"administrators": {"ofsite": {}}}, "administrators: 'ofsite' is no repository"),
        ({}, {"administrators": {"offsite": {"secret_key": "x"}}}, "unknown key 'secret_key'"),
        ({}, {"principals": {"offsite": {"reed": ["drill"]}}}, "Did you mean 'read'"),
        ({}, {"principals": {"offsite": {"read": ["one"], "write": ["one"]}}}, "Each purpose has a credential of its own"),
        ({}, {"key_repositories": {"offsite": S3}}, "two repositories are called 'offsite'"),
        ({}, {"coold_after": "30d"}, "Did you mean 'cold_after'"),
    ],
)
def test_what_contradicts_is_refused_in_one_sentence(spec: dict[str, Any], more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        asked(spec, **more)
    assert re.search(said, str(caught.value)), str(caught.value)


def test_two_that_lie_in_one_bucket_cannot_ask_for_different_locks() -> None:
    lock = {"object_lock": "compliance", "object_lock_days": 30}
    with pytest.raises(ConfigurationError, match="one and two lie in one bucket and ask for different locks"):
        asked(repositories={"one": {**S3, "prefix": "1", **lock}, "two": {**S3, "prefix": "2", **lock, "object_lock_days": 60}})


def test_without_a_bucket_there_is_nothing_to_set_up() -> None:
    with pytest.raises(ConfigurationError, match="no repository of type s3"):
        asked(repositories={"here": {"type": "posix", "path": "/mnt/backup/lifeboat"}})
    with pytest.raises(ConfigurationError, match="'here' is no bucket"):
        asked(repositories={"here": {"type": "posix", "path": "/mnt/backup/lifeboat"}, "offsite": S3}, targets=["here"])


def test_a_lock_that_ends_before_the_longest_class_is_allowed_and_said() -> None:
    (said,) = asked({"object_lock": "compliance", "object_lock_days": 14, "retention": {"daily": 7, "monthly": 12}}).warnings
    assert said.startswith("offsite: locks end after 14 days, and retention keeps for up to 366 days: backup_prune lengthens them")
    (thaw, expiry) = asked(cold_after="30d", cold_class="deep_archive", expire_after="400d").warnings
    assert "has to be thawed" in thaw
    assert "the last good one goes, too" in expiry
