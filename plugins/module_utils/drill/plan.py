# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a drill was asked to be: options read strictly, before anything runs or is touched."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout, objective, options
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks import factory as check_factory
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import Check
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.moment import RecoveryTarget, parse_moment
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.pitr_terms import DEFAULT_BASE_NAME, LOGICAL, MODES, PITR, PitrTerms
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.throwaway import Throwaway
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import parse_public_keys

__all__ = ["DEFAULT_WORK_DIR", "LATEST", "WAIVERS", "DrillPlan", "work_dir_of"]

LATEST = "latest"
DEFAULT_TIMEOUT_SECONDS = 24 * 3600.0
"""How long a drill may take: what a backup restores is code of others, and may wait for ever."""
BY_OBJECTIVE = "objective"
"""As an age: as often as the objective asks for."""
DEFAULT_WORK_DIR = "/var/tmp/lifeboat"  # a place that is made with mode 0711, and refused when it is somebody else's
KEYS = (
    "mode", "target", "markers", "database", "superuser", "data_checksums", "amcheck", "system", "name", "repositories", "repository",
    "backup_id", "identity_file", "identity_key", "key_repositories", "key_identity_file",
    "passphrase_file", "verify_keys", "objective", "check_groups", "timeout", "enforce_objective",
    "failure_at", "work_dir", "bin_dir", "run_as", "jobs", "globals", "production_hosts", "report_dir", "report_repository", "waive",
    "reap", "checks", "preload_libraries", "max_age", "server_major", "throwaway",
)  # fmt: skip
WAIVERS = ("isolation", "same_host", "writable_credential", "signature")

_WHERE = "restore_drill"


