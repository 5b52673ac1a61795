# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is this host fit to run its jobs? Looked at and tried, before the night shows it: programs, secrets, places, clock, scheduler."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.deps import installed
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.identity import answer_as
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.job import JobFile
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.scheduled import scheduled_in
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import encode_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.options import leaves
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository, validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import VERSION
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many, size

__all__ = ["BAD", "DOUBT", "GOOD", "TONES", "Finding", "examine"]

GOOD, DOUBT, BAD = "good", "doubt", "bad"
TONES = {GOOD: "good", DOUBT: "doubt", BAD: "bad"}
_MARKS = {GOOD: " ", DOUBT: "?", BAD: "!"}
_ROOM_BYTES = 512 * 1024 * 1024
_YEAR = 2026
"""Earlier than that this version was not there: a clock that says so has lost its time."""


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, how good that is, and what to do about it."""

    what: str
    found: str
    grade: str = GOOD
    next_step: str = ""

    @property
    def mark(self) -> str:
        return _MARKS[self.grade]

    def to_document(self) -> dict[str, str]:
        return {"what": self.what, "found": self.found, "grade": self.grade, "next_step": self.next_step}


def examine(jobs: Sequence[JobFile], faults: Sequence[LifeboatError]) -> Iterator[Finding]:
    """Look at everything that the jobs need; nothing is changed but for canaries that repositories are tried with."""
    yield Finding("runtime", f"lifeboat.postgres {VERSION}, Python {sys.version.split()[0]} ({sys.executable})")
    for fault in faults:
        yield Finding("job file", str(fault), BAD)
    if not jobs:
        yield Finding("jobs", "there are none that this user can read", DOUBT, "Run the playbook site, or name the folder with --jobs.")
    yield from _programs(jobs)
    yield from _secrets(jobs)
    yield from _repositories(jobs)
    yield from _room(jobs)
    yield from _clock()
    yield from _schedulers(jobs)


def _programs(jobs: Sequence[JobFile]) -> Iterator[Finding]:
    kinds = {job.kind for job in jobs}
    wanted = {
        "psycopg": bool(kinds & {"logical", "base", "drill", "heartbeat"}),
        "boto3": any(spec.get("type") == "s3" for job in jobs for spec in _places(job).values()),
    }
    packages = {"psycopg": "python3-psycopg", "boto3": "python3-boto3"}
    for library, is_wanted in wanted.items():
        if is_wanted:
            there = installed(library)
            hint = "" if there else f"Install {packages[library]}, or run the playbook site."
            yield Finding(f"library {library}", "there" if there else "missing", GOOD if there else BAD, hint)
    methods = {str((job.options.get("encryption") or {}).get("method", "age")) for job in jobs if job.options.get("encryption")}
    seals = {"age": "pyrage", "gpg": "", "gpg-symmetric": ""}
    for method in sorted(methods & set(seals)):
        program = method.split("-", 1)[0]
        library = seals[method]
        there = shutil.which(program) is not None or bool(library and installed(library))
        yield Finding(f"program {program}", "there" if there else "missing", GOOD if there else BAD, "" if there else f"Install {program}.")
    if kinds & {"logical", "base"}:
        there = shutil.which("zstd") is not None or installed("zstandard")
        yield Finding("program zstd", "there" if there else "missing", GOOD if there else BAD, "" if there else "Install zstd.")
        majors = sorted({path.parent.parent.name for path in Path("/usr/lib/postgresql").glob("*/bin/pg_dump")}, key=len)
        found = ", ".join(majors) or shutil.which("pg_dump") or ""
        named = all(job.options.get("bin_dir") or job.options.get("exec") for job in jobs if job.kind in ("logical", "base"))
        if found or not named:
            yield Finding(
                "programs of PostgreSQL", found or "none", GOOD if found or named else BAD, "" if found else "Install postgresql-client."
            )


def _secrets(jobs: Sequence[JobFile]) -> Iterator[Finding]:
    """Files that the jobs name: there, of mode 0600, and of the user that runs the job."""
    for path, user in sorted({(path, job.user) for job in jobs for path in _secret_files(job)}):
        problem = _problem_of_secret(Path(path), user)
        yield Finding(
            f"secret {path}",
            problem or "private",
            BAD if problem else GOOD,
            f"chown {user or 'USER'} {path}; chmod 600 {path}" if problem else "",
        )


def _secret_files(job: JobFile) -> Iterator[str]:
    known = (
        "credentials_file",
        "login_password_file",
        "login_url_file",
        "passphrase_file",
        "identity_file",
        "signing_key",
        "key_file",
        "ssl_key",
    )
    for key, value in leaves({key: value for key, value in job.options.items() if key != "checks"}):
        if key in known:
            yield value
    for path in (job.dead_man_url_file, job.hooks.webhook_url_file):
        if path is not None:
            yield str(path)


def _problem_of_secret(path: Path, user: str) -> str:
    try:
        facts = path.stat()
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    if facts.st_mode & 0o077:
        return f"others can read it (mode {stat.S_IMODE(facts.st_mode):04o})"
    owner = _user_name(facts.st_uid)
    return f"it belongs to {owner}, and {user} runs the job" if user and user not in (owner, "root") else ""


def _repositories(jobs: Sequence[JobFile]) -> Iterator[Finding]:
    """Each place once: listed, and written to where jobs write (a canary, which is removed where that is allowed)."""
    seen: set[str] = set()
    for job in jobs:
        writes = job.kind in ("logical", "base", "copy", "prune", "keys", "catch-up")
        for name, spec in _places(job).items():
            key = f"{name} {sorted(map(str, spec.items()))} {writes}"
            if key in seen:
                continue
            seen.add(key)
            what = f"repository {name!r} of {job.system}"
            if os.geteuid() == 0 and job.user not in ("", "root"):
                # As who runs the job: a credential that root can read says nothing, and root's files would be in the way.
                answer = answer_as(job.user, what, functools.partial(_told, what, name, spec, job.system, writes))
                yield Finding(**answer) if answer else Finding(what, f"could not be tried as {job.user}", BAD)
            else:
                yield _tried(what, name, spec, job.system, writes)


def _told(what: str, name: str, spec: Mapping[str, Any], system: str, writes: bool) -> dict[str, str]:
    return _tried(what, name, spec, system, writes).to_document()


def _tried(what: str, name: str, spec: Mapping[str, Any], system: str, writes: bool) -> Finding:
    try:
        validate(name, spec)
        with open_repository(name, spec, read_only=not writes) as repository:
            next(iter(repository.list(f"{encode_name(system)}/manifests/")), None)
            if writes and not repository.can_write(f"{encode_name(system)}/probes"):
                return Finding(what, "can be read, and not written", BAD, "Look at its credential, or at the directory's owner.")
    except LifeboatError as error:
        return Finding(what, str(error), BAD)
    return Finding(what, "read and written" if writes else "read")


def _room(jobs: Sequence[JobFile]) -> Iterator[Finding]:
    places = {job.state_dir for job in jobs} | {job.log_dir for job in jobs}
    for job in jobs:
        places |= {Path(str(spec["path"])) for spec in _places(job).values() if spec.get("type") == "posix" and spec.get("path")}
        places |= {Path(str(job.options[key])) for key in ("staging_dir", "work_dir") if job.options.get(key)}
    looked: set[int] = set()
    for place in sorted(places):
        there = next((path for path in (place, *place.parents) if path.exists()), None)
        if there is None or there.stat().st_dev in looked:
            continue
        looked.add(there.stat().st_dev)
        usage = shutil.disk_usage(there)
        tight = usage.free < _ROOM_BYTES or usage.free < usage.total * 0.05
        yield Finding(
            f"room at {there}", f"{size(usage.free)} of {size(usage.total)} free", DOUBT if tight else GOOD, "Make room." if tight else ""
        )


def _clock() -> Iterator[Finding]:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now

    moment = now()
    if moment.year < _YEAR:
        yield Finding("clock", f"it says {moment:%Y-%m-%d %H:%M} UTC", BAD, "Set it: retention, freshness and certificates go by it.")
        return
    synchronised = Path("/run/systemd/timesync/synchronized").exists() or any(
        shutil.which(name) for name in ("chronyd", "ntpd", "openntpd")
    )
    said = "kept by a time service" if synchronised else "no time service is to be seen on this host"
    yield Finding("clock", f"{moment:%Y-%m-%d %H:%M} UTC, {said}", GOOD if synchronised else DOUBT)


def _schedulers(jobs: Sequence[JobFile]) -> Iterator[Finding]:
    for job in jobs:
        if job.schedule is None:
            continue
        where = scheduled_in(job)
        what = f"schedule of {job.name}"
        if where:
            yield Finding(what, where)
        else:
            yield Finding(what, "nothing starts it: neither cron.d nor a timer", BAD, "Run the playbook again, or remove its schedule.")
    if any(job.schedule for job in jobs) and not _runs(("cron", "crond", "systemd")):
        yield Finding("scheduler", "neither cron nor systemd is running", BAD, "Start one.")
    elif jobs:
        yield Finding("jobs", many(len(jobs), "job"))


def _runs(names: Sequence[str]) -> bool:
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text(encoding="utf-8", errors="replace").strip() in names:
                return True
        except OSError:
            continue  # it has just ended
    return False


def _places(job: JobFile) -> dict[str, Mapping[str, Any]]:
    found = job.options.get("repositories")
    return {name: spec for name, spec in found.items() if isinstance(spec, Mapping)} if isinstance(found, Mapping) else {}


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
