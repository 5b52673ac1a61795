# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a base backup was asked to be: options read strictly, before anything runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job_common import Job, common_fields
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.login import read_login
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import terms_of

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import Check
    from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.digest_plan import DigestPlan

__all__ = ["ARCHIVED", "FULL", "INCLUDED", "INCREMENTAL", "KIND", "EvidenceWanted", "PhysicalJob", "default_state_dir"]

KIND = "base"
FULL, INCREMENTAL = "full", "incremental"
ARCHIVED, INCLUDED = "archived", "included"
NAME = "cluster"
"""One server's base backups are one asset of the system; the server's identifier in the manifest says whose."""

_WHERE = "pg_base_backup"
_LEAST_RATE, _MOST_RATE = 32 * 1024, 1024**3
"""What the server takes as a rate, in bytes a second."""


@dataclass(frozen=True)
class EvidenceWanted:
    """Of which databases evidence is taken behind the base backup. `within_seconds` is how long to look for a position that is exact,
    `budget_seconds` how long counting may take, and again for digests."""

    databases: tuple[str, ...] = ()
    all_databases: bool = False
    within_seconds: float = 60.0
    budget_seconds: float = 300.0
    digests: DigestPlan | None = None
    checks: Sequence[Check] = ()

    @classmethod
    def from_options(cls, given: Mapping[str, Any] | None) -> EvidenceWanted | None:
        """Read the option `evidence`; None when none was asked for. Raises `ConfigurationError`."""
        where = f"{_WHERE}.evidence"
        if not given:
            return None
        options.unknown_keys(given, ("databases", "all_databases", "within", "budget", "digests", "checks"), where)
        databases = options.texts(given, "databases", where, ())
        everything = options.boolean(given, "all_databases", where, False)
        if everything == bool(databases):
            what = "all_databases and databases are both given" if databases else "databases is empty"
            raise ConfigurationError(what, where, "Name databases, or say all_databases: true.")
        twice = sorted({name for name in databases if databases.count(name) > 1})
        if twice:
            raise ConfigurationError(f"database {twice[0]!r} is named twice", where, "Once is enough.")
        if given.get("checks") and len(databases) != 1:
            hint = "Name one database, or leave out checks."
            raise ConfigurationError("checks are asked of one database, and several are meant", where, hint)
        return cls(
            databases,
            everything,
            options.duration_seconds(given, "within", where, cls.within_seconds),
            options.duration_seconds(given, "budget", where, cls.budget_seconds, minimum=1),
            _digests(options.mapping(given, "digests", where, None)),
            _checks(given.get("checks")),
        )


def _digests(given: Mapping[str, Any] | None) -> DigestPlan | None:
    if not given:
        return None
    from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.digest_plan import DigestPlan

    return DigestPlan.from_options(given)


def _checks(given: Any) -> Sequence[Check]:
    if not given:
        return ()
    from ansible_collections.lifeboat.postgres.plugins.module_utils.checks import factory

    return factory.parse(given)


@dataclass(frozen=True)
class PhysicalJob(Job):
    """One server to be backed up, all of it.

    With `mode` incremental a full backup is taken when the last one is older than `full_after_seconds`. `wal` says where the log
    comes from without which it is nothing; for that in the archive the run waits `wal_timeout_seconds`. `state_dir` keeps the
    manifest that the next incremental one is measured against.
    """

    mode: str = FULL
    full_after_seconds: float = 7 * 86400.0
    wal: str = ARCHIVED
    wal_timeout_seconds: float = 600.0
    max_rate_bytes: int | None = None
    checkpoint: str = "fast"
    label: str = ""
    state_dir: Path | None = None
    evidence: EvidenceWanted | None = None

    @classmethod
    def from_options(cls, given: Mapping[str, Any]) -> PhysicalJob:
        """Read a module's parameters; raises `ConfigurationError`, `SealError`, `MissingTool`."""
        login = read_login(given, default_db="postgres")
        common = common_fields(given, _WHERE, login, NAME)
        label = options.text(given, "label", _WHERE, "")
        if "\n" in label or "\r" in label or len(label.encode()) > 1000:
            raise ConfigurationError("label is more than one line, or too long", _WHERE, "Give one line of at most 1000 bytes.")
        mode = options.choice(given, "mode", _WHERE, (FULL, INCREMENTAL), FULL)
        if mode == INCREMENTAL and common["exec"] is not None:
            raise ConfigurationError(
                "mode incremental needs pg_basebackup on this host: the parent's manifest is not inside the container",
                "exec",
                "Take full backups with exec, or publish the server's port and leave out exec.",
            )
        rate = options.size_bytes(given, "max_rate", _WHERE, None, minimum=_LEAST_RATE)
        if rate is not None and rate > _MOST_RATE:
            raise ConfigurationError("max_rate is above 1 GiB a second, which is the server's own most", _WHERE, "Leave it out.")
        wal = options.choice(given, "wal", _WHERE, (ARCHIVED, INCLUDED), ARCHIVED)
        if wal == ARCHIVED and all(terms_of(name, spec).optional for name, spec in common["repositories"].items()):
            raise ConfigurationError(
                "every repository is optional, so no archive has to hold the log", "repositories", "Let one of them be required."
            )
        evidence = EvidenceWanted.from_options(options.mapping(given, "evidence", _WHERE, None))
        if evidence is not None and wal == INCLUDED:
            what = "evidence lies behind the end of a base backup, and wal: included ends there"
            raise ConfigurationError(what, "evidence", "Archive the log, or leave out evidence.")
        return cls(
            **common,
            mode=mode,
            full_after_seconds=options.duration_seconds(given, "full_after", _WHERE, cls.full_after_seconds),
            wal=wal,
            wal_timeout_seconds=options.duration_seconds(given, "wal_timeout", _WHERE, cls.wal_timeout_seconds, minimum=1),
            max_rate_bytes=rate,
            checkpoint=options.choice(given, "checkpoint", _WHERE, ("fast", "spread"), "fast"),
            label=label,
            state_dir=options.path(given, "state_dir", _WHERE, absolute=True),
            evidence=evidence,
        )

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the repositories whose archive has to hold the log: all but those that are optional for it."""
        return tuple(name for name, spec in self.repositories.items() if not terms_of(name, spec).optional)


def default_state_dir() -> Path:
    """`/var/lib/lifeboat` for root, else the user's own directory for what a program remembers."""
    if os.geteuid() == 0:
        return Path("/var/lib/lifeboat")
    state = os.environ.get("XDG_STATE_HOME")
    return Path(state, "lifeboat") if state else Path.home() / ".local" / "state" / "lifeboat"
