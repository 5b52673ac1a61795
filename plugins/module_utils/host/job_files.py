# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was asked for of a host's jobs: options read strictly, and what files they make. Nothing is touched here."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.job import SCHEMA, JobFile, check_name, parse_job
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.schedule import Schedule, parse_schedule
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import encode_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.objective import Objective, resolve
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import host_name

__all__ = ["DIRECTORIES", "SCHEDULERS", "Asked", "Secret", "clock_is_utc", "clock_name"]

BY_OBJECTIVE = "objective"
"""As a schedule: as often as the objective asks for."""
SCHEDULERS = ("cron", "systemd", "none")
DIRECTORIES: Mapping[str, str] = {
    "runtime": "/opt/lifeboat",
    "config": "/etc/lifeboat",
    "state": "/var/lib/lifeboat",
    "log": "/var/log/lifeboat",
    "run": "/run/lifeboat",
    "cron": "/etc/cron.d",
    "units": "/etc/systemd/system",
    "tmpfiles": "/etc/tmpfiles.d",
}
"""Where things lie, by the words of the option `directories`."""

KEYS = (
    "system", "part_of", "user", "objective", "scheduler", "jobs", "secrets", "secret_users", "wal", "launcher_dir", "directories", "owner",
    "python",
)  # fmt: skip
_JOB_KEYS = ("name", "kind", "options", "schedule", "timeout", "on_failure", "dead_man_url_file")
_WHERE = "host_jobs"


@dataclass(frozen=True)
class Secret:
    """A file of mode 0600, of `user`. `text` is secret."""

    name: str
    text: str
    user: str


@dataclass(frozen=True)
class Asked:
    """`jobs` are read as their files will be. `wal` are the options of a WAL job file, or None; `owner` owns what is no user's own."""

    system: str
    part_of: str
    user: str
    scheduler: str
    jobs: Sequence[JobFile]
    documents: Mapping[str, Mapping[str, Any]]
    secrets: Sequence[Secret]
    wal: Mapping[str, Any] | None
    launcher_dir: Path
    directories: Mapping[str, Path]
    owner: str
    python: str

    @classmethod
    def from_options(cls, given: Mapping[str, Any]) -> Asked:
        """Read a module's parameters; raises `ConfigurationError` before anything is looked at."""
        options.unknown_keys(given, KEYS, _WHERE)
        asked_for = options.mapping(given, "directories", _WHERE, {})
        options.unknown_keys(asked_for, DIRECTORIES, "directories")
        directories = {
            name: options.path(asked_for, name, "directories", absolute=True) or Path(usual) for name, usual in DIRECTORIES.items()
        }
        system = options.text(given, "system", _WHERE)
        if encode_name(system) != system:
            raise ConfigurationError(
                f"system {system!r} cannot be the name of a directory", _WHERE, "Take letters, digits, dots, - and _ for a host's system."
            )
        scheduler = options.choice(given, "scheduler", _WHERE, SCHEDULERS, "cron")
        user = options.text(given, "user", _WHERE, "postgres")
        part_of = check_name(options.text(given, "part_of", _WHERE), "part_of")
        promised = resolve(given.get("objective"))
        documents: dict[str, dict[str, Any]] = {}
        for number, item in enumerate(_list(given, "jobs"), 1):
            where = f"jobs, item {number}"
            options.unknown_keys(item, _JOB_KEYS, where)
            name = check_name(options.text(item, "name", where), where)
            if name in documents:
                raise ConfigurationError(f"two jobs are called {name!r}", where, "Give each a name of its own.")
            schedule = _schedule(item, promised, f"{where}: schedule", f"{system}\0{host_name()}\0{name}")
            documents[name] = {
                "schema": SCHEMA,
                "job": name,
                "kind": item.get("kind"),
                "system": system,
                "part_of": part_of,
                "user": user,
                "schedule": None if schedule is None else schedule.cron,
                "zone": "local" if scheduler == "cron" and not clock_is_utc() else "UTC",
                "timeout": item.get("timeout") or "24h",
                "on_failure": {key: value for key, value in (item.get("on_failure") or {}).items() if value not in (None, "", [])},
                "dead_man_url_file": item.get("dead_man_url_file"),
                **{f"{key}_dir": str(directories[key] / user) for key in ("state", "log", "run")},
                "options": {key: value for key, value in (item.get("options") or {}).items() if value is not None},
            }
            if schedule is None:
                del documents[name]["schedule"]
            if not documents[name]["dead_man_url_file"]:
                del documents[name]["dead_man_url_file"]
        folder = directories["config"] / encode_name(system)
        wal = options.mapping(given, "wal", _WHERE, None)
        if wal is not None:
            _check_wal(wal, system)
            if "wal" in documents:
                raise ConfigurationError("a job cannot be called wal", _WHERE, "wal.json is the job file of the WAL archive.")
        return cls(
            system=system,
            part_of=part_of,
            user=user,
            scheduler=scheduler,
            jobs=[parse_job(document, folder / f"{name}.json") for name, document in documents.items()],
            documents=documents,
            secrets=_secrets(given, user),
            wal=wal,
            launcher_dir=options.path(given, "launcher_dir", _WHERE, absolute=True) or directories["runtime"] / "bin",
            directories=directories,
            owner=options.text(given, "owner", _WHERE, "root"),
            python=options.text(given, "python", _WHERE, ""),
        )

    @property
    def folder(self) -> Path:
        """Where the system's job files and secrets are."""
        return self.directories["config"] / encode_name(self.system)

    def own(self, name: str) -> Path:
        """The user's own directory below `state`, `log` or `run`."""
        return self.directories[name] / self.user

    def text_of(self, job: str) -> bytes:
        return json.dumps(self.documents[job], indent=2).encode() + b"\n"


