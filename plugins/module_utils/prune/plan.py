# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was asked to be pruned, and how much of it at most: options read strictly, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import objective, options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import KINDS
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest_cache import ManifestCache, cache_in
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.alignment import Alignment, Rule, parse_rules
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.doubts import WORDS
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.state import State, state_in
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import retention_of, terms_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.retention import Policy
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import parse_public_keys

__all__ = ["KEYS", "MAX_REMOVE", "ORPHAN_AGE", "PROOFS", "PrunePlan"]

KEYS = (
    "system", "kind", "name", "repositories", "targets", "retention", "objective", "overrides", "data_retention", "data_repositories",
    "report_repository", "verify_keys", "verify", "max_remove", "accept", "orphan_age", "wal", "state_dir", "cache_dir",
    "stall_timeout", "lock_dir",
)  # fmt: skip
PROOFS = ("digests", "drills")
"""What counts as verified beside a drill that passed: also what this run reads whole, or nothing."""
MAX_REMOVE = "50%"
ORPHAN_AGE = "7d"

_WHERE = "backup_prune"


@dataclass(frozen=True)
class PrunePlan:
    """`repositories` are those to be pruned, `policies` what each keeps by itself; `data_repositories` all that are known, since what
    lies in one that is not pruned may need keys, too; `overrides` replaces single words of it for an
    asset (kind and name). `max_remove` is a share with `as_share`, else a number."""

    system: str
    repositories: Mapping[str, Mapping[str, Any]]
    policies: Mapping[str, Mapping[str, int]]
    overrides: Mapping[tuple[str, str], Mapping[str, int]] = field(default_factory=dict)
    data_repositories: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    report_repository: Mapping[str, Any] | None = None
    data_retention: Sequence[Rule] = ()
    kind: str | None = None
    name: str | None = None
    verify_keys: Sequence[str] = ()
    read_whole: bool = True
    max_remove: float = 0.5
    as_share: bool = True
    accept: frozenset[str] = frozenset()
    orphan_age_seconds: float = 7 * 86400.0
    wal: bool = True
    state: State | None = None
    cache: ManifestCache | None = None
    stall_timeout_seconds: float = 120.0
    lock_dir: Path | None = None

    def policy(self, repository: str, kind: str, name: str) -> Policy:
        return Policy.of({**self.policies[repository], **self.overrides.get((kind, name), {})})

    def is_copy(self, repository: str) -> bool:
        """Whether backups come here later than they were taken."""
        return bool(terms_of(repository, self.repositories[repository]).copy_from)

    @property
    def alignment(self) -> Alignment:
        """What is configured, to be put beside the schedule of the data."""
        return Alignment(self.system, self.data_retention, self.policies, self.overrides, self.repositories)

    @classmethod
    def from_options(cls, given: Mapping[str, Any]) -> PrunePlan:
        """Read a module's parameters or a job's options; raises `ConfigurationError`."""
        options.unknown_keys(given, KEYS, _WHERE)
        kind = options.choice(given, "kind", _WHERE, KINDS, None)
        name = options.text(given, "name", _WHERE, None)
        if name is not None and kind is None:
            raise ConfigurationError("name needs kind", _WHERE)
        specs, data = (_specs(given, word, default) for word, default in (("repositories", options.REQUIRED), ("data_repositories", {})))
        policies = _policies(given, specs)
        reports = options.mapping(given, "report_repository", _WHERE, None)
        if reports is not None:
            validate("reports", reports)
        keys = options.texts(given, "verify_keys", _WHERE, ())
        if keys:
            parse_public_keys(keys)
        limit, as_share = _limit(given)
        return cls(
            system=options.text(given, "system", _WHERE),
            repositories={place: specs[place] for place in policies},
            policies=policies,
            overrides=_overrides(given),
            data_retention=parse_rules(given, _WHERE),
            data_repositories={**specs, **data},
            report_repository=reports,
            kind=kind,
            name=name,
            verify_keys=keys,
            read_whole=options.choice(given, "verify", _WHERE, PROOFS, PROOFS[0]) == PROOFS[0],
            max_remove=limit,
            as_share=as_share,
            accept=_accepted(given),
            orphan_age_seconds=options.duration_seconds(given, "orphan_age", _WHERE, 7 * 86400.0, minimum=3600),
            wal=options.boolean(given, "wal", _WHERE, True),
            stall_timeout_seconds=options.duration_seconds(given, "stall_timeout", _WHERE, 120.0, minimum=1),
            lock_dir=options.path(given, "lock_dir", _WHERE),
            cache=cache_in(options.text(given, "cache_dir", _WHERE, None)),
            state=state_in(options.text(given, "state_dir", _WHERE, None)),
        )


