# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a logical backup was asked to be: options read strictly, before anything runs.

The same words come from a module's parameters and from a job file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job_common import ASSET_KEYS, Job, asset_fields, common_fields
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.login import LOGIN_KEYS, read_login

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import Check
    from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.digest_plan import DigestPlan

__all__ = ["DATABASE", "DATABASE_KEYS", "GLOBALS", "LogicalJob", "database_fields"]

LEVEL = 1
"""Of zstd: level 3 costs twice the CPU of it, and saves 5 % of the room (docs/logical-backup.md#how-small)."""
DATABASE = "database"
GLOBALS = "globals"
"""Kind and name: one server's globals are one asset of the system; the server's identifier in the manifest says whose."""

DATABASE_KEYS = (
    *ASSET_KEYS, "checks", "evidence_queries", "evidence_budget", "lock_timeout", "format", "jobs", "statistics", "snapshot_budget",
    "xmin_age_limit", "digests",
)  # fmt: skip
"""The options that one database of several can have of its own, those of `database_fields`."""

KEYS = (
    *LOGIN_KEYS, *DATABASE_KEYS, "system", "name", "repositories", "encryption", "bin_dir", "stall_timeout", "lock_dir", "signing_key",
    "staging_dir", "exec", "databases", "all_databases", "exclude_databases", "unlisted", "globals", "keys_file",
)  # fmt: skip

_WHERE = "pg_logical_backup"


@dataclass(frozen=True)
class LogicalJob(Job):
    """One database to be backed up."""

    checks: Sequence[Check] = ()
    queries: Mapping[str, str] = field(default_factory=dict)
    evidence_budget_seconds: float = 300.0
    lock_timeout_seconds: float = 60.0
    format: str = "auto"
    jobs: int = 2
    statistics: bool = False
    snapshot_budget_seconds: float | None = None
    xmin_age_limit: int | None = None
    digests: DigestPlan | None = None

    @classmethod
    def from_options(cls, given: Mapping[str, Any], default_db: str = "") -> LogicalJob:
        """Read a module's parameters; raises `ConfigurationError`, `SealError`, `MissingTool`."""
        options.unknown_keys(given, KEYS, _WHERE)
        login = read_login(given, default_db=default_db)
        return cls(**{**common_fields(given, _WHERE, login, login.dbname), **database_fields(given, _WHERE)})


def database_fields(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of a `LogicalJob` that may differ from one database to the next; raises `ConfigurationError`."""
    return {
        **asset_fields(given, where, LEVEL),
        "checks": _checks(given),
        "queries": read_queries(given.get("evidence_queries") or []),
        "evidence_budget_seconds": options.duration_seconds(given, "evidence_budget", where, 300.0),
        "lock_timeout_seconds": options.duration_seconds(given, "lock_timeout", where, 60.0, minimum=1),
        "format": _format(given, where),
        "jobs": options.integer(given, "jobs", where, 2, minimum=1, maximum=64),
        "statistics": options.boolean(given, "statistics", where, False),
        "snapshot_budget_seconds": options.duration_seconds(given, "snapshot_budget", where, None, minimum=1),
        "xmin_age_limit": options.integer(given, "xmin_age_limit", where, None, minimum=1),
        "digests": _digests(given, where),
    }


def _checks(given: Mapping[str, Any]) -> Sequence[Check]:
    if not given.get("checks"):
        return ()
    from ansible_collections.lifeboat.postgres.plugins.module_utils.checks import factory

    return factory.parse(given["checks"])


def _digests(given: Mapping[str, Any], where: str) -> DigestPlan | None:
    asked = options.mapping(given, "digests", where, None)
    if not asked:
        return None
    from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.digest_plan import DigestPlan

    return DigestPlan.from_options(asked)


def _format(given: Mapping[str, Any], where: str) -> str:
    asked: str = options.choice(given, "format", where, ("auto", "custom", "directory"), "auto")
    if not given.get("exec"):
        return asked
    if asked == "directory":
        raise ConfigurationError("format directory needs pg_dump on this host", "exec", "With exec a dump is streamed: leave out format.")
    return "custom"


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
