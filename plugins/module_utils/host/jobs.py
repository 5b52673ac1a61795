# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of `host_jobs`: job files, secrets and what starts them, made so on a host; what this set of jobs no longer has is removed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.host.files import Absent, Directory, File, Link, group_of, make_plan
from ansible_collections.lifeboat.postgres.plugins.module_utils.host.job_files import DIRECTORIES, Asked, Secret, clock_is_utc, clock_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.host.runtime import library_of, program_of, python_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.scheduled import cron_file, cron_text, unit_name, unit_texts
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import clean_line

__all__ = ["run"]

Wanted = list[Any]


def run(given: Mapping[str, Any], check_mode: bool = False) -> dict[str, Any]:
    """Make it so, or with `check_mode` only say what would be; raises `ConfigurationError`, `MissingTool`."""
    asked = Asked.from_options(given)
    warnings: list[str] = []
    group = _group(asked, check_mode, warnings)
    program = program_of(asked.directories["runtime"])
    if not check_mode and not program.exists():
        raise MissingTool(
            "the runtime is not installed on this host", str(program), "Let the role host, or the module host_runtime, run first."
        )
    stale = list(_stale(asked))
    timers = [f"{unit_name(job.system, job.job)}.timer" for job in asked.jobs if job.schedule] if asked.scheduler == "systemd" else []
    plan = make_plan([*_places(asked, group), *_files(asked, group, stale), *_schedules(asked, stale, str(program))])
    if asked.scheduler == "cron" and not clock_is_utc() and any(job.schedule for job in asked.jobs):
        warnings.append(
            f"cron goes by this host's clock, {clock_name()}, and so do these schedules: summer time moves them; systemd's keep to UTC"
        )
    changed = bool(plan.changes)
    if not check_mode:
        plan.apply()
        changed |= _settle(asked, timers, plan.touches(*_unit_paths(asked, stale)))
    return {
        "changed": changed,
        "jobs": [_told(asked, job.job) for job in asked.jobs],
        "removed": [f"{asked.system}/{name}" for name in stale],
        "warnings": warnings,
        "diff": plan.diff,
    }


def _group(asked: Asked, check_mode: bool, warnings: list[str]) -> str:
    try:
        return group_of(asked.user)
    except ConfigurationError as error:
        if not check_mode:
            raise
        # PostgreSQL's package, which an earlier task would have installed, makes its user.
        warnings.append(str(error))
        return asked.user


