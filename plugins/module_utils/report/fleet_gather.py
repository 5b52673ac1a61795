# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of `fleet_report_info`: look at everything of one system with a credential that reads, and put it into one document.

What cannot be looked at is said in it and keeps nothing else from being there. Nothing is opened: no identity is needed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import objective, options
from ansible_collections.lifeboat.postgres.plugins.module_utils.audit.run import run as audit
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill_history import past_reports
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, LifeboatError, NotFresh
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest_cache import cache_in
from ansible_collections.lifeboat.postgres.plugins.module_utils.monitoring.freshness import KEYS as FRESHNESS_KEYS
from ansible_collections.lifeboat.postgres.plugins.module_utils.monitoring.freshness import run as judge_freshness
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet import (
    Archive,
    Asset,
    Audited,
    Drills,
    Judged,
    Key,
    Measured,
    Place,
    Promised,
    System,
    Window,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_backups import assets_of, keys_of, named_keys, places_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository, validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import check_sources, written_directly
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import VERSION, host_name, now
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import moment
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.info import archive_info

__all__ = ["KEYS", "gather"]

_FOR_FRESHNESS = tuple(key for key in FRESHNESS_KEYS if key != "textfile")
_FOR_AUDIT = ("system", "repositories", "key_repositories", "encryption", "objective", "report_repository", "retention_schedule")
KEYS = tuple(dict.fromkeys((*_FOR_FRESHNESS, *_FOR_AUDIT, "audit", "try_credentials")))
HISTORY = 36
"""Drills of an asset that are drawn: three years of monthly ones."""

_WHERE = "fleet_report_info"
_DRILLED = ("database", "base")


@dataclass(frozen=True)
class _Asked:
    """The options, read strictly; what only freshness or the audit need is read there."""

    system: str
    specs: Mapping[str, Any]
    report_spec: Mapping[str, Any] | None
    key_specs: Mapping[str, Any]
    promised: Promised
    ignore: frozenset[str]
    verify_keys: tuple[str, ...]
    cache_dir: str | None
    audit: bool

    @classmethod
    def from_options(cls, given: Mapping[str, Any]) -> _Asked:
        """Raises `ConfigurationError` that names the option."""
        options.unknown_keys(given, KEYS, _WHERE)
        specs = options.mapping(given, "repositories", _WHERE)
        if not specs:
            raise ConfigurationError("repositories is empty", _WHERE, "Name those that the system's backups go to.")
        report_spec = options.mapping(given, "report_repository", _WHERE, None) or None
        key_specs = options.mapping(given, "key_repositories", _WHERE, {})
        for name, spec in {**specs, **key_specs, **({} if report_spec is None else {"reports": report_spec})}.items():
            validate(name, spec)
        check_sources(specs)
        options.boolean(given, "try_credentials", _WHERE, False)
        options.duration_seconds(given, "retention_schedule", _WHERE, None, minimum=1)
        options.mapping(given, "encryption", _WHERE, None)
        return cls(
            system=options.text(given, "system", _WHERE),
            specs=specs,
            report_spec=report_spec,
            key_specs=key_specs,
            promised=_promised(given.get("objective")),
            ignore=frozenset(options.texts(given, "ignore", _WHERE, ())),
            verify_keys=tuple(options.texts(given, "verify_keys", _WHERE, ())),
            cache_dir=options.text(given, "cache_dir", _WHERE, None),
            audit=options.boolean(given, "audit", _WHERE, True),
        )


def _promised(given: Any) -> Promised:
    found = objective.resolve(given, f"{_WHERE}: objective")
    if not given:
        return Promised()
    return Promised(found.tier, found.rpo_seconds, found.rto_seconds, found.freshness_seconds, found.drill_every_seconds, found.wal)


def gather(given: Mapping[str, Any], check_mode: bool = False) -> dict[str, Any]:
    """The module's result: `part`, the system's part of the fleet's document. Raises `ConfigurationError`, `MissingTool`."""
    asked = _Asked.from_options(given)
    looked_at = now()
    unknown: list[str] = []
    freshness = tuple(_freshness(asked, given, unknown))
    audited = tuple(_audit(asked, given, check_mode, unknown))
    with contextlib.ExitStack() as stack:
        repositories = [stack.enter_context(open_repository(name, spec, read_only=True)) for name, spec in asked.specs.items()]
        catalogue: Catalogue | None = None
        places: tuple[Place, ...] = ()
        assets: tuple[Asset, ...] = ()
        needed: Mapping[str, str] = {}
        try:
            catalogue = Catalogue.load(repositories, asked.system, verify_keys=asked.verify_keys, cache=cache_in(asked.cache_dir))
        except ConfigurationError:
            raise
        except LifeboatError as error:
            unknown.append(f"nothing is known about backups: {error}")
        if catalogue is not None:
            places, assets = tuple(places_of(catalogue, asked.specs)), tuple(assets_of(catalogue, asked.specs, asked.ignore))
            needed = named_keys(catalogue, asked.specs)
        unreachable = set(asked.specs) if catalogue is None else set(catalogue.unreachable)
    part = System(
        system=asked.system,
        host=host_name(),
        looked_at=looked_at,
        lifeboat_version=VERSION,
        objective=asked.promised,
        places=places,
        assets=assets,
        archives=tuple(_archives(asked, assets, unreachable, unknown)),
        drills=tuple(_drills(asked, assets, unknown)),
        protected_keys=tuple(_keys(asked, needed, unknown)),
        audit=audited,
        freshness=freshness,
        unknown=tuple(unknown),
    )
    return {"part": part.to_document()}


def _chosen(given: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: given[key] for key in keys if given.get(key) is not None}


def _freshness(asked: _Asked, given: Mapping[str, Any], unknown: list[str]) -> Iterator[Judged]:
    """Backups and the log; what is unreachable is told of by the places themselves."""
    chosen = {key: value for key, value in _chosen(given, _FOR_FRESHNESS).items() if value != {}}
    try:
        result = judge_freshness(chosen)
    except NotFresh as error:
        result = error.result
    except ConfigurationError:
        raise
    except LifeboatError as error:
        unknown.append(f"freshness could not be judged: {error}")
        return
    for document in result["findings"]:
        yield Judged(**{**document, "moment": None if document["moment"] is None else moment(document["moment"])})


def _audit(asked: _Asked, given: Mapping[str, Any], check_mode: bool, unknown: list[str]) -> Iterator[Audited]:
    """What is set up unwisely, as far as this host and its credential can see; it is one that reads."""
    if not asked.audit:
        return
    tries = options.boolean(given, "try_credentials", _WHERE, False)
    try:
        result = audit({**_chosen(given, _FOR_AUDIT), "purpose": "read", "try_credentials": tries}, check_mode)
    except LifeboatError as error:
        unknown.append(f"no audit could be made: {error}")
        return
    for document in result["findings"]:
        if document["rule"] != "reachable":  # the places say so themselves
            yield Audited(**document)


def _archives(asked: _Asked, assets: Sequence[Asset], unreachable: set[str], unknown: list[str]) -> Iterator[Archive]:
    """The log of every repository that it is archived in; nothing where none was promised and none is there."""
    direct = {name: spec for name, spec in written_directly(asked.specs).items() if name not in unreachable}
    if not direct or not (asked.promised.wal or any(asset.kind == "base" for asset in assets)):
        return
    asking = {"system": asked.system, "repositories": direct, "verify_keys": list(asked.verify_keys), "cache_dir": asked.cache_dir}
    try:
        answer = archive_info(asking)
    except LifeboatError as error:
        unknown.append(f"nothing is known about the archived log: {error}")
        return
    for name, reason in answer["unreachable"].items():
        unknown.append(f"the log in {name} cannot be listed: {reason}")
    for name, found in answer["archives"].items():
        if found["files"] or asked.promised.wal:
            newest = found["newest"]
            spans = tuple(
                Window(
                    moment(span["from"]),
                    _moment(span["until_at_most"]),
                    span["timeline"] or 0,
                    span["base_backups"],
                    span["current"],
                )
                for span in found["windows"]
            )
            yield Archive(
                name,
                found["segments"],
                found["size_bytes"],
                None if newest is None else moment(newest["stored_at"]),
                spans,
                tuple(found["problems"]),
            )


def _drills(asked: _Asked, assets: Sequence[Asset], unknown: list[str]) -> Iterator[Drills]:
    drilled = [asset for asset in assets if asset.kind in _DRILLED]
    if asked.report_spec is None:
        unknown.append("no report repository was given, so nothing is known about drills")
        return
    try:
        with open_repository("reports", asked.report_spec, read_only=True) as reader:
            for asset in drilled:
                history = past_reports(reader, asked.system, asset.kind, asset.name, HISTORY)
                yield Drills(asset.kind, asset.name, history[-1] if history else None, tuple(map(_measured, history)))
    except ConfigurationError:
        raise
    except LifeboatError as error:
        unknown.append(f"nothing is known about drills: {error}")


def _measured(report: DrillReport) -> Measured:
    promised = report.objective
    return Measured(
        report.started_at,
        report.verdict,
        report.good,
        report.verified_seconds,
        report.rpo_seconds,
        promised.rto_seconds,
        promised.rpo_seconds,
    )


def _keys(asked: _Asked, needed: Mapping[str, str], unknown: list[str]) -> Iterator[Key]:
    """What the vaults hold, against what the newest backups say they need."""
    if not asked.key_specs:
        for name, fingerprint in sorted(needed.items()):
            yield Key(name, "", "", "", fingerprint, "")
        return
    for name, spec in asked.key_specs.items():
        try:
            with open_repository(name, spec, read_only=True) as vault:
                yield from keys_of(vault, asked.system, asked.verify_keys, needed)
        except ConfigurationError:
            raise
        except LifeboatError as error:
            unknown.append(f"vault {name} cannot be looked into: {error}")


def _moment(value: str | None) -> dt.datetime | None:
    return None if value is None else moment(value)
