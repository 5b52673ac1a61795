# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of `backup_audit`: look at how a system is set up, try what its credential can do, and let the rules judge."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout, objective, options
from ansible_collections.lifeboat.postgres.plugins.module_utils.audit.rules import PURPOSES, Seen, SeenRepository, judge
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill_history import past_reports
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, LifeboatError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.objective import Facts, Objective
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository, validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.harm import Rules
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.place import Place, local_place, overlap, place_of, same_disk
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import check_sources, terms_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import sealer
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration

__all__ = ["KEYS", "run"]

KEYS = (
    "system", "repositories", "key_repositories", "encryption", "objective", "data_directory", "purpose", "try_credentials",
    "report_repository", "retention_schedule",
)  # fmt: skip

_WHERE = "backup_audit"


@dataclass(frozen=True)
class _Asked:
    """The options, read strictly."""

    system: str
    specs: Mapping[str, Any]
    key_specs: Mapping[str, Any]
    encryption: Mapping[str, Any] | None
    objective: Objective | None
    data_directory: Path | None
    purpose: str
    try_credentials: bool
    report_spec: Mapping[str, Any] | None
    max_age_seconds: float | None

    @classmethod
    def from_options(cls, given: Mapping[str, Any]) -> _Asked:
        """Raises `ConfigurationError` that names the option."""
        options.unknown_keys(given, KEYS, _WHERE)
        specs = options.mapping(given, "repositories", _WHERE)
        if not specs:
            raise ConfigurationError("repositories is empty", _WHERE, "Name those that the system's backups go to.")
        key_specs = options.mapping(given, "key_repositories", _WHERE, {})
        report_spec = options.mapping(given, "report_repository", _WHERE, None)
        for name, spec in {**specs, **key_specs, **({} if report_spec is None else {"reports": report_spec})}.items():
            validate(name, spec)
        check_sources(specs)
        encryption = options.mapping(given, "encryption", _WHERE, None)
        if encryption is not None:
            with contextlib.suppress(MissingTool):  # the host has it; here only what was asked for is judged
                sealer(encryption)
        promised = given.get("objective")
        return cls(
            system=options.text(given, "system", _WHERE),
            specs=specs,
            key_specs=key_specs,
            encryption=encryption,
            objective=objective.resolve(promised, f"{_WHERE}: objective") if promised else None,
            data_directory=options.path(given, "data_directory", _WHERE, absolute=True),
            purpose=options.choice(given, "purpose", _WHERE, PURPOSES, PURPOSES[0]),
            try_credentials=options.boolean(given, "try_credentials", _WHERE, True),
            report_spec=report_spec,
            max_age_seconds=options.duration_seconds(given, "retention_schedule", _WHERE, None, minimum=1),
        )


def run(given: Mapping[str, Any], check_mode: bool = False) -> dict[str, Any]:
    """Gives `findings`, `weak` and `unknown` (how many), `good` (nothing weak), `plan` (the objective resolved), `changed` (false).

    A canary is put into each repository and, where that is allowed, removed; nothing else is written, and nothing at all in
    check mode. Raises `ConfigurationError`.
    """
    asked = _Asked.from_options(given)
    places = {name: place_of(name, spec) for name, spec in asked.specs.items()}
    seen = [_look_at(asked, name, places[name], check_mode) for name in asked.specs]
    encryption = asked.encryption or {}
    findings = judge(
        Seen(
            purpose=asked.purpose,
            repositories=seen,
            method=str(encryption.get("method") or "age") if asked.encryption is not None else "",
            recipients=len(encryption.get("recipients") or ()),
            key_repositories=tuple(asked.key_specs),
            shared=tuple(_shared(asked, places)),
            objective=asked.objective,
            facts=_facts(asked, seen),
        )
    )
    weak = [finding for finding in findings if finding.verdict == "weak"]
    return {
        "changed": False,
        "good": not weak,
        "weak": len(weak),
        "unknown": len([finding for finding in findings if finding.verdict == "unknown"]),
        "findings": [asdict(finding) for finding in findings],
        "plan": None if asked.objective is None else objective.to_document(asked.objective),
        "table": list(_table(asked)),
    }


