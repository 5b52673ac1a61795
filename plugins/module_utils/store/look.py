# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a bucket is set up, as its store says. Stores differ in what they know; what one does not know is no error but a finding."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_client import S3Client
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_faults import Refusal

__all__ = ["Found", "look_at"]

_ATTEMPTS = 3
_UNKNOWN = (
    "NotImplemented", "XNotImplemented", "NotSupported", "UnsupportedOperation", "MethodNotAllowed", "InvalidArgument",
    "VersioningNotConfigured",
)  # fmt: skip
"""In which words stores say that they do not have something."""
_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


@dataclass(frozen=True)
class Found:
    """`lacks`: what the store does not know; `hidden`: what this credential may not see. `locks`: whether objects can be locked at
    all; `lock`: mode and days of what locks by itself. `encryption` is "" where nothing is set. `sweeps`: the store removes uploads
    that were not completed by itself, and forgets a rule that says so."""

    exists: bool
    versions: bool = False
    locks: bool = False
    lock: tuple[str, int] | None = None
    lifecycle: tuple[Mapping[str, Any], ...] = ()
    public_access_block: bool = False
    encryption: str = ""
    policy: Mapping[str, Any] | None = None
    lacks: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    sweeps: bool = False


def look_at(client: S3Client) -> Found:
    """Raises `RepositoryError` when the store cannot be reached, or does not know the credential."""
    first = client.ask("get_bucket_versioning", "looking at the bucket", attempts=_ATTEMPTS)
    if isinstance(first, Refusal) and first.code == "NoSuchBucket":
        return Found(exists=False)
    headers = {} if isinstance(first, Refusal) else (first.get("ResponseMetadata") or {}).get("HTTPHeaders") or {}
    looking = _Looking(client)
    versioning = looking.take("versions", first)
    lock = looking.ask("lock", "get_object_lock_configuration", "ObjectLockConfiguration")
    public = looking.ask("public_access", "get_public_access_block", "PublicAccessBlockConfiguration")
    encryption = looking.ask("encryption", "get_bucket_encryption", "ServerSideEncryptionConfiguration")
    lifecycle = looking.ask("lifecycle", "get_bucket_lifecycle_configuration", "Rules")
    policy = looking.policy()
    retention = (lock.get("Rule") or {}).get("DefaultRetention") or {}
    days = retention.get("Days") or 365 * (retention.get("Years") or 0)
    first_rule: Mapping[str, Any] = next(iter(encryption.get("Rules") or ()), {})
    return Found(
        exists=True,
        versions=versioning.get("Status") == "Enabled",
        locks=lock.get("ObjectLockEnabled") == "Enabled",
        lock=(str(retention.get("Mode") or ""), int(days)) if days else None,
        lifecycle=tuple(lifecycle.get("Rules") or ()),
        public_access_block=all(public.get(word) for word in _BLOCKS),
        encryption=str((first_rule.get("ApplyServerSideEncryptionByDefault") or {}).get("SSEAlgorithm") or ""),
        policy=policy or None,
        lacks=frozenset(looking.lacks),
        hidden=frozenset(looking.hidden),
        sweeps=headers.get("server") == "MinIO",
    )


class _Looking:
    def __init__(self, client: S3Client) -> None:
        self._client = client
        self.lacks: list[str] = []
        self.hidden: list[str] = []

    def ask(self, word: str, operation: str, within: str) -> Mapping[str, Any]:
        """What lies `within` the answer: a mapping as it is, a list or a text below its own name; empty where nothing is set."""
        answer = self._client.ask(operation, "looking at the bucket", attempts=_ATTEMPTS)
        if not isinstance(answer, Refusal) and not answer.get(within):
            # An answer to another question: the store overlooks what it does not know, and lists the bucket.
            self.lacks.append(word)
            return {}
        found = self.take(word, answer).get(within) or {}
        return found if isinstance(found, Mapping) else {within: found}

    def policy(self) -> Mapping[str, Any]:
        text = self.ask("policy", "get_bucket_policy", "Policy").get("Policy")
        try:
            found = json.loads(text) if text else {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            self.lacks.append("policy")  # a listing again: this answer is taken as a text, whatever it says
            return {}
        return found

    def take(self, word: str, answer: dict[str, Any] | Refusal) -> Mapping[str, Any]:
        if not isinstance(answer, Refusal):
            return answer
        if answer.status == 501 or answer.code in _UNKNOWN:
            self.lacks.append(word)
        elif answer.status != 404:
            if not answer.denied:
                raise answer.error
            self.hidden.append(word)
        return {}
