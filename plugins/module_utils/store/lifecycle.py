# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules by which a bucket tidies up by itself: what they should be, and what those that are there do. Pure.

A rule asks nobody and knows no last good backup. So current objects go by `backup_prune`, which does; a rule takes what was replaced,
deleted or never completed, and moves to cold storage. Only `expire_after` lets it take backups, and never before retention would.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.store.promise import DAY
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import size

__all__ = ["COLD", "COLD_CLASSES", "LEAST_COLD_BYTES", "TIDY", "Rule", "named", "ours", "removals", "same", "wanted_rules"]

TIDY, COLD = "lifeboat-tidy", "lifeboat-cold"
"""How our rules are called, with the prefix behind a colon: others are left alone."""

COLD_CLASSES = ("glacier_ir", "standard_ia", "onezone_ia", "intelligent_tiering", "glacier", "deep_archive")
"""Amazon's. The last two have to be thawed before they can be read."""

LEAST_COLD_BYTES = 128 * 1024
"""Manifests, instructions and evidence are smaller: they stay where each list and each drill reads them, and would cost more there."""


@dataclass(frozen=True)
class Rule:
    """One rule of ours. Times in days, 0 for what it does not do. `markers`: remove delete markers that hide nothing any more."""

    name: str
    prefix: str
    least_bytes: int = 0
    expires: int = 0
    markers: bool = False
    noncurrent: int = 0
    aborts: int = 0
    cold: int = 0
    cold_class: str = ""
    enabled: bool = True

    def options(self) -> dict[str, Any]:
        """As the options of `community.aws.s3_lifecycle`."""
        given: dict[str, Any] = {"rule_id": self.name, "prefix": self.prefix, "state": "present", "status": "enabled"}
        if self.least_bytes:
            given["minimum_object_size"] = self.least_bytes
        if self.expires:
            given["expiration_days"] = self.expires
        elif self.markers:
            given["expire_object_delete_marker"] = True
        if self.noncurrent:
            given["noncurrent_version_expiration_days"] = self.noncurrent
        if self.aborts:
            given["abort_incomplete_multipart_upload_days"] = self.aborts
        if self.cold:
            given["transitions"] = [{"transition_days": self.cold, "storage_class": self.cold_class}]
        return given

    def sentence(self) -> str:
        """What it does, for people and for a difference."""
        found = []
        if self.cold:
            what = f"what is larger than {size(self.least_bytes)}" if self.least_bytes else "everything, manifests too,"
            found.append(f"{what} goes to {self.cold_class} after {self.cold} days")
        if self.expires:
            found.append(f"everything goes after {self.expires} days")
        if self.noncurrent:
            found.append(f"what was replaced or deleted goes after {self.noncurrent} days")
        if self.aborts:
            found.append(f"uploads that were not completed go after {self.aborts} days")
        if self.markers:
            found.append("markers that hide nothing go")
        return ", ".join(found) + ("" if self.enabled else " (switched off)")


def named(word: str, prefix: str) -> str:
    return f"{word}:{prefix.rstrip('/')}" if prefix else word


def wanted_rules(
    prefix: str, noncurrent: int, aborts: int, expires: int = 0, cold: int = 0, cold_class: str = COLD_CLASSES[0]
) -> tuple[Rule, ...]:
    """The rules of what lies below a prefix; days, 0 for what is not wanted."""
    tidy = Rule(named(TIDY, prefix), prefix, expires=expires, markers=not expires, noncurrent=noncurrent, aborts=aborts)
    if not cold:
        return (tidy,)
    return (tidy, Rule(named(COLD, prefix), prefix, least_bytes=LEAST_COLD_BYTES, cold=cold, cold_class=cold_class))


def ours(found: Iterable[Mapping[str, Any]]) -> dict[str, Rule]:
    """Those of a bucket's rules that are called as ours are, by name."""
    rules = (_read(rule) for rule in found if str(rule.get("ID") or "").partition(":")[0] in (TIDY, COLD))
    return {rule.name: rule for rule in rules}


def same(found: Rule | None, wanted: Rule) -> bool:
    """Whether a bucket's rule does what is wanted. Markers do not count: some stores remove them anyhow, and do not say so."""
    return found is not None and dataclasses.replace(found, markers=wanted.markers) == wanted


def removals(found: Iterable[Mapping[str, Any]], prefix: str) -> Iterator[tuple[str, str, float]]:
    """What each rule that is switched on takes below `prefix`: its name, `objects` or `old versions`, and after how many seconds."""
    for rule in found:
        where = rule.get("Filter") or {}
        inner = where.get("And") or {}
        if rule.get("Status") != "Enabled" or where.get("Tag") or inner.get("Tags"):  # what we write carries no tags
            continue
        read = _read(rule)
        if read.prefix.startswith(prefix) or prefix.startswith(read.prefix):
            if read.expires:
                yield read.name, "objects", read.expires * DAY
            if read.noncurrent:
                yield read.name, "old versions", read.noncurrent * DAY


def _read(rule: Mapping[str, Any]) -> Rule:
    """A rule as boto3 gives it. A store may say the same in several ways: the prefix alone, in a filter, or in its conjunction."""
    where = rule.get("Filter") or {}
    inner = where.get("And") or where
    expiration = rule.get("Expiration") or {}
    moves = rule.get("Transitions") or [{}]
    return Rule(
        name=str(rule.get("ID") or "without a name"),
        prefix=str(inner.get("Prefix") or rule.get("Prefix") or ""),
        least_bytes=int(inner.get("ObjectSizeGreaterThan") or 0),
        expires=int(expiration.get("Days") or 0),
        markers=bool(expiration.get("ExpiredObjectDeleteMarker")),
        noncurrent=int((rule.get("NoncurrentVersionExpiration") or {}).get("NoncurrentDays") or 0),
        aborts=int((rule.get("AbortIncompleteMultipartUpload") or {}).get("DaysAfterInitiation") or 0),
        cold=int(moves[0].get("Days") or 0),
        cold_class=str(moves[0].get("StorageClass") or "").lower(),
        enabled=rule.get("Status") == "Enabled",
    )
