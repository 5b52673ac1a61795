# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a credential could do to objects in a bucket, tried on a canary; and what the bucket itself will do to them.

With versions, a DELETE that succeeds may destroy nothing: it hides. So what counts is whether the first version can still be read
afterwards. A store that keeps versions is no help where the same credential may delete them one by one, or switch them off.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import AccessDenied
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.harm import CANARY, DENIED, DONE, KEPT, UNKNOWN, Harm, Rules
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.keys import probe_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_client import S3Client
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_faults import Refusal
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_parts import checked_body, md5
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_probe import PROBE_LOCK
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_upload import lock_parameters

__all__ = ["on_canary", "rules"]

_OTHER = b"somebody else's bytes\n"


def on_canary(client: S3Client, probe_prefix: str) -> tuple[Harm, ...]:
    """Put a canary as backups are put, locked for a while where they are, and try to be rid of it in every way that S3 knows.

    What was made is removed where that is allowed; the rest stays, hidden, until its lock or its lifecycle rule ends it.
    """
    key = probe_key(probe_prefix)
    lock = lock_parameters(client.options.object_lock, dt.datetime.now(dt.timezone.utc) + PROBE_LOCK)
    put = client.ask("put_object", "trying to write", key, **checked_body(CANARY, md5(CANARY)), **lock)
    if isinstance(put, Refusal):
        if put.denied:
            return (Harm("write", DENIED, put.error.what),)
        raise put.error
    canary = _Canary(client, key, put)
    try:
        return (*canary.attempts(), *_of_the_bucket(client))
    finally:
        canary.clean()


class _Canary:
    """One object, and every version that was made of it."""

    def __init__(self, client: S3Client, key: str, put: dict[str, Any]) -> None:
        self._client = client
        self._key = key
        self._version: str | None = None
        self._made: list[str] = []
        self._keep(put)
        if self._made and self._made[0] != "null":
            self._version = self._made[0]

    def attempts(self) -> Iterator[Harm]:
        yield self._tried("replace", "put_object", **checked_body(_OTHER, md5(_OTHER)))
        yield self._tried("delete", "delete_object")
        if self._version is not None:
            yield self._tried("delete the version itself", "delete_object", VersionId=self._version)
            if self._content() == CANARY and self._client.options.object_lock == "governance":
                # Such a lock gives way to whoever may say so.
                bypass = {"VersionId": self._version, "BypassGovernanceRetention": True}
                yield self._tried("delete the version in spite of its lock", "delete_object", **bypass)

    def clean(self) -> None:
        for version in self._made or [""]:
            named: dict[str, Any] = {"VersionId": version} if version else {}
            self._client.ask("delete_object", "removing a canary", self._key, attempts=1, **named)

    def _tried(self, action: str, operation: str, **parameters: Any) -> Harm:
        """Do it, and look whether the first bytes can still be read."""
        answer = self._client.ask(operation, f"trying to {action}", self._key, **parameters)
        stays = self._content() == CANARY
        if isinstance(answer, Refusal):
            if not isinstance(answer.error, AccessDenied):
                return Harm(action, UNKNOWN, str(answer.error))
            return Harm(action, DENIED, answer.error.what)
        self._keep(answer)
        if not stays:
            return Harm(action, DONE, "the canary is gone")
        if self._version is None:
            return Harm(action, DENIED, "accepted, and not done")
        return Harm(action, KEPT, "accepted, and the version from before can still be read")

    def _content(self) -> bytes | None:
        named: dict[str, Any] = {"VersionId": self._version} if self._version else {}
        answer = self._client.ask("get_object", "reading a canary", self._key, **named)
        if isinstance(answer, Refusal):
            return None
        data = self._client.read_chunk(answer["Body"], 1024, self._key)
        return None if isinstance(data, Refusal) else data

    def _keep(self, answer: dict[str, Any]) -> None:
        if answer.get("VersionId") and answer["VersionId"] not in self._made:
            self._made.append(answer["VersionId"])


def _of_the_bucket(client: S3Client) -> Iterator[Harm]:
    """Whoever may configure the bucket may switch off what guards it. Written back is only what was read."""
    action = "configure versions"
    status = client.ask("get_bucket_versioning", "looking at versioning")
    if isinstance(status, Refusal):
        yield Harm(action, UNKNOWN, "this credential may not look at the bucket's versioning, so nothing was tried")
    elif status.get("Status") in ("Enabled", "Suspended"):
        same = {"Status": status["Status"]}
        answer = client.ask("put_bucket_versioning", "trying to configure the bucket", VersioningConfiguration=same)
        if not isinstance(answer, Refusal):
            yield Harm(action, DONE, "the bucket took it: this credential may switch off what guards the backups")
        elif answer.denied:
            yield Harm(action, DENIED, answer.error.what)
        else:
            yield Harm(action, UNKNOWN, str(answer.error))


def rules(client: S3Client) -> Rules:
    """What the bucket was set up to do to what lies below our prefix."""
    unknown: list[str] = []
    versioning = _asked(client, "get_bucket_versioning", unknown)
    lock = _asked(client, "get_object_lock_configuration", unknown)
    lifecycle = _asked(client, "get_bucket_lifecycle_configuration", unknown)
    found: dict[str, float] = {}
    for rule in lifecycle.get("Rules", ()):
        if rule.get("Status") == "Enabled" and _meet(_prefix(rule), client.options.prefix):
            for name, days in _days(rule):
                found[name] = min(found.get(name, days * 86400.0), days * 86400.0)
    retention = lock.get("ObjectLockConfiguration", {}).get("Rule", {}).get("DefaultRetention", {})
    days = retention.get("Days") or 365 * retention.get("Years", 0)
    return Rules(
        versions=None if "get_bucket_versioning" in unknown else versioning.get("Status") == "Enabled",
        locks=days * 86400.0 if days else None,
        unknown=tuple(unknown),
        **found,
    )


def _meet(one: str, other: str) -> bool:
    """Whether anything can lie below both prefixes."""
    return one.startswith(other) or other.startswith(one)


def _days(rule: dict[str, Any]) -> Iterator[tuple[str, float]]:
    tagged = bool(rule.get("Filter", {}).get("Tag") or rule.get("Filter", {}).get("And", {}).get("Tags"))
    if tagged:  # what we write carries no tags
        return
    if rule.get("Expiration", {}).get("Days"):
        yield "expires", rule["Expiration"]["Days"]
    if rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays"):
        yield "removes_old_versions", rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
    for transition in rule.get("Transitions", ()):
        if "Days" in transition:
            yield "moves_to_cold", transition["Days"]
    if rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation"):
        yield "aborts_uploads", rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]


def _prefix(rule: dict[str, Any]) -> str:
    given = rule.get("Filter", {})
    return str(given.get("Prefix") or given.get("And", {}).get("Prefix") or rule.get("Prefix") or "")


def _asked(client: S3Client, method: str, unknown: list[str]) -> dict[str, Any]:
    """The bucket's answer; nothing where it has no such configuration, and its name in `unknown` where it may not be seen."""
    answer = client.ask(method, "looking at the bucket's rules")
    if not isinstance(answer, Refusal):
        return answer
    if answer.status != 404:
        unknown.append(method)
    return {}
