# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of a job: lock, run within its time, remember, log, and tell somebody when it failed. The exit status is the job's own."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import threading
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.lock import host_lock
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError, Locked, TimedOut
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.dead_man import ping
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.hooks import tell
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.job import JobFile
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.kinds import function_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.log import JobLog, log_file
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.state import read_state, state_file, write_state
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import VERSION, Stopped, host_name, now, stop_on_signals
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import clean_line, duration, many

__all__ = ["run_job"]

_GRACE_SECONDS = 120.0
"""How long a job that ran out of time may take to clean up before its process is ended."""


@dataclass(frozen=True)
class _Outcome:
    status: int
    message: str
    changed: bool | None = None
    error: Mapping[str, str] | None = None
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def run_job(job: JobFile, log: JobLog | None = None) -> int:
    """Run it, and return its exit status: 0, that of its error (errors.py), 128 and the signal's number when it was stopped."""
    log = log or JobLog(job.system, job.job, log_file(job.log_dir, job.system, job.job))
    for problem in log.problems:
        log.say("warning", f"the log is not whole: {problem}", "warning")
    try:
        with host_lock(job.system, "job", job.job, job.run_dir, "the job"):
            return _run(job, log)
    except Locked as error:
        # Not a failure of its own: the run that goes on will say how it ends.
        log.say("overlap", str(error), "warning", status=error.exit_code)
        return error.exit_code
    except LifeboatError as error:
        log.say("failed", str(error), "error", status=error.exit_code)
        _tell(job, log, _Outcome(error.exit_code, str(error), error=_parts(error)), 1, format_moment(now()))
        return error.exit_code
    finally:
        log.close()


def _run(job: JobFile, log: JobLog) -> int:
    path = state_file(job.state_dir, job.system, job.job)
    before, problem = read_state(path, job.job, job.kind, job.system)
    if problem:
        log.say("warning", f"what the job remembered is lost: {problem}", "warning")
    started = now()
    running = dataclasses.replace(before, kind=job.kind, last_started=started)
    _remember(path, running, log)
    log.say("started", f"{job.kind} begins", kind=job.kind, version=VERSION, file=str(job.path))
    outcome = _outcome(job, log)
    finished, good = now(), outcome.status == 0
    failures = 0 if good else before.consecutive_failures + 1
    ended = dataclasses.replace(
        running,
        last_finished=finished,
        last_status=outcome.status,
        last_success=finished if good else before.last_success,
        changed=outcome.changed,
        detail=outcome.message,
        consecutive_failures=failures,
    )
    _remember(path, ended, log)
    seconds = round((finished - started).total_seconds(), 3)
    log.say(
        "finished" if good else "failed",
        outcome.message,
        "info" if good else "error",
        status=outcome.status,
        changed=outcome.changed,
        seconds=seconds,
        **outcome.details,
        **({"error": outcome.error} if outcome.error else {}),
    )
    if not good:
        _tell(job, log, outcome, failures, format_moment(started))
    if job.dead_man_url_file is not None:
        problem = ping(job.dead_man_url_file, good)
        if problem:
            log.say("hook", f"the dead man's switch was not told: {problem}", "error", hook="dead man", good=False)
    return outcome.status


def _outcome(job: JobFile, log: JobLog) -> _Outcome:
    late = threading.Event()
    try:
        with stop_on_signals(), _within(job.timeout_seconds, late):
            result = function_of(job.kind)(job.options, lambda message: log.say("progress", message))
    except LifeboatError as error:
        return _failed(error, log)
    except Stopped as stop:
        if late.is_set():
            return _failed(TimedOut(f"it had not ended after {duration(job.timeout_seconds)}", job.name, "Look why, or give it more."), log)
        return _Outcome(128 + stop.signal, f"stopped by {stop}; what had been started was ended and cleaned up")
    except Exception as error:  # noqa: BLE001 - a job's last words
        said = f"unexpected {type(error).__name__}: {clean_line(str(error))}. This is a fault of lifeboat.postgres: please report it."
        return _Outcome(1, said, details={"traceback": traceback.format_exc()})
    _warn(result, log)
    return _Outcome(0, _summary(result), bool(result.get("changed")), details=_facts(result))


