# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What starts the jobs: a file in cron.d for each set of them, or a timer and a service of systemd for each job. Texts, and their names."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.job import JobFile

__all__ = ["CRON_DIR", "CRON_PATH", "UNIT_DIR", "cron_file", "cron_text", "scheduled_in", "unit_name", "unit_texts"]

CRON_DIR = Path("/etc/cron.d")
UNIT_DIR = Path("/etc/systemd/system")
CRON_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MADE = "# Written by lifeboat.postgres: the next run of the role writes it anew."


def _plain(name: str) -> str:
    """A name that cron and systemd take: Debian's cron passes files by that have a dot in their name."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def cron_file(system: str, part_of: str, folder: Path = CRON_DIR) -> Path:
    return folder / f"lifeboat-{_plain(system)}-{_plain(part_of)}"


def unit_name(system: str, job: str) -> str:
    return f"lifeboat-{_plain(system)}-{_plain(job)}"


def cron_text(jobs: Sequence[JobFile], program: str, users: Mapping[str, str], zone: str) -> str:
    """The file of a set of jobs, or "" where none has a schedule. Cron has no zone for one job, so the file says whose clock counts."""
    lines = [
        f"{job.schedule.cron} {users[job.job]} {_cron_word(program)} run {_cron_word(job.path)} >/dev/null 2>&1"
        for job in jobs
        if job.schedule is not None
    ]
    if not lines:
        return ""
    return "\n".join((
        _MADE,
        f"# Times are of this host's clock, {zone}. What a job says is in the system's log and below /var/log/lifeboat.",
        "SHELL=/bin/sh",
        f"PATH={CRON_PATH}",
        'MAILTO=""',
        *lines,
        "",
    ))  # fmt: skip


def unit_texts(job: JobFile, program: str, user: str) -> dict[str, str]:
    """The texts of a job's service and timer by their file names; both for every job that has a schedule."""
    if job.schedule is None:
        return {}
    name = unit_name(job.system, job.job)
    calendars = "\n".join(f"OnCalendar={calendar}" for calendar in job.schedule.calendars)
    service = f"""{_MADE}
[Unit]
Description=lifeboat: {job.kind} {_plain(job.job)} of {_plain(job.system)}
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
User={user}
Environment=PATH={CRON_PATH}
ExecStart={_unit_word(program)} run {_unit_word(job.path)}
# Another run goes on: that one will say how it ends.
SuccessExitStatus=10
"""
    timer = f"""{_MADE}
[Unit]
Description=lifeboat: when {_plain(job.job)} of {_plain(job.system)} is due

[Timer]
{calendars}
AccuracySec=1s
Persistent=true
Unit={name}.service

[Install]
WantedBy=timers.target
"""
    return {f"{name}.service": service, f"{name}.timer": timer}


def _cron_word(word: object) -> str:
    """A word for the shell, on a line in which cron takes a bare % for the end of it."""
    return shlex.quote(str(word)).replace("%", "\\%")


def _unit_word(word: object) -> str:
    return str(word).replace("%", "%%").replace("$", "$$")


def scheduled_in(job: JobFile, cron_dir: Path = CRON_DIR, unit_dir: Path = UNIT_DIR) -> str:
    """The file that starts this job, or "" where nothing does."""
    timer = unit_dir / f"{unit_name(job.system, job.job)}.timer"
    if (unit_dir / "timers.target.wants" / timer.name).exists():
        return str(timer)
    for path in sorted(cron_dir.glob("lifeboat-*")):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        if any(not line.startswith("#") and f" run {_cron_word(job.path)} " in line for line in lines):
            return str(path)
    return ""
