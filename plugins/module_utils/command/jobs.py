# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`lifeboat run`, `drill`, `prune`, `reap`, `status` and `doctor`: the jobs of this host, run and looked at."""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.command.terminal import Terminal, complain
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.job import FOLDER, JobFile, find_job, read_jobs
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration, shortened

__all__ = ["doctor", "drill", "of_kind", "prune", "reap", "run", "status"]

_COLUMNS = 79


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    return _run(find_job(given.name, _folder(given)))


def drill(given: argparse.Namespace, terminal: Terminal) -> int:
    return _run(of_kind("drill", given))


def prune(given: argparse.Namespace, terminal: Terminal) -> int:
    return _run(of_kind("prune", given))


def reap(given: argparse.Namespace, terminal: Terminal) -> int:
    return _run(of_kind("reap", given))


def status(given: argparse.Namespace, terminal: Terminal) -> int:
    """0 when every job last ended well and none is late, else 1; 2 when a job file cannot be read."""
    from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.status import status_of

    jobs, faults = read_jobs(_folder(given))
    moment = now()
    found = status_of([job for job in jobs if given.system in (None, job.system)], moment)
    if given.json:
        terminal.json({"schema": 1, "jobs": [one.to_document() for one in found], "faults": [str(fault) for fault in faults]})
    else:
        for line, tone in _lines(found, moment):
            terminal.line(line, tone)
        for fault in faults:
            terminal.line(f"! {fault}", "bad")
        if not found and not faults:
            terminal.line(f"no jobs below {_folder(given)}")
    return ConfigurationError.exit_code if faults else int(any(one.problem for one in found))


def doctor(given: argparse.Namespace, terminal: Terminal) -> int:
    """0 when nothing is wrong, else 1. What is only doubtful does not count."""
    from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.doctor import BAD, TONES, examine

    jobs, faults = read_jobs(_folder(given))
    findings = list(examine([job for job in jobs if given.system in (None, job.system)], faults))
    if given.json:
        terminal.json({"schema": 1, "findings": [finding.to_document() for finding in findings]})
    else:
        for finding in findings:
            terminal.line(f"{finding.mark} {finding.what}: {finding.found}", TONES[finding.grade])
            if finding.next_step:
                terminal.line(f"    {finding.next_step}")
    return int(any(finding.grade == BAD for finding in findings))


def _run(job: JobFile) -> int:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.identity import become
    from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.run import run_job

    become(job.user, job.name)
    status = run_job(job)
    if status == 10:
        complain(f"{job.name} is running already; nothing was started")
    return status


def of_kind(kind: str, given: argparse.Namespace) -> JobFile:
    """The job that was named, or the only one of its kind; raises `ConfigurationError`."""
    folder = _folder(given)
    if given.name:
        job = find_job(given.name, folder)
        if job.kind != kind:
            raise ConfigurationError(f"{job.name} is a job of kind {job.kind}", str(job.path), f"lifeboat run {job.name} runs it.")
        return job
    jobs, faults = read_jobs(folder)
    found = [job for job in jobs if job.kind == kind]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigurationError(f"there is no job of kind {kind}", str(folder), str(faults[0]) if faults else "")
    raise ConfigurationError(
        f"there are {len(found)} jobs of kind {kind}", str(folder), f"Name one: {', '.join(job.name for job in found)}."
    )


def _folder(given: argparse.Namespace) -> Path:
    return Path(given.jobs) if given.jobs else FOLDER


def _lines(found: Sequence[Any], moment: dt.datetime) -> Iterator[tuple[str, str]]:
    """A line a job, and one below it where something is wrong."""
    if not found:
        return
    width = max(len("job"), *(len(one.job.name) for one in found))
    yield f"  {'job':{width}}  {'last success':>14}  {'last result':>13}  next due (UTC)", "title"
    for one in found:
        state = one.state
        since = f"{duration((moment - state.last_success).total_seconds())} ago" if state.last_success else "never"
        result = "running" if one.running else _result(state.last_status)
        due = f"{one.next_due:%Y-%m-%d %H:%M}" if one.next_due else "not scheduled"
        mark, tone = ("!", "bad") if one.problem else (" ", "good" if state.last_success else "")
        yield f"{mark} {one.job.name:{width}}  {since:>14}  {result:>13}  {due}", tone
        if one.doing:
            yield f"    {shortened(one.doing, _COLUMNS - 4)}", ""
        if one.drill is not None:
            yield f"    {shortened(one.drill.words, _COLUMNS - 4)}", ""
        if one.problem:
            yield f"    {shortened(one.problem, _COLUMNS - 4)}", "bad"


def _result(status: int | None) -> str:
    if status is None:
        return "-"
    return "well" if status == 0 else f"failed ({status})"
