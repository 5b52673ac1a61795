# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was asked of the buckets: options read strictly, and held against each other before any bucket is looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import objective, options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_options import S3Options, parse_s3
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import retention_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.lifecycle import COLD_CLASSES, Rule, wanted_rules
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.policies import PURPOSES
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.promise import DAY, LEAST_DAYS, kept_seconds, least_lock_seconds
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration

__all__ = ["ENCRYPTIONS", "KEYS", "PROPERTIES", "REPORTS", "REQUIRED", "Asked", "Bucket", "Tenant"]

KEYS = (
    "repositories", "key_repositories", "report_repository", "targets", "administrators", "principals", "retention", "objective",
    "require", "cold_after", "cold_class", "expire_after", "noncurrent_after", "abort_after", "encryption", "public_access_block",
    "applied",
)  # fmt: skip
PROPERTIES = ("versions", "lock", "lifecycle", "public_access", "encryption", "policy")
"""What a bucket may have, as operators call it."""
REQUIRED = ("versions", "lock")
ENCRYPTIONS = ("AES256", "none")
REPORTS = "reports"
"""How the report repository is called among the others."""

_WHERE = "bucket_info"
_HOST_ONLY = ("credentials_file", "profile")
"""What the options of a repository say of the host that writes: an administrator's credential takes its place."""
_SLOW_CLASSES = ("glacier", "deep_archive")
_INFREQUENT = ("standard_ia", "onezone_ia")


@dataclass(frozen=True)
class Tenant:
    """A repository in a bucket. `kind` is data, keys or reports; `kept` for how long retention keeps a backup, at least and at most."""

    name: str
    kind: str
    options: S3Options
    retention: Mapping[str, int]
    principals: Mapping[str, Sequence[str]]
    rules: tuple[Rule, ...]

    @property
    def kept(self) -> tuple[float, float]:
        return kept_seconds(self.retention)


@dataclass(frozen=True)
class Bucket:
    """One bucket and what it should be; several repositories may lie in it. `lock`: mode and days, or None."""

    tenants: tuple[Tenant, ...]
    lock: tuple[str, int] | None
    required: frozenset[str]
    encryption: str
    public_access_block: bool

    @property
    def options(self) -> S3Options:
        return self.tenants[0].options

    @property
    def name(self) -> str:
        return self.options.bucket

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(rule for tenant in self.tenants for rule in tenant.rules)


@dataclass(frozen=True)
class Asked:
    """`applied`: the buckets were set up, so that what differs is a problem and no plan any more."""

    buckets: tuple[Bucket, ...]
    applied: bool
    warnings: tuple[str, ...] = field(default=())

    @classmethod
    def from_options(cls, given: Mapping[str, Any]) -> Asked:
        """Raises `ConfigurationError` that names the option, in one sentence, when something contradicts something else."""
        options.unknown_keys(given, KEYS, _WHERE)
        specs = _specs(given)
        for word in ("administrators", "principals"):
            _known_names(options.mapping(given, word, _WHERE, {}), specs, word)
        reader = _Reader(given)
        chosen = _chosen(given, specs)
        tenants = [reader.tenant(name, *specs[name]) for name in chosen]
        if not tenants:
            raise ConfigurationError("no repository of type s3 is named", _WHERE, "Only buckets are set up; directories are made by hand.")
        groups: dict[tuple[str | None, str], list[Tenant]] = {}
        for tenant in tenants:
            groups.setdefault((tenant.options.endpoint, tenant.options.bucket), []).append(tenant)
        buckets = tuple(reader.bucket(tuple(group)) for group in groups.values())
        return cls(buckets, options.boolean(given, "applied", _WHERE, False), tuple(_advice(tenants, reader)))


