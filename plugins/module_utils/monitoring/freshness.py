# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is everything as fresh as it was promised? Asked of the repositories, from anywhere but the database host.

A backup that is not taken cannot complain, nor can a host that is gone: so what is missing has to be noticed from outside, with
a credential that only reads. Every asset that was ever backed up is expected again, until it is named in `ignore`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import objective, options
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill_history import past_reports
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, NotFresh, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.found_backup import Backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import KINDS, BackupRef, moment_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest_cache import cache_in
from ansible_collections.lifeboat.postgres.plugins.module_utils.monitoring.judge import (
    Expected,
    Finding,
    Seen,
    judge,
    judge_drill,
    judge_wal,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.monitoring.prometheus import exposition, write_textfile
from ansible_collections.lifeboat.postgres.plugins.module_utils.objective import Objective
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository, validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import check_sources, terms_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment, moment
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.info import archive_info
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

__all__ = ["KEYS", "run"]

KEYS = (
    "system",
    "repositories",
    "report_repository",
    "objective",
    "assets",
    "ignore",
    "wal_max_age",
    "verify_keys",
    "cache_dir",
    "textfile",
)

_WHERE = "freshness"
_ASSET_KEYS = ("kind", "name", "max_age", "min_bytes")
_DAY = 86400.0
_DRILLED = ("database", "base")
_LAST_REPORTS = 12
"""How far back a good drill is looked for behind bad ones."""


@dataclass(frozen=True)
class _Asked:
    """The options, read strictly. `extra_seconds`: by how much what is copied into a repository may be older, by its name."""

    system: str
    specs: Mapping[str, Any]
    report_spec: Mapping[str, Any] | None
    objective: Objective
    promised: bool
    assets: Mapping[str, Expected]
    ignore: frozenset[str]
    wal_limit_seconds: float | None
    verify_keys: tuple[str, ...]
    cache_dir: str | None
    textfile: Path | None
    extra_seconds: Mapping[str, float]

    @classmethod
    def from_options(cls, given: Mapping[str, Any]) -> _Asked:
        """Raises `ConfigurationError` that names the option."""
        options.unknown_keys(given, KEYS, _WHERE)
        specs = options.mapping(given, "repositories", _WHERE)
        if not specs:
            raise ConfigurationError("repositories is empty", _WHERE, "Name those whose backups should be fresh.")
        report_spec = options.mapping(given, "report_repository", _WHERE, None)
        for name, spec in {**specs, **({} if report_spec is None else {"reports": report_spec})}.items():
            validate(name, spec)
        check_sources(specs)
        promised = objective.resolve(given.get("objective"), f"{_WHERE}: objective")
        limit = options.duration_seconds(given, "wal_max_age", _WHERE, None, minimum=1)
        return cls(
            system=options.text(given, "system", _WHERE),
            specs=specs,
            report_spec=report_spec,
            objective=promised,
            promised=bool(given.get("objective")),
            assets=_assets(given),
            ignore=frozenset(options.texts(given, "ignore", _WHERE, ())),
            wal_limit_seconds=promised.rpo_seconds if limit is None and promised.wal else limit,
            verify_keys=tuple(options.texts(given, "verify_keys", _WHERE, ())),
            cache_dir=options.text(given, "cache_dir", _WHERE, None),
            textfile=options.path(given, "textfile", _WHERE, absolute=True),
            extra_seconds={name: terms_of(name, spec).cadence.longest_seconds for name, spec in specs.items()},
        )

    def expected(self, asset: str) -> Expected:
        """What was promised of an asset: by its own words, else by the objective."""
        if asset in self.assets:
            return self.assets[asset]
        kind, _slash, name = asset.partition("/")
        return Expected(kind, name, self._limit(kind))

    def _limit(self, kind: str) -> float | None:
        if not self.promised:
            return None
        if kind in ("database", "globals"):
            return self.objective.freshness_seconds
        every = self.objective.incremental_every_seconds or self.objective.base_every_seconds
        if kind != "base" or every is None:
            return None
        return every + max(self.objective.freshness_seconds - self.objective.dump_every_seconds, 0.0)


def run(given: Mapping[str, Any]) -> dict[str, Any]:
    """Judge, write the metrics, and say what was found.

    Gives `good`, `findings`, `problems` (sentences), `unreachable`, `changed` (always false). Raises `NotFresh` with all of it
    in its `result` when anything is not as it was promised, `ConfigurationError`.
    """
    asked = _Asked.from_options(given)
    at = now()
    findings: list[Finding] = []
    reports: dict[str, list[DrillReport]] = {}
    with contextlib.ExitStack() as stack:
        repositories = [stack.enter_context(open_repository(name, spec, read_only=True)) for name, spec in asked.specs.items()]
        try:
            catalogue: Catalogue | None = Catalogue.load(
                repositories, asked.system, verify_keys=asked.verify_keys, cache=cache_in(asked.cache_dir)
            )
            unreachable = dict(catalogue.unreachable if catalogue else {})
        except RepositoryError as error:
            catalogue, unreachable = None, {repository.name: str(error) for repository in repositories}
        assets = _all_assets(asked, catalogue)
        if catalogue is not None:
            findings += _backups(asked, catalogue, assets, [place.name for place in repositories if place.name not in unreachable], at)
            findings += _log(asked, catalogue, set(unreachable), at)
        if asked.report_spec is not None:
            reader = stack.enter_context(open_repository("reports", asked.report_spec, read_only=True))
            try:
                reports = _reports(reader, asked.system, assets)
                findings += _drills(asked, reports, at)
            except RepositoryError as error:
                unreachable[reader.name] = str(error)
    reachable = {name: name not in unreachable for name in [*asked.specs, *(["reports"] if asked.report_spec is not None else [])]}
    if asked.textfile is not None:
        write_textfile(asked.textfile, exposition(asked.system, findings, reachable, _measured(reports), at))
    return _answer(asked.system, findings, unreachable)


def _answer(system: str, findings: Sequence[Finding], unreachable: Mapping[str, str]) -> dict[str, Any]:
    problems = [finding.words() for finding in findings if not finding.good]
    problems += [f"repository {name!r} cannot be listed: {reason}" for name, reason in unreachable.items()]
    result = {
        "changed": False,
        "good": not problems,
        "findings": [_document(finding) for finding in findings],
        "problems": problems,
        "unreachable": dict(unreachable),
    }
    if problems:
        error = NotFresh(
            f"{many(len(problems), 'thing')} not as promised: {'; '.join(problems[:3])}{' …' if len(problems) > 3 else ''}",
            f"system {system!r}",
            "lifeboat status on the database host says what its jobs did; what was retired is named in ignore.",
        )
        error.result = result
        raise error
    return result


def _document(finding: Finding) -> dict[str, Any]:
    return {
        "what": finding.what,
        "asset": finding.asset,
        "repository": finding.repository,
        "state": finding.state,
        "reason": finding.reason,
        "id": finding.id,
        "moment": None if finding.moment is None else format_moment(finding.moment),
        "limit_seconds": finding.limit_seconds,
        "size_bytes": finding.size_bytes,
    }


def _assets(given: Mapping[str, Any]) -> dict[str, Expected]:
    found: dict[str, Expected] = {}
    for number, item in enumerate(given.get("assets") or (), 1):
        where = f"{_WHERE}: asset {number}"
        options.mapping({"asset": item}, "asset", where)
        options.unknown_keys(item, _ASSET_KEYS, where)
        expected = Expected(
            options.choice(item, "kind", where, KINDS),
            options.text(item, "name", where),
            options.duration_seconds(item, "max_age", where, minimum=1),
            options.size_bytes(item, "min_bytes", where, 0),
        )
        found[expected.asset] = expected
    return found


def _all_assets(asked: _Asked, catalogue: Catalogue | None) -> list[str]:
    """What was named, and what was ever backed up; nothing that is ignored."""
    seen = {f"{ref.kind}/{ref.name}" for ref in catalogue.refs} if catalogue else set()
    return sorted((seen | set(asked.assets)) - asked.ignore)


def _backups(asked: _Asked, catalogue: Catalogue, assets: Sequence[str], places: Sequence[str], at: dt.datetime) -> Iterator[Finding]:
    by_asset: dict[str, list[BackupRef]] = {}
    for ref in catalogue.refs:
        by_asset.setdefault(f"{ref.kind}/{ref.name}", []).append(ref)
    for asset in assets:
        for place in places:
            expected = asked.expected(asset)
            if expected.limit_seconds is not None:
                limit = expected.limit_seconds + asked.extra_seconds[place]
                expected = Expected(expected.kind, expected.name, limit, expected.min_bytes)
            newest, newest_good = _newest(catalogue, by_asset.get(asset, ()), place, [name for name in asked.specs if name != place])
            yield judge(expected, place, newest, newest_good, at)


def _newest(catalogue: Catalogue, refs: Sequence[BackupRef], place: str, others: Sequence[str]) -> tuple[Seen | None, Seen | None]:
    """The newest backup of an asset in a repository and the newest good one there; reads no more manifests than it needs."""
    newest: Seen | None = None
    for ref in refs:
        if place not in catalogue.places(ref):
            continue
        found = catalogue.readable([ref])
        seen = (
            _seen(found[0], place, others)
            if found
            else Seen(ref.backup_id, moment_of(ref.backup_id), problem="its manifest cannot be read")
        )
        newest = newest or seen
        if not seen.problem:
            return newest, seen
    return newest, None


def _seen(backup: Backup, place: str, others: Sequence[str]) -> Seen:
    """What is wrong with it in another repository is that one's finding."""
    here = [problem for problem in backup.problems if not problem.startswith(tuple(f"{other}: " for other in others))]
    problem = "; ".join(problem.removeprefix(f"{place}: ") for problem in here) or (
        "" if place in backup.repositories else "its manifest cannot be read here"
    )
    return Seen(backup.ref.backup_id, moment(backup.summary.snapshot_at), backup.summary.size_bytes, problem)


def _log(asked: _Asked, catalogue: Catalogue, unreachable: set[str], at: dt.datetime) -> Iterator[Finding]:
    """The archived log, where one was promised; nothing is asked of the server."""
    direct = {name: spec for name, spec in asked.specs.items() if not terms_of(name, spec).copy_from and name not in unreachable}
    if asked.wal_limit_seconds is None or not direct:
        return
    answer = archive_info(
        {"system": asked.system, "repositories": direct, "verify_keys": list(asked.verify_keys), "cache_dir": asked.cache_dir}
    )
    for name, archive in answer["archives"].items():
        stored, problems = archive["newest"], archive["problems"]
        newest = None if stored is None else Seen(stored["name"], moment(stored["stored_at"]), problem="; ".join(problems))
        limit = None if terms_of(name, asked.specs[name]).optional else asked.wal_limit_seconds
        yield judge_wal(name, newest, len(problems), limit, at)
    for name, reason in answer["unreachable"].items():
        yield Finding("log", "wal", name, "unknown", f"it cannot be listed: {reason}")


def _reports(reader: Repository, system: str, assets: Sequence[str]) -> dict[str, list[DrillReport]]:
    drilled = [(asset, *asset.split("/", 1)) for asset in assets if asset.partition("/")[0] in _DRILLED]
    return {asset: past_reports(reader, system, kind, name, _LAST_REPORTS) for asset, kind, name in drilled}


def _drills(asked: _Asked, reports: Mapping[str, Sequence[DrillReport]], at: dt.datetime) -> Iterator[Finding]:
    """A day of patience: a drill that begins at the same hour each month is now and then late by what it takes."""
    limit = asked.objective.drill_every_seconds + _DAY if asked.promised else None
    for asset, history in reports.items():
        seen = [Seen(report.backup_id, report.started_at, problem="" if report.good else _bad(report)) for report in history]
        good = [one for one in seen if not one.problem]
        yield judge_drill(asset, seen[-1] if seen else None, good[-1] if good else None, limit, at)


def _bad(report: DrillReport) -> str:
    if report.verdict != "passed":
        return f"{'was unverified' if report.verdict == 'unverified' else 'failed'}: {report.reason}"
    return "passed, and took longer or lost more than was promised"


def _measured(reports: Mapping[str, Sequence[DrillReport]]) -> dict[str, dict[str, float]]:
    measured: dict[str, dict[str, float]] = {}
    for asset, history in reports.items():
        for report in history[-1:]:
            figures = {"rto": report.verified_seconds, "rpo": report.rpo_seconds}
            measured[asset] = {word: figure for word, figure in figures.items() if figure is not None}
    return measured
