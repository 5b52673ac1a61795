# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bucket is, held against what it should be. Pure: property by property, what differs, what is a problem, what is only said.

More than was asked for is never taken back: a longer lock, a stricter mode and another encryption stay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.store.asked import PROPERTIES, Bucket
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.lifecycle import COLD, Rule, named, ours, removals, same
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.look import Found
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.policies import bucket_statements, same_statements
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.promise import DAY, LEAST_DAYS
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration

__all__ = ["Verdict", "judge", "lines", "rules_for", "stale_rules", "statements", "to_set"]

_SAID = {
    "versions": "versions: what is replaced or deleted is gone",
    "lock": "object lock: who may delete can delete the newest backup, too",
    "lifecycle": "lifecycle rules: old versions and broken uploads stay, and are paid for",
    "public_access": "block of public access: see to it that no policy opens the bucket",
    "encryption": "setting for encryption at rest: backups are sealed before they get there",
    "policy": "policies of the bucket: give the users theirs (policies in the result)",
}
_TOO_LATE = (
    "the bucket exists without object lock, which most stores, and amazon.aws, can only switch on when it is created: name a new "
    "bucket, let backup_copy or the next backups fill it, and keep the old one until its backups are no longer needed"
)


@dataclass(frozen=True)
class Verdict:
    """By property: `differs` can be set, `problems` make the run red, `notes` are said."""

    differs: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def judge(bucket: Bucket, found: Found, applied: bool) -> Verdict:
    """`applied`: the settings were made, so that what is required and still differs is a problem."""
    differing = [word for word in PROPERTIES if _differs(word, bucket, found)]
    late = "lock" in differing and found.exists and not found.locks and "lock" not in found.lacks
    settable = [word for word in differing if word not in found.lacks and not (late and word == "lock")]
    problems: list[str] = []
    notes: list[str] = []
    for word in differing:
        required = word in bucket.required
        if word in found.lacks:
            (problems if required else notes).append(f"the store has no {_SAID[word]}")
        elif late and word == "lock":
            (problems if required else notes).append(_TOO_LATE)
        elif word in found.hidden and (required or applied):
            (problems if required else notes).append(f"this credential may not see the bucket's {word}, so nothing is known about it")
        elif applied:
            (problems if required else notes).append(f"the store did not take {word}: {_told(word, bucket, found)}")
    problems += _harmful(bucket, found)
    return Verdict(tuple(settable), tuple(problems), tuple(notes))


def to_set(bucket: Bucket, found: Found, differs: Sequence[str]) -> dict[str, Any]:
    """What is to be said to `amazon.aws.s3_bucket`: object lock when the bucket is made with it, or has it."""
    settings: dict[str, Any] = {}
    if bucket.lock is not None and ("lock" in differs or found.locks) and (found.locks or not found.exists):
        settings["object_lock_enabled"] = True
        if "lock" in differs:
            mode, days = bucket.lock
            settings["object_lock_default_retention"] = {"mode": mode, "days": max(days, found.lock[1] if found.lock else 0)}
    return settings


def statements(bucket: Bucket) -> list[dict[str, Any]]:
    """Those of the bucket's policy that are ours."""
    return [
        statement
        for tenant in bucket.tenants
        for statement in bucket_statements(tenant.name, bucket.name, tenant.options.prefix, bucket.lock is not None, tenant.principals)
    ]


def rules_for(bucket: Bucket, found: Found) -> tuple[Rule, ...]:
    """The rules that this store can keep."""
    return tuple(dataclasses.replace(rule, aborts=0) for rule in bucket.rules) if found.sweeps else bucket.rules


def stale_rules(bucket: Bucket, found: Found) -> tuple[str, ...]:
    """Rules of ours below these prefixes that are wanted no longer."""
    wanted = {rule.name for rule in bucket.rules}
    prefixes = [tenant.options.prefix for tenant in bucket.tenants]
    return tuple(name for name in ours(found.lifecycle) if name not in wanted and name in [named(COLD, prefix) for prefix in prefixes])


def lines(bucket: Bucket, found: Found, wanted: bool) -> list[str]:
    """The bucket as it is, or as it would be, a line for each property: two of these are a difference that people can read."""
    if not found.exists and not wanted:
        return ["absent"]
    return [f"{word}: {_wish(word, bucket, found) if wanted else _told(word, bucket, found)}" for word in PROPERTIES]


