# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of `bucket_info`: read what was asked, look at each bucket with an administrator's credential, and say what differs.

Nothing is changed here. What is to be set is handed over in the words of `amazon.aws` and `community.aws`, whose modules do it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_client import S3Client
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_options import S3Options
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.asked import Asked, Bucket, Tenant
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.judge import (
    Verdict,
    judge,
    lines,
    rules_for,
    stale_rules,
    statements,
    to_set,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.lifecycle import ours, same
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.look import Found, look_at
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.policies import PURPOSES, identity_policy, merged

__all__ = ["run"]


def run(given: Mapping[str, Any], check_mode: bool = False) -> dict[str, Any]:
    """Gives `buckets`, `policies`, `good` (no problem anywhere), `differs` (something can be set), `problems`, `notes`, and `diff`.

    A bucket that cannot be looked at is a problem, and hides nothing of the others. Raises `ConfigurationError`.
    """
    asked = Asked.from_options(given)
    if not deps.installed("boto3"):
        raise MissingTool("the Python library boto3 is not installed", "", "amazon.aws needs it: pip install boto3, or python3-boto3.")
    seen = [_seen(bucket, asked.applied) for bucket in asked.buckets]
    problems = [f"{one['bucket']}: {problem}" for one in seen for problem in one["problems"]]
    return {
        "changed": False,
        "good": not problems,
        "differs": any(one["differs"] for one in seen),
        "problems": problems,
        "notes": [f"{one['bucket']}: {note}" for one in seen for note in one["notes"]],
        "policies": _policies(asked.buckets),
        "diff": [_difference(one) for one in seen if one["before"] != one["after"]],
        "warnings": () if asked.applied else asked.warnings,
        "buckets": seen,
    }


def _seen(bucket: Bucket, applied: bool) -> dict[str, Any]:
    known = {"bucket": bucket.name, "endpoint": bucket.options.endpoint, "repositories": [tenant.name for tenant in bucket.tenants]}
    with contextlib.closing(S3Client(bucket.options)) as client:
        try:
            found = look_at(client)
            region = client.region
        except LifeboatError as error:
            lists: dict[str, Any] = {word: [] for word in ("differs", "lacks", "notes", "before", "after", "rules")}
            mappings: dict[str, Any] = {word: {} for word in ("settings", "connection", "environment")}
            return {**known, "reachable": False, "exists": None, "problems": [str(error)], **lists, **mappings}
    verdict = judge(bucket, found, applied)
    return {
        **known,
        "reachable": True,
        "exists": found.exists,
        "differs": list(verdict.differs),
        "lacks": sorted(found.lacks),
        "problems": list(verdict.problems),
        "notes": list(verdict.notes),
        "before": lines(bucket, found, wanted=False),
        "after": lines(bucket, found, wanted=True),
        "settings": {**to_set(bucket, found, verdict.differs), **_policy(bucket, found, verdict)},
        "rules": list(_rules(bucket, found, verdict)),
        "connection": _connection(bucket.options, region),
        "environment": _environment(bucket.options),
    }


def _policy(bucket: Bucket, found: Found, verdict: Verdict) -> dict[str, str]:
    if "policy" not in verdict.differs:
        return {}
    return {"policy": json.dumps(merged(found.policy, statements(bucket)))}


def _rules(bucket: Bucket, found: Found, verdict: Verdict) -> Iterator[dict[str, Any]]:
    """Those to be set, and those to be removed, as options of `community.aws.s3_lifecycle`."""
    if "lifecycle" not in verdict.differs:
        return
    there = ours(found.lifecycle)
    for rule in rules_for(bucket, found):
        old = there.get(rule.name)
        if same(old, rule):
            continue
        if old is not None and (old.prefix, old.least_bytes) != (rule.prefix, rule.least_bytes):
            # It would take the name from the old one, and leave it there.
            yield {"rule_id": rule.name, "state": "absent"}
        yield rule.options()
    yield from ({"rule_id": name, "state": "absent"} for name in stale_rules(bucket, found))


def _policies(buckets: tuple[Bucket, ...]) -> dict[str, dict[str, Any]]:
    """The document of each purpose that a repository has, by repository."""
    return {
        tenant.name: {
            purpose: identity_policy(purpose, bucket.name, tenant.options.prefix, bucket.lock is not None) for purpose in _purposes(tenant)
        }
        for bucket in buckets
        for tenant in bucket.tenants
    }


def _purposes(tenant: Tenant) -> tuple[str, ...]:
    return ("report", "read") if tenant.kind == "reports" else tuple(purpose for purpose in PURPOSES if purpose != "report")


def _difference(one: Mapping[str, Any]) -> dict[str, str]:
    header = f"bucket {one['bucket']} ({', '.join(one['repositories'])})"
    return {
        "before_header": header,
        "after_header": header,
        "before": "".join(f"{line}\n" for line in one["before"]),
        "after": "".join(f"{line}\n" for line in one["after"]),
    }


def _connection(given: S3Options, region: str) -> dict[str, Any]:
    """The options with which modules of `amazon.aws` reach the same bucket; none of them is a secret."""
    config: dict[str, Any] = {
        "signature_version": "s3v4",
        "s3": {"addressing_style": "path" if given.path_style else "auto"},
        "connect_timeout": given.connect_timeout_seconds,
        "read_timeout": given.read_timeout_seconds,
        "retries": {"total_max_attempts": 3, "mode": "standard"},
    }
    if deps.version_at_least(deps.installed_version("botocore"), "1.36"):
        config["request_checksum_calculation"] = "when_required"  # many stores refuse the newer checksums
        config["response_checksum_validation"] = "when_required"
    return {"region": region, "endpoint_url": given.endpoint, "aws_ca_bundle": given.ca_file, "aws_config": config}


def _environment(given: S3Options) -> dict[str, str]:
    """How those modules find the credential: by its file. What else lies in the environment is not looked at beside it."""
    if given.credentials_file is None and given.profile is None:
        return {}
    nobody = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN"), "")
    if given.credentials_file is None:
        return {**nobody, "AWS_PROFILE": str(given.profile)}
    file = {"AWS_SHARED_CREDENTIALS_FILE": given.credentials_file, "AWS_CONFIG_FILE": "/dev/null"}
    return {**nobody, **file, "AWS_PROFILE": given.profile or "default"}