class _Reader:
    """The options that all buckets share, in days."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given
        self.cold = _days(given, "cold_after", 0, least=1)
        self.cold_class: str = options.choice(given, "cold_class", _WHERE, COLD_CLASSES, COLD_CLASSES[0])
        self.expires = _days(given, "expire_after", 0, least=1)
        self.noncurrent = _days(given, "noncurrent_after", 30, least=LEAST_DAYS)
        self.aborts = _days(given, "abort_after", 7, least=1)
        self.encryption: str = options.choice(given, "encryption", _WHERE, ENCRYPTIONS, ENCRYPTIONS[0])
        self.public_access_block: bool = options.boolean(given, "public_access_block", _WHERE, True)
        require: Sequence[str] = options.texts(given, "require", _WHERE, REQUIRED)
        options.unknown_keys(dict.fromkeys(require), PROPERTIES, f"{_WHERE}.require")
        self.require = frozenset(require)
        self.common = retention_of(given, _WHERE)
        promised = objective.resolve(given.get("objective") or None, f"{_WHERE}.objective")
        if not self.common and given.get("objective"):
            self.common = dict(promised.retention)
        if self.cold and self.cold_class in _INFREQUENT and self.cold < 30:
            raise ConfigurationError(
                f"cold_after of {self.cold} days with {self.cold_class}",
                _WHERE,
                "Amazon moves there from the 30th day on: say 30d or more.",
            )
        if self.cold and self.expires and self.expires <= self.cold:
            raise ConfigurationError(
                f"expire_after ({self.expires} days) is not longer than cold_after ({self.cold} days)", _WHERE, "Leave one of them out."
            )

    def tenant(self, name: str, kind: str, spec: Mapping[str, Any]) -> Tenant:
        where = f"repository {name!r}"
        administrator = options.mapping(options.mapping(self.given, "administrators", _WHERE, {}), name, f"{_WHERE}.administrators", {})
        options.unknown_keys(administrator, _HOST_ONLY, f"{_WHERE}.administrators.{name}")
        own = {key: value for key, value in spec.items() if key not in _HOST_ONLY}
        found = parse_s3(name, {**own, **administrator})
        retention = retention_of(spec, where) or (self.common if kind == "data" else {})
        # Keys are small, and wanted at once; reports are what an auditor asks for years later.
        holds_backups = kind == "data"
        rules = wanted_rules(
            found.prefix,
            self.noncurrent,
            self.aborts,
            self.expires if holds_backups else 0,
            self.cold if holds_backups else 0,
            self.cold_class,
        )
        tenant = Tenant(name, kind, found, retention, self._principals(name, kind), rules)
        self._require_sense(tenant, where)
        return tenant

    def _principals(self, name: str, kind: str) -> Mapping[str, Sequence[str]]:
        given = options.mapping(options.mapping(self.given, "principals", _WHERE, {}), name, f"{_WHERE}.principals", {})
        where = f"{_WHERE}.principals.{name}"
        options.unknown_keys(given, _purposes(kind), where)
        found = {purpose: tuple(options.texts(given, purpose, where, ())) for purpose in given}
        seen: dict[str, str] = {}
        for purpose, users in found.items():
            for user in users:
                if seen.setdefault(user, purpose) != purpose:
                    raise ConfigurationError(
                        f"{user!r} is named for {seen[user]} and for {purpose}", where, "Each purpose has a credential of its own."
                    )
        return found

    def _require_sense(self, tenant: Tenant, where: str) -> None:
        least, most = tenant.kept
        days = tenant.options.object_lock_days
        limit = tenant.retention.get("max_age")
        if self.expires and tenant.kind == "data" and tenant.retention and self.expires * DAY < most:
            kept = "of any age" if math.isinf(most) else f"for up to {_in_days(most)}"
            hint = "Leave expire_after out." if math.isinf(most) else f"Say {int(most // DAY)}d or more, or keep fewer."
            raise ConfigurationError(
                f"expire_after ({self.expires} days) is shorter than retention, which keeps backups {kept}", where, hint
            )
        if days and days * DAY < least_lock_seconds(tenant.retention):
            raise ConfigurationError(
                f"object_lock_days ({days}) is shorter than retention, which keeps every backup for {_in_days(least)}",
                where,
                f"Say {math.ceil(least_lock_seconds(tenant.retention) / DAY)} or more: whoever may delete could, before a week is over.",
            )
        if days and limit is not None and days * DAY > limit:
            raise ConfigurationError(
                f"object_lock_days ({days}) is longer than retention.max_age ({_in_days(limit)})",
                where,
                "What is locked cannot go in time.",
            )

    def bucket(self, tenants: tuple[Tenant, ...]) -> Bucket:
        locks = {
            (one.options.object_lock.upper(), one.options.object_lock_days): one.name for one in tenants if one.options.object_lock_days
        }
        if len(locks) > 1:
            raise ConfigurationError(
                f"{' and '.join(sorted(locks.values()))} lie in one bucket and ask for different locks",
                f"bucket {tenants[0].options.bucket!r}",
                "A bucket has one default: ask for the same, or give each a bucket of its own.",
            )
        required = set(self.require)
        if not locks:
            required.discard("lock")
        if any(one.kind == "data" for one in tenants) and (self.cold or self.expires):
            required.add("lifecycle")  # asked for by name
        if any(users for one in tenants for users in one.principals.values()):
            required.add("policy")
        return Bucket(tenants, next(iter(locks), None), frozenset(required), self.encryption, self.public_access_block)


def _advice(tenants: Sequence[Tenant], reader: _Reader) -> Iterator[str]:
    """What is allowed, and should be known."""
    if reader.cold and reader.cold_class in _SLOW_CLASSES:
        yield (
            f"what lies in {reader.cold_class} has to be thawed before it can be read: a drill or a recovery that needs something older "
            f"than {reader.cold} days fails until then"
        )
    if reader.expires:
        yield "expire_after asks nobody: when no backup is taken any more, the last good one goes, too"
    for tenant in tenants:
        days, most = tenant.options.object_lock_days, tenant.kept[1]
        if days and tenant.retention and days * DAY < most:
            kept = "without end" if math.isinf(most) else f"for up to {_in_days(most)}"
            yield (
                f"{tenant.name}: locks end after {days} days, and retention keeps {kept}: backup_prune lengthens them, "
                "with a credential that has s3:PutObjectRetention"
            )


def _specs(given: Mapping[str, Any]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Every repository by name, with what lies in it."""
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    reports = options.mapping(given, "report_repository", _WHERE, None)
    groups = (
        ("data", options.mapping(given, "repositories", _WHERE)),
        ("keys", options.mapping(given, "key_repositories", _WHERE, {})),
        ("reports", {REPORTS: reports} if reports else {}),
    )
    for kind, specs in groups:
        for name, spec in specs.items():
            validate(name, spec)
            if name in found:
                raise ConfigurationError(f"two repositories are called {name!r}", _WHERE, "Rename one, so that it is known which is meant.")
            found[name] = (kind, spec)
    return found