def clock_is_utc() -> bool:
    """Whether this host's clock, by which cron goes, is UTC all year."""
    return time.timezone == 0 and not time.daylight


def clock_name() -> str:
    """As people know it: a name where the host has one, else how far it is from UTC."""
    if clock_is_utc():
        return "UTC"
    try:
        target = str(Path("/etc/localtime").resolve())
    except OSError:
        target = ""
    return target.partition("/zoneinfo/")[2] or "/".join(time.tzname)


def _schedule(item: Mapping[str, Any], promised: Objective, where: str, seed: str) -> Schedule | None:
    text = options.text(item, "schedule", where, "")
    if text == BY_OBJECTIVE:
        text = _cadence(str(item.get("kind")), promised, where)
    return parse_schedule(text, where, seed)


def _cadence(kind: str, promised: Objective, where: str) -> str:
    """How often a job of this kind has to run, so that what was promised can be kept."""
    cadences = {
        "logical": promised.dump_every_seconds,
        "base": promised.incremental_every_seconds or promised.base_every_seconds or 7 * 86400,
        "verify": promised.verify_every_seconds,
        "drill": promised.drill_every_seconds,
    }
    if kind not in cadences:
        raise ConfigurationError(f"an objective says nothing about how often a job of kind {kind} runs", where, "Name its schedule.")
    seconds = int(cadences[kind])
    unit, size = next((unit, size) for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)) if seconds % size == 0)
    return f"every {seconds // size}{unit}"


def _list(given: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = given.get(key) or []
    if not isinstance(value, (list, tuple)):
        raise ConfigurationError(f"{key}: expected a list", _WHERE)
    return value


def _secrets(given: Mapping[str, Any], user: str) -> list[Secret]:
    found = options.mapping(given, "secrets", _WHERE, {})
    users = options.mapping(given, "secret_users", _WHERE, {})
    options.unknown_keys(users, found, "secret_users")
    return [Secret(_file_name(name), str(text), options.text(users, name, "secret_users", user)) for name, text in found.items()]


def _file_name(name: Any) -> str:
    text = str(name)
    if not text or "/" in text or text.startswith(".") or not text.isprintable() or text.endswith(".json"):
        raise ConfigurationError(
            f"secrets: {text!r} cannot be the name of a secret's file", _WHERE, "Take a plain name, as offsite.credentials."
        )
    return text


def _check_wal(wal: Mapping[str, Any], system: str) -> None:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.job import misplaced_secret
    from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import KEYS as WAL_KEYS

    options.unknown_keys(wal, WAL_KEYS, "wal")
    if options.text(wal, "system", "wal") != system:
        raise ConfigurationError(f"wal: system is {wal['system']!r}, that of the jobs {system!r}", _WHERE, "Give both one name.")
    secret = misplaced_secret(wal)
    if secret:
        raise ConfigurationError(f"wal: {secret} would be a secret in a job file", _WHERE, "Write it into a file, and name that.")
