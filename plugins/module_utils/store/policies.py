# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each credential may do, as documents in Amazon's language of policies. Pure.

An identity's policy is attached to a user, at Amazon and at MinIO. A bucket's policy names the users itself, and forbids besides what
another policy might allow them; at versitygw it is the only kind there is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["PURPOSES", "bucket_statements", "identity_policy", "merged", "same_statements"]

PURPOSES = ("write", "read", "prune", "report")
"""The database host; drills, copies and whoever looks; who removes what retention lets go; who leaves reports."""

_LISTS = ("s3:ListBucket",)
_LOOKS = ("s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration", "s3:GetLifecycleConfiguration")
"""What the audit reads; nothing is lost without."""
_LOCKS = ("s3:PutObjectRetention", "s3:GetObjectRetention")

_ON_BUCKET: Mapping[str, Sequence[str]] = {
    "write": (*_LISTS, "s3:ListBucketMultipartUploads", *_LOOKS),
    "read": (*_LISTS, *_LOOKS),
    "prune": (*_LISTS, "s3:ListBucketVersions", "s3:ListBucketMultipartUploads", *_LOOKS),
    "report": (),
}
_ON_OBJECTS: Mapping[str, Sequence[str]] = {
    "write": ("s3:PutObject", "s3:GetObject", "s3:GetObjectVersion", "s3:AbortMultipartUpload"),
    "read": ("s3:GetObject",),
    "prune": ("s3:GetObject", "s3:GetObjectVersion", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:AbortMultipartUpload"),
    "report": ("s3:PutObject",),  # the store's condition keeps what is there, and its answer proves what came (s3_upload.py)
}
_RETIRED = "*/retired/*"
"""Which backups retention took: all that who prunes may write (docs/format.md)."""

_NEVER_ON_BUCKET = (
    "s3:PutBucketVersioning", "s3:PutLifecycleConfiguration", "s3:PutBucketObjectLockConfiguration", "s3:PutBucketPolicy",
    "s3:DeleteBucketPolicy", "s3:DeleteBucket",
)  # fmt: skip
_NEVER_ON_OBJECTS: Mapping[str, Sequence[str]] = {
    "write": ("s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"),
    "read": ("s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"),
    "prune": ("s3:BypassGovernanceRetention",),
    "report": ("s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"),
}
_OURS = "Lifeboat"
_VERSION = "2012-10-17"


def identity_policy(purpose: str, bucket: str, prefix: str, locks: bool) -> dict[str, Any]:
    """What a user of this purpose needs, and nothing beyond it."""
    return {"Version": _VERSION, "Statement": [_allow(actions, resource) for actions, resource in _rights(purpose, bucket, prefix, locks)]}


def bucket_statements(name: str, bucket: str, prefix: str, locks: bool, principals: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """What the bucket's own policy says of the users of the repository `name`, by purpose; statements bear names that are ours."""
    found: list[dict[str, Any]] = []
    for purpose in PURPOSES:
        users = principals.get(purpose)
        if not users:
            continue
        statements = [_allow(actions, resource) for actions, resource in _rights(purpose, bucket, prefix, locks)]
        statements.append({**_allow(_NEVER_ON_BUCKET, _bucket(bucket)), "Effect": "Deny"})
        statements.append({**_allow(_NEVER_ON_OBJECTS[purpose], f"{_bucket(bucket)}/{prefix}*"), "Effect": "Deny"})
        for number, statement in enumerate(statements):
            label = f"{_OURS}{_word(name)}{purpose.title()}{number}"
            found.append({"Sid": label, "Principal": {"AWS": sorted(users)}, **statement})
    return found


def merged(current: Mapping[str, Any] | None, statements: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The bucket's policy with these statements in place of the former ones of ours; those of others stay."""
    others = [statement for statement in _statements(current) if not str(statement.get("Sid") or "").startswith(_OURS)]
    return {**(current or {"Version": _VERSION}), "Statement": [*others, *statements]}


def same_statements(current: Mapping[str, Any] | None, statements: Sequence[Mapping[str, Any]]) -> bool:
    """Whether ours are there already; a store may give back one text where a list of one was put, or another order."""
    there = [statement for statement in _statements(current) if str(statement.get("Sid") or "").startswith(_OURS)]
    return sorted(map(_canonical, there)) == sorted(map(_canonical, statements))


def _rights(purpose: str, bucket: str, prefix: str, locks: bool) -> Iterator[tuple[Sequence[str], str]]:
    everything = f"{_bucket(bucket)}/{prefix}*"
    if _ON_BUCKET[purpose]:
        yield _ON_BUCKET[purpose], _bucket(bucket)
    yield (*_ON_OBJECTS[purpose], *(_LOCKS if locks and purpose in ("write", "prune", "report") else ())), everything
    if purpose == "prune":
        yield ("s3:PutObject",), f"{_bucket(bucket)}/{prefix}{_RETIRED}"


def _allow(actions: Iterable[str], resource: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": [resource]}


def _bucket(name: str) -> str:
    return f"arn:aws:s3:::{name}"


def _word(name: str) -> str:
    """A name as Amazon takes it in the name of a statement: letters and digits, others by their number."""
    return "".join(character if character.isascii() and character.isalnum() else f"x{ord(character):x}" for character in name)


def _statements(policy: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    found = (policy or {}).get("Statement") or []
    return [found] if isinstance(found, Mapping) else list(found)


def _canonical(statement: Mapping[str, Any]) -> str:
    return json.dumps(_plain(statement), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_plain(item) for item in value]
        return items[0] if len(items) == 1 else sorted(items, key=str)
    return value