def _stale(asked: Asked) -> Iterator[str]:
    """Names of job files that this set had, and has no more."""
    for path in sorted(asked.folder.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(document, dict) and document.get("part_of") == asked.part_of and path.stem not in asked.documents:
            yield path.stem


def _places(asked: Asked, group: str) -> Wanted:
    user, owner = asked.user, asked.owner
    top = [Directory(asked.directories[name], user=owner, group=owner) for name in ("config", "state", "log", "run")]
    own = [
        Directory(asked.own("state"), 0o755, user, group),
        Directory(asked.own("log"), 0o750, user, group),
        Directory(asked.own("run"), 0o755, user, group),
    ]
    lines = (
        "# Written by lifeboat.postgres: what runs keep while the host is up.\n"
        f"d {asked.directories['run']} 0755 {owner} {owner}\nd {asked.own('run')} 0755 {user} {group}\n"
    )
    tmpfiles = File(asked.directories["tmpfiles"] / f"lifeboat-{user}.conf", lines.encode(), user=owner, group=owner)
    # Jobs of several users share it (keys as root, the rest as postgres): each may pass, and its files say who may read them.
    return [*top, Directory(asked.folder, 0o755, owner, owner), *own, tmpfiles]


def _files(asked: Asked, group: str, stale: Sequence[str]) -> Wanted:
    folder, owner = asked.folder, asked.owner
    files: Wanted = [_secret(asked, secret, group) for secret in asked.secrets]
    files += [File(folder / f"{job.job}.json", asked.text_of(job.job), 0o640, owner, group) for job in asked.jobs]
    files += [Absent(folder / f"{name}.json") for name in stale]
    if asked.wal is not None:
        files += _wal_files(asked, group)
    return files


def _secret(asked: Asked, secret: Secret, group: str) -> File:
    user, group = (asked.user, group) if secret.user == asked.user else (secret.user, group_of(secret.user, "secret_users"))
    return File(asked.folder / secret.name, secret.text.encode(), 0o600, user, group, secret=True)


def _wal_files(asked: Asked, group: str) -> Wanted:
    """The job file of the archive and the two scripts that PostgreSQL calls, of which `wal/launchers.py` knows the text."""
    from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.launchers import FETCH, PUSH, fetch_script, push_script

    config, folder = asked.folder / "wal.json", asked.launcher_dir
    run_dir = Path(str((asked.wal or {}).get("run_dir") or asked.own("run") / f"wal-{asked.folder.name}"))
    document = {**(asked.wal or {}), "run_dir": str(run_dir)}
    _refuse_other(folder / PUSH, config)
    root, python = library_of(asked.directories["runtime"]), asked.python or python_of(asked.directories["runtime"])
    scripts = {
        PUSH: push_script(folder, config, run_dir, python, root),
        FETCH: fetch_script(folder, config, python, root),
    }
    data = json.dumps(document, indent=2).encode() + b"\n"
    return [
        Directory(folder, user=asked.owner, group=asked.owner),
        File(config, data, 0o640, asked.owner, group),
        *(File(folder / name, text.encode(), 0o755, asked.owner, asked.owner) for name, text in scripts.items()),
    ]


def _refuse_other(launcher: Path, config: Path) -> None:
    """A server's archive_command names the launcher: it must not begin to push into the archive of another system."""
    try:
        text = launcher.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    found = next((line.partition("=")[2].strip("'") for line in text.splitlines() if line.startswith("config=")), "")
    if found and found != str(config):
        raise ConfigurationError(
            f"{launcher.name} there archives by {found}, and this system's job file is {config}",
            str(launcher),
            "Name a directory of this system's own as launcher_dir.",
        )


def _schedules(asked: Asked, stale: Sequence[str], program: str) -> Wanted:
    cron = cron_file(asked.system, asked.part_of, asked.directories["cron"])
    users = dict.fromkeys(asked.documents, asked.user)
    text = cron_text(asked.jobs, program, users, clock_name()) if asked.scheduler == "cron" else ""
    found: Wanted = [File(cron, text.encode(), 0o644, asked.owner, asked.owner) if text else Absent(cron)]
    units: dict[str, str] = {}
    if asked.scheduler == "systemd":
        for job in asked.jobs:
            units.update(unit_texts(job, program, asked.user))
    folder = asked.directories["units"]
    wants = folder / "timers.target.wants"
    if units:
        found.append(Directory(wants, user=asked.owner, group=asked.owner))
    for name in [*asked.documents, *stale]:
        for suffix in (".service", ".timer"):
            unit = unit_name(asked.system, name) + suffix
            found.append(
                File(folder / unit, units[unit].encode(), 0o644, asked.owner, asked.owner) if unit in units else Absent(folder / unit)
            )
        timer = f"{unit_name(asked.system, name)}.timer"
        found.append(Link(wants / timer, f"../{timer}") if timer in units else Absent(wants / timer))
    return found


def _unit_paths(asked: Asked, stale: Sequence[str]) -> list[Path]:
    folder = asked.directories["units"]
    return [folder / (unit_name(asked.system, name) + suffix) for name in [*asked.documents, *stale] for suffix in (".service", ".timer")]


def _settle(asked: Asked, timers: Sequence[str], units_changed: bool) -> bool:
    """Let systemd read its units, and start the timers that do not run; whether something had to be done."""
    if str(asked.directories["units"]) != DIRECTORIES["units"] or not Path("/run/systemd/system").is_dir():
        if timers and str(asked.directories["units"]) == DIRECTORIES["units"]:
            raise MissingTool("systemd does not run on this host", "scheduler systemd", "Take scheduler cron.")
        return False
    if units_changed:
        _systemctl("daemon-reload")
        for timer in _left_running(asked, timers):
            _systemctl("stop", timer)
        if timers:
            _systemctl("restart", *timers)
        return True
    idle = [timer for timer in timers if _ask("is-active", "--quiet", timer)]
    if idle:
        _systemctl("start", *idle)
    return bool(idle)


def _left_running(asked: Asked, timers: Sequence[str]) -> list[str]:
    """Timers of this system's jobs whose file is gone, and that systemd still keeps."""
    stem = unit_name(asked.system, "x")[:-1]
    done = _call("list-units", "--plain", "--no-legend", "--type=timer", "--state=not-found", f"{stem}*")
    return [
        line.split()[0] for line in done.stdout.decode("utf-8", "replace").splitlines() if line.split() and line.split()[0] not in timers
    ]


def _systemctl(*words: str) -> None:
    done = _call(*words)
    if done.returncode:
        raise ConfigurationError(f"systemctl {' '.join(words)} failed: {clean_line(done.stderr.decode('utf-8', 'replace'))}", "systemd")


def _ask(*words: str) -> int:
    return _call(*words).returncode


def _call(*words: str) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("systemctl") or "/usr/bin/systemctl"
    # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
    return subprocess.run([program, *words], stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _told(asked: Asked, name: str) -> dict[str, Any]:
    document = asked.documents[name]
    return {
        "name": name,
        "kind": document["kind"],
        "file": str(asked.folder / f"{name}.json"),
        "schedule": document.get("schedule") or "",
        "zone": document["zone"],
        "user": asked.user,
    }
