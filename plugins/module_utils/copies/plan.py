# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was asked to be copied from where to where: options read strictly, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import KINDS, moment_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import Cadence, check_sources, terms_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import parse_public_keys

__all__ = ["KEYS", "CopyPlan", "Route"]

KEYS = (
    "system", "kind", "name", "backup_id", "repositories", "targets", "source", "target", "verify_keys", "parallel", "stall_timeout",
    "lock_dir",
)  # fmt: skip

_WHERE = "backup_copy"


@dataclass(frozen=True)
class Route:
    """From one repository to another, by their names, and how often."""

    source: str
    target: str
    cadence: Cadence


@dataclass(frozen=True)
class CopyPlan:
    """`routes` are in an order in which a copy of a copy finds what was copied before it. None means: not narrowed."""

    system: str
    repositories: Mapping[str, Mapping[str, Any]]
    routes: Sequence[Route]
    kind: str | None = None
    name: str | None = None
    backup_id: str | None = None
    verify_keys: Sequence[str] = ()
    parallel: int = 2
    stall_timeout_seconds: float = 120.0
    lock_dir: Path | None = None

    @classmethod
    def from_options(cls, given: Mapping[str, Any]) -> CopyPlan:
        """Read a module's parameters; raises `ConfigurationError`, `UnsafeName` for what is no backup id."""
        options.unknown_keys(given, KEYS, _WHERE)
        specs = _repositories(given)
        name = options.text(given, "name", _WHERE, None)
        kind = options.choice(given, "kind", _WHERE, KINDS, None)
        backup_id = options.text(given, "backup_id", _WHERE, None)
        keys = options.texts(given, "verify_keys", _WHERE, ())
        if name is not None and kind is None:
            raise ConfigurationError("name needs kind", _WHERE)
        if backup_id is not None:
            moment_of(backup_id)
        if keys:
            parse_public_keys(keys)
        return cls(
            system=options.text(given, "system", _WHERE),
            repositories=specs,
            routes=_routes(specs, options.texts(given, "targets", _WHERE, ())),
            kind=kind,
            name=name,
            backup_id=backup_id,
            verify_keys=keys,
            parallel=options.integer(given, "parallel", _WHERE, 2, minimum=1, maximum=16),
            stall_timeout_seconds=options.duration_seconds(given, "stall_timeout", _WHERE, 120.0, minimum=1),
            lock_dir=options.path(given, "lock_dir", _WHERE),
        )


def _repositories(given: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """All repositories by name, those of `source` and `target` too; checked."""
    specs = options.mapping(given, "repositories", _WHERE, None)
    pair = {word: options.mapping(given, word, _WHERE, None) for word in ("source", "target")}
    if specs is not None and any(spec is not None for spec in pair.values()):
        raise ConfigurationError("repositories and source with target say the same in two ways", _WHERE, "Give one of the two.")
    if specs is None:
        specs = {word: options.mapping(given, word, _WHERE) for word in pair}
        for word, spec in specs.items():
            if spec.get("copy_from") is not None:
                raise ConfigurationError(f"copy_from has no meaning in {word}", _WHERE, "source and target say it already.")
        specs["target"] = {**specs["target"], "copy_from": "source"}
    for name, spec in specs.items():
        validate(name, spec)
    check_sources(specs)
    return dict(specs)


def _routes(specs: Mapping[str, Mapping[str, Any]], chosen: Sequence[str]) -> list[Route]:
    terms = {name: terms_of(name, spec) for name, spec in specs.items()}
    routes = {name: Route(found.copy_from, name, found.cadence) for name, found in terms.items() if found.copy_from}
    if not routes:
        raise ConfigurationError("no repository has copy_from", _WHERE, "Name in copy_from of one where its copies come from.")
    for name in chosen:
        if name not in routes:
            meant = options.nearest(name, routes)
            hint = f"Did you mean {meant!r}?" if meant else f"Those with copy_from are: {', '.join(sorted(routes))}."
            raise ConfigurationError(f"targets: {name!r} is no repository with copy_from", _WHERE, hint)

    def steps(name: str) -> int:
        return 1 + steps(routes[name].source) if name in routes else 0

    return sorted((route for name, route in routes.items() if name in chosen or not chosen), key=lambda route: steps(route.target))
