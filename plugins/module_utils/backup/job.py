# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a logical backup was asked to be: options read strictly, before anything runs.

The same words come from a module's parameters and from a job file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.guards import Limits
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.reach import Entered
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.writer import DEFAULT_VOLUME_BYTES
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks import factory as check_factory
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import Check
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.digest_plan import DigestPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.inside import Inside
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.login import read_login
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository, validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import check_sources, written_directly
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import Sealer
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import sealer
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import check_signing_key

__all__ = ["LogicalJob", "read_queries"]

_WHERE = "pg_logical_backup"


@dataclass(frozen=True)
class LogicalJob:
    """One database to be backed up. Durations are seconds, sizes bytes; None means the default of who uses it."""

    system: str
    name: str
    login: Login
    repositories: Mapping[str, Mapping[str, Any]]
    sealer: Sealer
    checks: Sequence[Check] = ()
    queries: Mapping[str, str] = field(default_factory=dict)
    evidence_budget_seconds: float = 300.0
    bin_dir: Path | None = None
    compression_level: int = 3
    volume_bytes: int = DEFAULT_VOLUME_BYTES
    stall_timeout_seconds: float = 120.0
    lock_timeout_seconds: float = 60.0
    max_age_seconds: float | None = None
    lock_dir: Path | None = None
    signing_key: Path | None = None
    application_version: str = ""
    format: str = "auto"
    jobs: int = 2
    staging_dir: Path | None = None
    statistics: bool = False
    limits: Limits = field(default_factory=Limits)
    accept_deviation: bool = False
    snapshot_budget_seconds: float | None = None
    xmin_age_limit: int | None = None
    digests: DigestPlan | None = None
    exec: Inside | None = None
    inside: Entered | None = None

    @classmethod
    def from_options(cls, given: Mapping[str, Any], default_db: str = "") -> LogicalJob:
        """Read a module's parameters; raises `ConfigurationError`, `SealError`, `MissingTool`."""
        login = read_login(given, default_db=default_db)
        repositories = options.mapping(given, "repositories", _WHERE)
        if not repositories:
            raise ConfigurationError("repositories is empty", _WHERE, "Name one at least, better two in different places.")
        for name, spec in repositories.items():
            validate(name, spec)
        check_sources(repositories)
        # What has copy_from is filled by backup_copy; at least one has not, or its copies would have no beginning.
        repositories = written_directly(repositories)
        signing_key = _path(given, "signing_key")
        if signing_key is not None:
            check_signing_key(str(signing_key))
        within = options.mapping(given, "exec", _WHERE, None)
        inside = None if not within else Inside.from_options(within)
        return cls(
            system=options.text(given, "system", _WHERE),
            name=options.text(given, "name", _WHERE, login.dbname),
            login=login,
            repositories=repositories,
            sealer=sealer(options.mapping(given, "encryption", _WHERE)),
            checks=check_factory.parse(given.get("checks") or []),
            queries=read_queries(given.get("evidence_queries") or []),
            evidence_budget_seconds=options.duration_seconds(given, "evidence_budget", _WHERE, 300.0),
            bin_dir=_path(given, "bin_dir"),
            compression_level=options.integer(given, "compression_level", _WHERE, 3, minimum=1, maximum=19),
            volume_bytes=options.size_bytes(given, "volume_size", _WHERE, DEFAULT_VOLUME_BYTES, minimum=64 * 1024),
            stall_timeout_seconds=options.duration_seconds(given, "stall_timeout", _WHERE, 120.0, minimum=1),
            lock_timeout_seconds=options.duration_seconds(given, "lock_timeout", _WHERE, 60.0, minimum=1),
            max_age_seconds=options.duration_seconds(given, "max_age", _WHERE, None),
            lock_dir=_path(given, "lock_dir"),
            signing_key=signing_key,
            application_version=options.text(given, "application_version", _WHERE, ""),
            format=_format(given, inside),
            jobs=options.integer(given, "jobs", _WHERE, 2, minimum=1, maximum=64),
            staging_dir=_absolute(given, "staging_dir"),
            statistics=options.boolean(given, "statistics", _WHERE, False),
            exec=inside,
            limits=Limits.from_options(options.mapping(given, "limits", _WHERE, None)),
            accept_deviation=options.boolean(given, "accept_deviation", _WHERE, False),
            snapshot_budget_seconds=options.duration_seconds(given, "snapshot_budget", _WHERE, None, minimum=1),
            xmin_age_limit=options.integer(given, "xmin_age_limit", _WHERE, None, minimum=1),
            digests=DigestPlan.from_options(options.mapping(given, "digests", _WHERE, None)),
        )

    @property
    def own_keys(self) -> tuple[str, ...]:
        """The public half of `signing_key`, as a line, or nothing."""
        return () if self.signing_key is None else (check_signing_key(str(self.signing_key)),)

    def open_repositories(self) -> list[Repository]:
        """The repositories, opened for writing in the order they were given."""
        opened: list[Repository] = []
        try:
            for name, spec in self.repositories.items():
                opened.append(open_repository(name, spec))
        except BaseException:
            for repository in opened:
                repository.close()
            raise
        return opened


def _absolute(given: Mapping[str, Any], key: str) -> Path | None:
    path = _path(given, key)
    if path is not None and not path.is_absolute():
        raise ConfigurationError(f"{key}: expected an absolute path, found {str(path)!r}", _WHERE)
    return path


def _format(given: Mapping[str, Any], inside: Inside | None) -> str:
    asked: str = options.choice(given, "format", _WHERE, ("auto", "custom", "directory"), "auto")
    if inside is None:
        return asked
    if asked == "directory":
        raise ConfigurationError("format directory needs pg_dump on this host", "exec", "With exec a dump is streamed: leave out format.")
    return "custom"


def _path(given: Mapping[str, Any], key: str) -> Path | None:
    value = options.text(given, key, _WHERE, None)
    return None if value is None else Path(value).expanduser()


def read_queries(items: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Named queries of the option `evidence_queries`; raises `ConfigurationError`."""
    queries: dict[str, str] = {}
    for number, item in enumerate(items, 1):
        where = f"evidence_queries, item {number}"
        options.unknown_keys(item, ("name", "query"), where)
        name = options.text(item, "name", where)
        if name in queries:
            raise ConfigurationError(f"two evidence queries are called {name!r}", where, "Give each a name of its own.")
        queries[name] = options.text(item, "query", where)
    return queries