@dataclass(frozen=True)
class DrillPlan:
    """One drill of one database's backup, or with mode `pitr` of a base backup and its log.

    Durations are seconds; `jobs` 0 means one per processor.
    `identity_file` or `passphrase_file` opens the backup, whichever its method asks for; `identity_key` is the name by which the
    vault holds the identity, where it lies on no host (drill/identity.py).
    `backup_id` is `latest` or an id. `failure_at` is aware, or None for the moment at which the drill begins. `max_age_seconds` is how old
    the last good drill has to be for another one, None for one at each run; `server_major` is None for the backup's own.
    """

    system: str
    name: str
    repositories: Mapping[str, Mapping[str, Any]]
    identity_file: str = ""
    identity_key: str = ""
    passphrase_file: str = ""
    backup_id: str = LATEST
    verify_keys: Sequence[str] = ()
    checks: Sequence[Check] = ()
    check_groups: Sequence[str] = ()
    checks_left_out: int = 0
    rpo_seconds: float | None = None
    rto_seconds: float | None = None
    enforce_objective: bool = True
    failure_at: dt.datetime | None = None
    work_dir: Path = Path(DEFAULT_WORK_DIR)
    bin_dir: Path | None = None
    run_as: str = ""
    jobs: int = 0
    production_hosts: Sequence[str] = ()
    report_dir: Path | None = None
    report_repository: Mapping[str, Any] | None = None
    globals: str = "auto"
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    waive: frozenset[str] = field(default_factory=frozenset)
    mode: str = LOGICAL
    pitr: PitrTerms = field(default_factory=PitrTerms)
    key_repositories: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    key_identity_file: str = ""
    max_age_seconds: float | None = None
    server_major: int | None = None
    throwaway: Throwaway = field(default_factory=Throwaway)

    @classmethod
    def from_options(cls, given: Mapping[str, Any]) -> DrillPlan:
        """Read a module's parameters; raises `ConfigurationError` that names the option."""
        options.unknown_keys(given, KEYS, _WHERE)
        mode = options.choice(given, "mode", _WHERE, MODES, LOGICAL)
        if mode == LOGICAL:
            PitrTerms.refuse(given, _WHERE)
        promised = objective.resolve(given.get("objective"), f"{_WHERE}.objective")
        pitr = PitrTerms.from_options(given, _WHERE) if mode == PITR else PitrTerms()
        report_repository = options.mapping(given, "report_repository", _WHERE, None)
        if report_repository is not None:
            validate("report", report_repository)
        verify_keys = options.texts(given, "verify_keys", _WHERE, ())
        if verify_keys:
            parse_public_keys(verify_keys)
        checks = check_factory.parse(given.get("checks"))
        check_groups = options.texts(given, "check_groups", _WHERE, ())
        chosen = check_factory.of_groups(checks, check_groups, f"{_WHERE}.check_groups")
        repositories = _repositories(given)
        server_major = options.integer(given, "server_major", _WHERE, None, minimum=10, maximum=99)
        if server_major is not None and mode == PITR:
            raise ConfigurationError(
                "server_major: a base backup is the files of its own major version, and starts on no other", _WHERE, "Drill a dump."
            )
        return cls(
            system=options.text(given, "system", _WHERE),
            name=options.text(given, "name", _WHERE, *([DEFAULT_BASE_NAME] if mode == PITR else [])),
            repositories=repositories,
            **_keys(given, repositories, chosen),
            **_identity(given),
            passphrase_file=options.text(given, "passphrase_file", _WHERE, ""),
            timeout_seconds=options.duration_seconds(given, "timeout", _WHERE, DEFAULT_TIMEOUT_SECONDS, minimum=1),
            backup_id=_backup_id(given),
            verify_keys=verify_keys,
            checks=chosen,
            check_groups=check_groups,
            checks_left_out=len(checks) - len(chosen),
            rpo_seconds=_rpo(given, promised, mode, pitr),
            rto_seconds=promised.rto_seconds,
            enforce_objective=options.boolean(given, "enforce_objective", _WHERE, True),
            failure_at=_moment(given, "failure_at"),
            work_dir=work_dir_of(given),
            bin_dir=options.path(given, "bin_dir", _WHERE),
            run_as=options.text(given, "run_as", _WHERE, ""),
            jobs=options.integer(given, "jobs", _WHERE, 0, minimum=0, maximum=256),
            production_hosts=options.texts(given, "production_hosts", _WHERE, ()),
            report_dir=options.path(given, "report_dir", _WHERE),
            report_repository=report_repository,
            globals=_globals(given),
            waive=_waivers(given),
            mode=mode,
            pitr=pitr,
            max_age_seconds=_max_age(given, promised, server_major),
            server_major=server_major,
            throwaway=Throwaway.from_options(options.mapping(given, "throwaway", _WHERE, {}), f"{_WHERE}.throwaway"),
        )

    @property
    def wanted_keys(self) -> tuple[str, ...]:
        """Names of the protected keys that checks ask for."""
        return tuple(dict.fromkeys(check.needs_key for check in self.checks if check.needs_key))

    @property
    def kind(self) -> str:
        """The kind of backup that is drilled."""
        return "base" if self.mode == PITR else "database"

    @property
    def target(self) -> RecoveryTarget:
        """Where a point-in-time recovery is to stop."""
        return self.pitr.target

    @property
    def worker_count(self) -> int:
        """Connections that restore at once. Two at least: only then pg_restore leaves the rows of new tables out of the WAL."""
        return self.jobs or max(2, os.cpu_count() or 1)


def work_dir_of(given: Mapping[str, Any]) -> Path:
    """The work directory of a drill's or a reaper's parameters."""
    return Path(os.path.normpath(options.path(given, "work_dir", _WHERE) or DEFAULT_WORK_DIR))