def _specs(given: Mapping[str, Any], word: str, default: Any) -> dict[str, Mapping[str, Any]]:
    specs = dict(options.mapping(given, word, _WHERE, default))
    for name, spec in specs.items():
        validate(name, spec)
    return specs


def _policies(given: Mapping[str, Any], specs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """What each repository keeps: its own retention, else the one that was given for all, else that of the objective.

    A repository of which none says anything is left alone.
    """
    targets = options.texts(given, "targets", _WHERE, ())
    for target in targets:
        if target not in specs:
            meant = options.nearest(target, specs)
            hint = f"Did you mean {meant!r}?" if meant else f"Known are: {', '.join(sorted(specs))}."
            raise ConfigurationError(f"targets: {target!r} is no repository", _WHERE, hint)
    common = retention_of(given, _WHERE)
    if not common and given.get("objective"):
        common = dict(objective.resolve(given["objective"], f"{_WHERE}.objective").retention)
    policies = {}
    for name, spec in specs.items():
        if targets and name not in targets:
            continue
        policy = retention_of(spec, f"repository {name!r}") or common
        if policy:
            _require_age_beyond_lock(name, spec, policy)
            policies[name] = dict(policy)
    if not policies:
        what = "no repository has retention" if not targets else "none of the targets has retention"
        raise ConfigurationError(what, _WHERE, "Say in it how many to keep, as in retention: {daily: 7, weekly: 4, monthly: 12}.")
    return policies


def _require_age_beyond_lock(name: str, spec: Mapping[str, Any], policy: Mapping[str, int]) -> None:
    days, limit = spec.get("object_lock_days"), policy.get("max_age")
    if days is not None and limit is not None and int(days) * 86400 > limit:
        raise ConfigurationError(
            f"retention.max_age is shorter than object_lock_days ({days})", f"repository {name!r}", "What is locked cannot go in time."
        )


def _overrides(given: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, int]]:
    items = given.get("overrides") or ()
    if isinstance(items, (str, Mapping)) or not all(isinstance(item, Mapping) for item in items):
        raise ConfigurationError("overrides: expected a list of mappings", _WHERE, "Each with name and retention, and kind.")
    found: dict[tuple[str, str], dict[str, int]] = {}
    for number, item in enumerate(items, 1):
        where = f"{_WHERE}.overrides, item {number}"
        options.unknown_keys(item, ("kind", "name", "retention"), where)
        asset = (options.choice(item, "kind", where, KINDS, "database"), options.text(item, "name", where))
        if asset in found:
            raise ConfigurationError(f"{asset[0]}/{asset[1]} is named twice", where)
        found[asset] = retention_of(item, where)
    return found


def _limit(given: Mapping[str, Any]) -> tuple[float, bool]:
    """`max_remove`: "50%" as a share, or a number of backups."""
    value: str = str(options.text(given, "max_remove", _WHERE, MAX_REMOVE)).strip()
    number = value.removesuffix("%").strip()
    if not number.isdecimal() or not number.isascii() or (value.endswith("%") and int(number) > 100):
        raise ConfigurationError(f"max_remove: expected a share like 50% or a number, found {value[:40]!r}", _WHERE)
    return (int(number) / 100, True) if value.endswith("%") else (float(number), False)


def _accepted(given: Mapping[str, Any]) -> frozenset[str]:
    accepted = options.texts(given, "accept", _WHERE, ())
    options.unknown_keys(dict.fromkeys(accepted), WORDS, f"{_WHERE}.accept")
    return frozenset(accepted)