@contextlib.contextmanager
def _within(seconds: float, late: threading.Event) -> Iterator[None]:
    """After so many seconds the job is stopped like by `kill`, so that it cleans up; if it does not, its process is ended."""
    over, deciding = threading.Event(), threading.Lock()

    def watch() -> None:
        if over.wait(seconds):
            return
        with deciding:  # never a signal that comes when the block has ended, and nobody is there to take it
            if over.is_set():
                return
            late.set()
            os.kill(os.getpid(), signal.SIGTERM)
        if not over.wait(_GRACE_SECONDS):
            os.kill(os.getpid(), signal.SIGKILL)  # locks go with the process; the state says that it began and never ended

    thread = threading.Thread(target=watch, name="time limit", daemon=True)
    thread.start()
    try:
        yield
    finally:
        # What is under way was told to end, or will never be.
        with deciding:
            over.set()


def _failed(error: LifeboatError, log: JobLog) -> _Outcome:
    _warn(error.result, log)
    return _Outcome(error.exit_code, str(error), bool(error.result.get("changed")), _parts(error), _facts(error.result))


def _parts(error: LifeboatError) -> dict[str, str]:
    return {"kind": type(error).__name__, "what": error.what, "where": error.where, "next_step": error.next_step}


def _tell(job: JobFile, log: JobLog, outcome: _Outcome, failures: int, started: str) -> None:
    """Tell the hooks, and log what became of each: an alert that did not get out must be found somewhere."""
    if failures < job.hooks.after:
        return
    report = {
        "schema": 1,
        "event": "failed",
        "system": job.system,
        "job": job.job,
        "kind": job.kind,
        "host": host_name(),
        "status": outcome.status,
        "message": outcome.message,
        "error": outcome.error,
        "started_at": started,
        "finished_at": format_moment(now()),
        "consecutive_failures": failures,
    }
    for told in tell(job.hooks, report):
        if told.problem:
            log.say("hook", f"{told.hook} was not told: {told.problem}", "error", hook=told.hook, good=False)
        else:
            log.say("hook", f"{told.hook} was told", hook=told.hook, good=True)


def _remember(path: Any, state: Any, log: JobLog) -> None:
    try:
        write_state(path, state)
    except LifeboatError as error:
        log.say("warning", str(error), "warning")


def _warn(result: Mapping[str, Any], log: JobLog) -> None:
    for warning in result.get("warnings", ()):
        log.say("warning", str(warning), "warning")


def _facts(result: Mapping[str, Any]) -> dict[str, Any]:
    """What of a result belongs into a log: figures and names, not whole reports."""
    return {"result": {key: value for key, value in result.items() if key in _LOGGED and isinstance(value, (str, int, float, list))}}


_LOGGED = (
    "backup_id", "parent", "snapshot_at", "age_seconds", "report_files", "unlisted", "copied", "removed", "kept", "problems", "moment",
    "lsn", "backups", "reaped",
)  # fmt: skip


def _summary(result: Mapping[str, Any]) -> str:
    """One sentence about what was done."""
    databases = result.get("databases")
    if isinstance(databases, Mapping):
        taken = [name for name, one in databases.items() if one.get("changed")]
        young = len(databases) - len(taken)
        said = f"{many(len(taken), 'database')} backed up" + (f": {', '.join(taken)}" if taken else "")
        return f"{said}; {young} had a young backup already" if young else said
    due = result.get("due")
    if isinstance(due, Mapping) and not due.get("due"):
        return f"no drill is due: {due.get('reason', '')}"
    if isinstance(result.get("report"), Mapping):
        report = result["report"]
        return f"the drill of {report.get('name', '?')} {report.get('verdict', '?')}"
    if isinstance(result.get("copied"), list):
        return f"{many(len(result['copied']), 'backup')} copied"
    if result.get("backup_id"):
        return f"backup {result['backup_id']}" if result.get("changed") else f"backup {result['backup_id']} is young enough"
    return "done" if result.get("changed") else "nothing had to be done"