def _look_at(asked: _Asked, name: str, place: Place, check_mode: bool) -> SeenRepository:
    spec = asked.specs[name]
    local = place.kind == "posix" and not place.host
    on_disk = same_disk(place, local_place(str(asked.data_directory))) if asked.data_directory is not None and local else None
    known = {"name": name, "type": spec["type"], "local": local, "on_data_disk": on_disk}
    tries = asked.try_credentials and not check_mode
    try:
        with open_repository(name, spec, read_only=not tries or asked.purpose == "read") as repository:
            return SeenRepository(rules=repository.rules(), **known, **_tried(asked, repository, tries))
    except LifeboatError as error:
        return SeenRepository(problem=str(error), **known)


def _tried(asked: _Asked, repository: Repository, tries: bool) -> dict[str, Any]:
    prefix = f"{layout.encode_name(asked.system)}/probe"
    if not tries:
        next(repository.list(layout.manifests_prefix(asked.system)), None)
        return {}
    if asked.purpose == "read":
        return {"can_write": repository.can_write(prefix)}
    return {"harms": repository.try_harm(prefix)}


def _shared(asked: _Asked, places: Mapping[str, Place]) -> Iterator[str]:
    for key_name, spec in asked.key_specs.items():
        vault = place_of(key_name, spec)
        for name, place in places.items():
            reason = overlap(vault, place)
            if reason:
                yield f"{key_name!r} and {name!r}: {reason}"


def _facts(asked: _Asked, seen: list[SeenRepository]) -> Facts:
    """What is known beside the objective, from the repositories' own rules and from the last drill."""
    rules = {place.name: place.rules for place in seen if place.rules is not None}
    seconds, age = _last_drill(asked)
    return Facts(
        last_drill_seconds=seconds,
        last_drill_age_seconds=age,
        retention={name: terms_of(name, spec).retention for name, spec in asked.specs.items()},
        lifecycle_seconds={name: rule.expires for name, rule in rules.items() if rule.expires is not None},
        lock_seconds=dict(_locks(asked, rules)),
        max_age_seconds=asked.max_age_seconds,
    )


def _locks(asked: _Asked, rules: Mapping[str, Rules]) -> Iterator[tuple[str, float]]:
    """For how long what is written stays locked: what writers ask for goes before what the bucket does by itself."""
    for name, rule in rules.items():
        days = asked.specs[name].get("object_lock_days")
        seconds = int(days) * 86400.0 if days is not None else rule.locks
        if seconds is not None:
            yield name, seconds


def _last_drill(asked: _Asked) -> tuple[float | None, float | None]:
    """How long the slowest of the last drills of each asset took, and how old the oldest of them is."""
    if asked.report_spec is None:
        return None, None
    took: list[float] = []
    ages: list[float] = []
    with contextlib.suppress(LifeboatError), open_repository("reports", asked.report_spec, read_only=True) as reports:
        keys = (layout.parse_report_key(info.key) for info in reports.list(layout.reports_prefix(asked.system)))
        for kind, name in sorted({(parsed[0].kind, parsed[0].name) for parsed in keys if parsed is not None}):
            for report in past_reports(reports, asked.system, kind, name, 1):
                ages.append((now() - report.started_at).total_seconds())
                if report.verified_seconds is not None:
                    took.append(report.verified_seconds)
    return max(took, default=None), max(ages, default=None)


def _table(asked: _Asked) -> Iterator[str]:
    """The resolved plan in lines, for people."""
    found = asked.objective
    if found is None:
        return
    rows = [
        ("tier", found.tier or "of its own"),
        ("RPO promised", _said(found.rpo_seconds)),
        ("RTO promised", _said(found.rto_seconds)),
        ("dump", f"every {duration(found.dump_every_seconds)}, late after {duration(found.freshness_seconds)}"),
        ("base backup", _every(found.base_every_seconds)),
        ("incremental", _every(found.incremental_every_seconds)),
        ("WAL archived", f"after {_said(found.archive_timeout_seconds)} at the latest" if found.wal else "no"),
        ("warm standby", "yes" if found.standby else "no"),
        ("drill", f"every {duration(found.drill_every_seconds)}"),
        ("verification", f"every {duration(found.verify_every_seconds)}"),
    ]
    for name, spec in asked.specs.items():
        kept = terms_of(name, spec).retention or found.retention
        rows.append((f"kept in {name}", ", ".join(f"{word} {number}" for word, number in kept.items()) or "everything"))
    for title, text in rows:
        yield f"{title:20}  {text}"


def _said(seconds: float | None) -> str:
    return "nothing" if seconds is None else duration(seconds)


def _every(seconds: float | None) -> str:
    return "none" if seconds is None else f"every {duration(seconds)}"