def _chosen(given: Mapping[str, Any], specs: Mapping[str, tuple[str, Mapping[str, Any]]]) -> list[str]:
    targets: Sequence[str] = options.texts(given, "targets", _WHERE, ())
    _known_names(dict.fromkeys(targets), specs, "targets")
    for name in targets:
        if specs[name][1]["type"] != "s3":
            raise ConfigurationError(f"targets: {name!r} is no bucket", _WHERE, "Only repositories of type s3 are set up.")
    return list(targets) or [name for name, (_kind, spec) in specs.items() if spec["type"] == "s3"]


def _known_names(given: Mapping[str, Any], specs: Mapping[str, Any], word: str) -> None:
    for name in given:
        if name not in specs:
            meant = options.nearest(str(name), specs)
            hint = f"Did you mean {meant!r}?" if meant else f"Known are: {', '.join(sorted(specs))}."
            raise ConfigurationError(f"{word}: {name!r} is no repository", _WHERE, hint)


def _purposes(kind: str) -> tuple[str, ...]:
    return ("report", "read") if kind == "reports" else tuple(purpose for purpose in PURPOSES if purpose != "report")


def _days(given: Mapping[str, Any], key: str, default: int, least: int) -> int:
    """Whole days, rounded up: a store counts nothing else. An empty text is the default."""
    if given.get(key) in (None, ""):
        return default
    seconds: float = options.duration_seconds(given, key, _WHERE, minimum=least * DAY)
    return math.ceil(seconds / DAY)


def _in_days(seconds: float) -> str:
    return duration(seconds) if seconds < 3 * DAY else f"{int(seconds // DAY)} days"