def _differs(word: str, bucket: Bucket, found: Found) -> bool:
    if word == "versions":
        return not found.versions
    if word == "lock":
        return bucket.lock is not None and not _locked_enough(bucket.lock, found.lock)
    if word == "public_access":
        return bucket.public_access_block and not found.public_access_block
    if word == "encryption":
        return bucket.encryption != "none" and not found.encryption
    if word == "lifecycle":
        there = ours(found.lifecycle)
        return not all(same(there.get(rule.name), rule) for rule in rules_for(bucket, found)) or bool(stale_rules(bucket, found))
    wanted = statements(bucket)
    return bool(wanted) and not same_statements(found.policy, wanted)


def _locked_enough(wanted: tuple[str, int], found: tuple[str, int] | None) -> bool:
    return found is not None and found[1] >= wanted[1] and found[0] in (wanted[0], "COMPLIANCE")


def _harmful(bucket: Bucket, found: Found) -> Iterator[str]:
    """What the bucket was set up to do, by others too, that no setting of ours makes good."""
    own = {rule.name for rule in bucket.rules}
    for tenant in bucket.tenants:
        most, limit = tenant.kept[1], tenant.retention.get("max_age")
        for name, what, seconds in removals(found.lifecycle, tenant.options.prefix):
            if name in own:
                continue
            if what == "objects" and tenant.retention and seconds < most:
                kept = f"for up to {int(most // DAY)} days" if most < 1e12 else "of any age"
                yield (
                    f"{tenant.name}: the rule {name!r} removes objects after {duration(seconds)}, and retention keeps backups {kept}: "
                    "change the rule, or keep fewer"
                )
            elif what == "old versions" and seconds < LEAST_DAYS * DAY:
                yield (
                    f"{tenant.name}: the rule {name!r} destroys what was replaced or deleted after {duration(seconds)}: "
                    f"let it keep that for {LEAST_DAYS} days at least"
                )
        if found.lock is not None and limit is not None and found.lock[1] * DAY > limit:
            yield (
                f"{tenant.name}: the bucket locks everything for {found.lock[1]} days, and backups have to be gone after "
                f"{int(limit // DAY)}: shorten the bucket's default, or raise max_age"
            )


def _told(word: str, bucket: Bucket, found: Found) -> str:
    if word in found.lacks:
        return "not known to the store"
    if word in found.hidden:
        return "not shown to this credential"
    if word == "versions":
        return "kept" if found.versions else "not kept"
    if word == "lock":
        if found.lock is None:
            return "none by itself" if found.locks else "none"
        return f"{found.lock[0].lower()} for {found.lock[1]} days"
    if word == "public_access":
        return "blocked" if found.public_access_block else "not blocked"
    if word == "encryption":
        return found.encryption or "not set"
    if word == "lifecycle":
        return _rules(ours(found.lifecycle).values()) + _of_others(found)
    return "as wanted" if not _differs(word, bucket, found) else "another one" if found.policy else "none"


def _wish(word: str, bucket: Bucket, found: Found) -> str:
    unsettable = word == "lock" and found.exists and not found.locks
    if word in found.lacks or unsettable or not _differs(word, bucket, found):
        return _told(word, bucket, found)
    if word == "lock" and bucket.lock is not None:
        return f"{bucket.lock[0].lower()} for {max(bucket.lock[1], found.lock[1] if found.lock else 0)} days"
    if word == "lifecycle":
        return _rules(rules_for(bucket, found)) + _of_others(found)
    return {"versions": "kept", "public_access": "blocked", "encryption": bucket.encryption}.get(word, "as wanted")


def _rules(rules: Any) -> str:
    found: list[Rule] = sorted(rules, key=lambda rule: str(rule.name))
    return "; ".join(f"{rule.name}: {rule.sentence()}" for rule in found) or "no rules of ours"


def _of_others(found: Found) -> str:
    others: Sequence[Mapping[str, Any]] = [rule for rule in found.lifecycle if not ours([rule])]
    return f"; and {len(others)} of others" if others else ""
