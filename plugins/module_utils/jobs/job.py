# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job file: what cron runs when the control node is gone. Read strictly; paths of secrets are in it, and never a secret."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.lock import default_lock_dir
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.hooks import Hooks, parse_hooks
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.kinds import KINDS
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.schedule import Schedule, parse_cron

__all__ = ["FOLDER", "KEYS", "SCHEMA", "JobFile", "check_name", "find_job", "misplaced_secret", "parse_job", "read_job_file", "read_jobs"]

FOLDER = Path("/etc/lifeboat")
SCHEMA = 1
KEYS = (
    "schema", "job", "kind", "system", "part_of", "user", "options", "schedule", "zone", "timeout", "on_failure", "dead_man_url_file",
    "state_dir", "log_dir", "run_dir",
)  # fmt: skip
ZONES = ("UTC", "local")

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_DEFAULT_TIMEOUT = "24h"


@dataclass(frozen=True)
class JobFile:
    """One job as its file says it. Durations are seconds.

    `schedule` is when it is due, on the clock that `zone` names: UTC, or the host's own. `part_of` is the set of jobs that a role
    looks after, `user` who runs it. The directories are those of that user: what is remembered, logged and locked.
    """

    path: Path
    job: str
    kind: str
    system: str
    options: Mapping[str, Any]
    timeout_seconds: float
    hooks: Hooks
    schedule: Schedule | None = None
    zone: str = "UTC"
    part_of: str = ""
    user: str = ""
    dead_man_url_file: Path | None = None
    state_dir: Path = field(default_factory=lambda: _default_dir("/var/lib/lifeboat"))
    log_dir: Path = field(default_factory=lambda: _default_dir("/var/log/lifeboat"))
    run_dir: Path = field(default_factory=default_lock_dir)

    @property
    def name(self) -> str:
        return f"{self.system}/{self.job}"

    def due(self, moment: dt.datetime) -> tuple[dt.datetime, dt.datetime] | None:
        """The last time that is not after `moment` and the first that is, in UTC; None for a job that nobody starts by a clock."""
        if self.schedule is None:
            return None
        clock = moment.astimezone(dt.timezone.utc if self.zone == "UTC" else None)
        wall = clock.replace(tzinfo=None)
        found = (self.schedule.until(wall), self.schedule.after(wall))
        if self.zone == "UTC":
            return found[0].replace(tzinfo=dt.timezone.utc), found[1].replace(tzinfo=dt.timezone.utc)
        return found[0].astimezone(dt.timezone.utc), found[1].astimezone(dt.timezone.utc)

    def due_before(self, moment: dt.datetime) -> dt.datetime | None:
        """The time before the last one: who has not succeeded since then has missed a whole turn."""
        last = self.due(moment)
        before = self.due(last[0] - dt.timedelta(minutes=1)) if last else None
        return before[0] if before else None


def _default_dir(path: str) -> Path:
    import os

    from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_job import default_state_dir

    # One for each user: nobody writes where another one could have put a link.
    return Path(path, "root") if os.geteuid() == 0 else default_state_dir() / Path(path).parts[2]


