# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bucket as it is held against what it should be: what can be set, what is a problem, what is only said."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.asked import Asked, Bucket
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.judge import judge, lines, stale_rules, statements, to_set
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.look import Found
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.policies import merged

TIDY = {
    "ID": "lifeboat-tidy", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"ExpiredObjectDeleteMarker": True},
    "NoncurrentVersionExpiration": {"NoncurrentDays": 30}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
}  # fmt: skip
COLD = {
    "ID": "lifeboat-cold", "Status": "Enabled", "Filter": {"And": {"Prefix": "", "ObjectSizeGreaterThan": 131072}},
    "Transitions": [{"Days": 30, "StorageClass": "GLACIER_IR"}],
}  # fmt: skip
WHOLE = Found(
    exists=True, versions=True, locks=True, lock=("COMPLIANCE", 30), lifecycle=(TIDY,), public_access_block=True, encryption="AES256"
)
LOCK = {"object_lock": "compliance", "object_lock_days": 30}


def bucket(spec: dict[str, Any] | None = None, **more: Any) -> Bucket:
    options = {"type": "s3", "bucket": "shop", "retention": {"daily": 7, "monthly": 12}, **LOCK, **(spec or {})}
    (found,) = Asked.from_options({"repositories": {"offsite": options}, **more}).buckets
    return found


def found(**fields: Any) -> Found:
    return dataclasses.replace(WHOLE, **fields)


def test_what_is_as_promised_differs_in_nothing_and_says_nothing() -> None:
    for applied in (False, True):
        verdict = judge(bucket(), WHOLE, applied)
        assert (verdict.differs, verdict.problems, verdict.notes) == ((), (), ())
    assert lines(bucket(), WHOLE, wanted=False) == lines(bucket(), WHOLE, wanted=True)


def test_a_bucket_that_is_not_there_gets_everything() -> None:
    nothing = Found(exists=False)
    verdict = judge(bucket(), nothing, False)
    assert verdict.differs == ("versions", "lock", "lifecycle", "public_access", "encryption")
    assert verdict.problems == ()
    settings = {"object_lock_enabled": True, "object_lock_default_retention": {"mode": "COMPLIANCE", "days": 30}}
    assert to_set(bucket(), nothing, verdict.differs) == settings
    assert lines(bucket(), nothing, wanted=False) == ["absent"]
    assert "lock: compliance for 30 days" in lines(bucket(), nothing, wanted=True)
    assert len(judge(bucket(), nothing, True).problems) == 2, "versions and lock are required, and still missing"


@pytest.mark.parametrize(
    "more",
    [
        {"lock": ("COMPLIANCE", 90)},
        {"encryption": "aws:kms"},
        {"lifecycle": (TIDY, {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 400}})},
        {"lifecycle": ({**TIDY, "Expiration": {}},)},
        {"lifecycle": ({**TIDY, "Filter": {}, "Prefix": ""},)},
    ],
)
def test_more_than_was_asked_for_and_the_same_in_other_words_are_left_alone(more: dict[str, Any]) -> None:
    verdict = judge(bucket(), found(**more), True)
    assert (verdict.differs, verdict.problems) == ((), ())


