# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the jobs of this host stand: when each last went well, how it ended, when it is due, and whether it is late."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.drills import Standing, standing_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.job import JobFile
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.log import last_progress, log_file
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.state import JobState, read_state, state_file
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import encode_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.private_directory import is_held
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

__all__ = ["JobStatus", "status_of"]


@dataclass(frozen=True)
class JobStatus:
    """`problem` is what is wrong with it in a few words, or "". `next_due` is None for a job that no clock starts. `drill` is about the
    drills themselves, of a job that looks more often than it drills. `doing` is what a job that goes on said last, or "".
    """

    job: JobFile
    state: JobState
    running: bool
    next_due: dt.datetime | None
    problem: str
    drill: Standing | None = None
    doing: str = ""

    def to_document(self) -> dict[str, Any]:
        return {
            **self.state.to_document(),
            "running": self.running,
            "next_due": None if self.next_due is None else format_moment(self.next_due),
            "problem": self.problem,
            "file": str(self.job.path),
            "part_of": self.job.part_of,
            "user": self.job.user,
            "doing": self.doing,
            **({} if self.drill is None else {"drill": self.drill.to_document()}),
        }


def status_of(jobs: Sequence[JobFile], moment: dt.datetime) -> list[JobStatus]:
    return [_one(job, moment) for job in jobs]


def _one(job: JobFile, moment: dt.datetime) -> JobStatus:
    state, fault = read_state(state_file(job.state_dir, job.system, job.job), job.job, job.kind, job.system)
    lock = job.run_dir / "-".join(encode_name(part) for part in (job.system, "job", job.job))
    running = is_held(lock)
    # Another user's lock cannot be tried: then it is not known whether that job runs.
    known = not lock.exists() or os.access(lock, os.R_OK | os.W_OK)
    due = job.due(moment)
    drill = standing_of(job, moment, _made(job))
    problem = fault or _problem(job, state, running or not known, moment) or (drill.problem if drill else "")
    doing = last_progress(log_file(job.log_dir, job.system, job.job)) if running else ""
    return JobStatus(job, state, running, due[1] if due else None, problem, drill, doing)


def _problem(job: JobFile, state: JobState, running: bool, moment: dt.datetime) -> str:
    if state.last_started and not running and (state.last_finished is None or state.last_finished < state.last_started):
        return "it began and never said how it ended: killed, or the host went down"
    if state.last_status:
        return f"failed with {state.last_status}: {state.detail}"
    turn_before = job.due_before(moment)
    if turn_before is None or running:
        return ""
    # A job that was never run is late when it should have been twice; so a new one has its first turn ahead of it.
    newest = state.last_success or _made(job)
    if newest is not None and newest < turn_before:
        return "late: a whole turn went by without a success" if state.last_success else "never run, though it was due"
    return ""


def _made(job: JobFile) -> dt.datetime | None:
    try:
        return dt.datetime.fromtimestamp(job.path.stat().st_mtime, dt.timezone.utc)
    except OSError:
        return None