def check_name(name: str, where: str) -> str:
    """A job's name, which is a file's name too; raises `ConfigurationError`."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot be the name of a job", where, "Take lower-case letters, digits, - and _; at most 63, a letter or digit first."
        )
    return name


def parse_job(document: Mapping[str, Any], path: Path) -> JobFile:
    """Read the document of a job file; raises `ConfigurationError` in one sentence that names the file."""
    where = str(path)
    options.unknown_keys(document, KEYS, where)
    if options.integer(document, "schema", where) != SCHEMA:
        raise ConfigurationError(f"schema {document['schema']!r} is not known to this version", where, f"Known is {SCHEMA}.")
    given = options.mapping(document, "options", where)
    secret = misplaced_secret(given)
    if secret:
        raise ConfigurationError(
            f"options: {secret} would be a secret in a job file", where, "Write it into a file of mode 0600, and name that (…_file)."
        )
    cron = options.text(document, "schedule", where, None)
    defaults = {key: options.path(document, key, where, absolute=True) for key in ("state_dir", "log_dir", "run_dir")}
    return JobFile(
        path=path,
        job=check_name(options.text(document, "job", where), where),
        kind=options.choice(document, "kind", where, tuple(KINDS)),
        system=options.text(document, "system", where),
        options=dict(given),
        timeout_seconds=options.duration_seconds(document, "timeout", where, _seconds(_DEFAULT_TIMEOUT), minimum=1),
        hooks=parse_hooks(options.mapping(document, "on_failure", where, {}), f"{where}: on_failure"),
        schedule=None if cron is None else parse_cron(cron, f"{where}: schedule"),
        zone=options.choice(document, "zone", where, ZONES, "UTC"),
        part_of=options.text(document, "part_of", where, ""),
        user=options.text(document, "user", where, ""),
        dead_man_url_file=options.path(document, "dead_man_url_file", where, absolute=True),
        **{key: value for key, value in defaults.items() if value is not None},
    )


def misplaced_secret(given: Mapping[str, Any]) -> str:
    """Where among options a secret stands itself, and not the path of its file; "" where none does."""
    return next((key for key, _value in options.secrets_among(given)), "")


def read_job_file(path: Path) -> JobFile:
    """Raises `ConfigurationError`."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"the job file cannot be read: {error.strerror}", str(path), "lifeboat status lists the jobs.") from None
    except ValueError:  # not JSON, or not UTF-8
        raise ConfigurationError("the job file is not JSON", str(path)) from None
    if not isinstance(document, dict):
        raise ConfigurationError("the job file is not a JSON object", str(path))
    job = parse_job(document, path)
    if path.suffix == ".json" and path.stem != job.job:
        raise ConfigurationError(f"the file is called {path.name}, its job {job.job!r}", str(path), "Give both one name.")
    return job


def read_jobs(folder: Path) -> tuple[list[JobFile], list[LifeboatError]]:
    """Every job below a folder, `<system>/<job>.json`, and what keeps others from being read. Other files are passed by."""
    found: list[JobFile] = []
    faults: list[LifeboatError] = []
    for path in sorted(folder.glob("*/*.json")):
        try:
            if _is_job(path):
                found.append(read_job_file(path))
        except LifeboatError as error:
            faults.append(error)
    return found, faults


def find_job(name: str, folder: Path) -> JobFile:
    """The job of a file, of "system/job", or of "job" where only one system has it; raises `ConfigurationError`."""
    if name.endswith(".json") or name.startswith(("/", ".")):
        return read_job_file(Path(name))
    system, _slash, job = name.rpartition("/")
    paths = [path for path in sorted(folder.glob("*/*.json")) if path.stem == job and system in ("", path.parent.name)]
    if len(paths) == 1:
        return read_job_file(paths[0])
    if paths:
        known = ", ".join(f"{path.parent.name}/{job}" for path in paths)
        raise ConfigurationError(f"several systems have a job {job!r}", str(folder), f"Name one of {known}.")
    known_names = [f"{path.parent.name}/{path.stem}" for path in sorted(folder.glob("*/*.json"))]
    meant = options.nearest(name, [*known_names, *(known.partition("/")[2] for known in known_names)])
    hint = f"Did you mean {meant!r}?" if meant else f"There are: {', '.join(known_names) or 'none'}."
    raise ConfigurationError(f"there is no job {name!r}", str(folder), hint)


def _is_job(path: Path) -> bool:
    """Job files lie beside others, as wal.json, which have no key `job`. What cannot be read is taken for one, and said."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return not isinstance(document, dict) or "job" in document or "kind" in document


def _seconds(text: str) -> float:
    return options.parse_duration(text)