def _repositories(given: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    repositories = dict(options.mapping(given, "repositories", _WHERE))
    if not repositories:
        raise ConfigurationError("repositories is empty", _WHERE, "Name the one to restore from.")
    chosen = options.text(given, "repository", _WHERE, "")
    if chosen:
        chosen = options.choice(given, "repository", _WHERE, list(repositories))
        repositories = {chosen: repositories[chosen]}
    for name, spec in repositories.items():
        validate(name, spec)
    return repositories


def _keys(given: Mapping[str, Any], repositories: Mapping[str, Mapping[str, Any]], checks: Sequence[Check]) -> dict[str, Any]:
    """Where the protected keys lie and what opens them: apart from the data, as where they were put (law 4)."""
    vaults: Mapping[str, Mapping[str, Any]] = options.mapping(given, "key_repositories", _WHERE, {})
    identity_file = options.text(given, "key_identity_file", _WHERE, "")
    wanting = next((check for check in checks if check.needs_key), None)
    if wanting is not None and not vaults:
        raise ConfigurationError(
            f"check {wanting.name!r} asks for the protected key {wanting.needs_key!r}, and key_repositories is not set",
            _WHERE,
            "Name the vault in key_repositories, or give the check a key_file.",
        )
    if bool(vaults) != bool(identity_file):
        lacking, there = ("key_identity_file", "key_repositories") if vaults else ("key_repositories", "key_identity_file")
        raise ConfigurationError(f"{there} without {lacking}", _WHERE, "The vault and the identity of a key recipient belong together.")
    if vaults:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.separation import require_apart

        for name, spec in vaults.items():
            validate(name, spec)
        require_apart(vaults, repositories)
    return {"key_repositories": dict(vaults), "key_identity_file": identity_file}


def _identity(given: Mapping[str, Any]) -> dict[str, Any]:
    """The identity by its file, or by the name that the vault knows it by."""
    file = options.text(given, "identity_file", _WHERE, "")
    key = options.text(given, "identity_key", _WHERE, "")
    if file and key:
        raise ConfigurationError(
            "identity_file and identity_key both say where the identity is", _WHERE, "Leave out the file where no host is to hold it."
        )
    if key and not given.get("key_repositories"):
        raise ConfigurationError("identity_key without key_repositories", _WHERE, "Name the vault that holds the identity.")
    return {"identity_file": file, "identity_key": key}


def _rpo(given: Mapping[str, Any], promised: objective.Objective, mode: str, pitr: PitrTerms) -> float | None:
    """The RPO that this drill can judge: one that is named, always; that of a tier, where this kind of backup is what keeps it.

    A dump keeps no promise that the log was made for, and a target of one's own choice says nothing of what would be lost.
    """
    given_objective = given.get("objective")
    named = isinstance(given_objective, Mapping) and given_objective.get("rpo") is not None
    kept_by_others = promised.wal if mode == LOGICAL else not pitr.target.latest
    return None if kept_by_others and not named else promised.rpo_seconds


def _max_age(given: Mapping[str, Any], promised: objective.Objective, server_major: int | None) -> float | None:
    """How old the last good drill has to be, in seconds; there has to be a place that remembers it, and a drill that counts."""
    if given.get("max_age") in (None, ""):
        return None
    if given["max_age"] == BY_OBJECTIVE:
        seconds = promised.drill_every_seconds
    else:
        seconds = options.duration_seconds(given, "max_age", _WHERE, minimum=1)
    if not given.get("report_dir") and not given.get("report_repository"):
        raise ConfigurationError("max_age without reports: nothing would remember the last drill", _WHERE, "Name a report_dir.")
    for other, why in (
        ("server_major", "a drill on another major version is not the one that is due" if server_major is not None else ""),
        ("backup_id", "a backup that is named is drilled when somebody says so" if given.get("backup_id") not in (None, LATEST) else ""),
    ):
        if why:
            raise ConfigurationError(f"max_age and {other}: {why}", _WHERE, "Leave one of them out.")
    return seconds


def _globals(given: Mapping[str, Any]) -> str:
    """auto, true or false; YAML's own true and false are words, too."""
    value = given.get("globals")
    word = str(value).lower() if isinstance(value, (bool, str)) else value
    return str(options.choice({"globals": word}, "globals", _WHERE, ("auto", "true", "false"), "auto"))


def _backup_id(given: Mapping[str, Any]) -> str:
    backup_id: str = options.text(given, "backup_id", _WHERE, LATEST)
    if backup_id != LATEST:
        try:
            layout.moment_of(backup_id)
        except LifeboatError as error:
            raise ConfigurationError(f"backup_id: {error.what}", _WHERE, f"{error.next_step} Or say {LATEST}.") from None
    return backup_id


def _moment(given: Mapping[str, Any], key: str) -> dt.datetime | None:
    text = options.text(given, key, _WHERE, "")
    if not text:
        return None
    return parse_moment(text, key, _WHERE)


def _waivers(given: Mapping[str, Any]) -> frozenset[str]:
    waived = options.texts(given, "waive", _WHERE, ())
    options.unknown_keys(dict.fromkeys(waived), WAIVERS, f"{_WHERE}.waive")
    return frozenset(waived)