@pytest.mark.parametrize(
    ("spec", "fields", "said"),
    [
        ({}, {"versions": False, "lacks": frozenset({"versions"})}, "the store has no versions"),
        ({}, {"locks": False, "lock": None, "lacks": frozenset({"lock"})}, "the store has no object lock"),
        ({}, {"locks": False, "lock": None}, "exists without object lock.*name a new bucket"),
        ({}, {"versions": False}, "did not take versions: not kept"),
        ({}, {"lock": ("GOVERNANCE", 30)}, "did not take lock: governance for 30 days"),
        ({}, {"versions": False, "hidden": frozenset({"versions"})}, "may not see the bucket's versions"),
        ({"retention": {"daily": 7, "max_age": "30d"}}, {"lock": ("COMPLIANCE", 60)}, "locks everything for 60 days.*gone after 30"),
        (
            {},
            {"lifecycle": (TIDY, {**TIDY, "ID": "old", "Expiration": {"Days": 90}})},
            "'old' removes objects after 90 days.*up to 366 days",
        ),
        (
            {"retention": {"keep": 3}},
            {"lifecycle": (TIDY, {**TIDY, "ID": "old", "Expiration": {"Days": 9000}})},
            "'old' removes objects .*of any age",
        ),
        (
            {},
            {"lifecycle": (TIDY, {**TIDY, "ID": "fast", "Expiration": {}, "NoncurrentVersionExpiration": {"NoncurrentDays": 1}})},
            "'fast' destroys what was replaced or deleted after 24 h",
        ),
    ],
)
def test_what_is_required_or_harmful_is_a_problem(spec: dict[str, Any], fields: dict[str, Any], said: str) -> None:
    (problem,) = judge(bucket(spec), found(**fields), True).problems
    assert re.search(said, problem), problem


def test_a_rule_that_is_off_or_for_others_does_no_harm() -> None:
    off = {**TIDY, "ID": "off", "Status": "Disabled", "Expiration": {"Days": 1}}
    tagged = {**TIDY, "ID": "tagged", "Filter": {"Tag": {"Key": "a", "Value": "b"}}, "Expiration": {"Days": 1}}
    elsewhere = {**TIDY, "ID": "elsewhere", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 1}}
    place = bucket({"prefix": "shop"})
    tidy = {**TIDY, "ID": "lifeboat-tidy:shop", "Filter": {"Prefix": "shop/"}}
    assert judge(place, found(lifecycle=(tidy, off, tagged, elsewhere)), True).problems == ()


def test_what_is_not_required_and_not_there_is_said() -> None:
    lacking = found(public_access_block=False, encryption="", lifecycle=(), lacks=frozenset({"public_access", "encryption", "lifecycle"}))
    verdict = judge(bucket(), lacking, True)
    assert verdict.problems == ()
    assert verdict.differs == ()
    assert [note.partition(":")[0] for note in verdict.notes] == [
        "the store has no lifecycle rules", "the store has no block of public access", "the store has no setting for encryption at rest",
    ]  # fmt: skip
    (problem,) = judge(bucket(cold_after="30d"), lacking, True).problems
    assert problem.startswith("the store has no lifecycle rules"), "cold storage was asked for by name"


def test_cold_storage_that_is_wanted_no_longer_is_taken_away() -> None:
    assert judge(bucket(cold_after="30d"), found(lifecycle=(TIDY, COLD)), True).differs == ()
    assert judge(bucket(cold_after="60d"), found(lifecycle=(TIDY, COLD)), False).differs == ("lifecycle",)
    assert judge(bucket(), found(lifecycle=(TIDY, COLD)), False).differs == ("lifecycle",)
    assert stale_rules(bucket(), found(lifecycle=(TIDY, COLD))) == ("lifeboat-cold",)


def test_a_store_that_sweeps_by_itself_is_not_asked_to_remember_it() -> None:
    forgotten = found(lifecycle=({key: value for key, value in TIDY.items() if key != "AbortIncompleteMultipartUpload"},))
    assert judge(bucket(), forgotten, True).differs == ("lifecycle",)
    assert judge(bucket(), dataclasses.replace(forgotten, sweeps=True), True).differs == ()


def test_a_policy_differs_only_by_what_it_says() -> None:
    place = bucket(principals={"offsite": {"write": ["writer"], "read": ["drill"], "prune": ["pruner"]}})
    others = {"Version": "2012-10-17", "Statement": [{"Sid": "Theirs", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}]}
    assert judge(place, found(policy=others), False).differs == ("policy",)
    whole = merged(others, statements(place))
    assert whole["Statement"][0] == others["Statement"][0], "those of others stay"
    plainer = {**whole, "Statement": [{**one, "Resource": one.get("Resource", [""])[0]} for one in reversed(whole["Statement"])]}
    assert judge(place, found(policy=plainer), False).differs == ()
    assert merged(whole, statements(place)) == whole
