# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`lifeboat wal push %p`, `wal fetch %f %p` and `wal catch-up`: what PostgreSQL calls, and what follows from it.

PostgreSQL reads nothing of them but the exit status, and it is particular about it: above 125 the archiver starts anew and
counts no failure, and a recovery that is told 1 takes the log to be at its end.
"""

from __future__ import annotations

import argparse

from ansible_collections.lifeboat.postgres.plugins.module_utils.command.terminal import Terminal, complain
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import DEFAULT_FILE, WalJob, read_job_file

__all__ = ["catch_up", "fetch", "push"]


def push(given: argparse.Namespace, terminal: Terminal) -> int:
    """0 if and only if every required repository holds the file durably; else 1 to 125."""
    try:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.push import push_file

        result = push_file(given.path, _job(given))
    except LifeboatError as error:
        complain(str(error))
        return min(error.exit_code, 125)
    except BaseException as error:  # noqa: BLE001 - whatever it was, the status has to be one that the archiver counts
        complain(f"archiving {given.path} failed: {type(error).__name__}: {error}")
        return 1
    for name, reason in result.behind.items():
        complain(f"optional repository {name!r} lacks {result.name} for now: {reason}")
    return 0


def fetch(given: argparse.Namespace, terminal: Terminal) -> int:
    """0 delivered, 1 certainly not in the archive, 126 anything else (in a standby: 1)."""
    from ansible_collections.lifeboat.postgres.plugins.module_utils.wal import ahead

    directory = ahead.ahead_directory(given.target) if ahead.is_segment(given.name) else None
    if directory is not None and ahead.take(directory, given.name, given.target):
        return 0
    from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.fetch import DELIVERED, MISSING, fetch_for_server
    from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import WalName

    jobs = []

    def make_job() -> WalJob:
        jobs.append(_job(given))
        return jobs[0]

    status = fetch_for_server(given.name, given.target, make_job, complain)
    if status == DELIVERED and directory is not None and jobs[0].prefetch:
        ahead.bring_what_follows(directory, WalName.parse(given.name), given.config or DEFAULT_FILE)
    # A Python that breaks down ends with 1, too: who calls it can ask for another status than that.
    return given.missing if status == MISSING else status


def catch_up(given: argparse.Namespace, terminal: Terminal) -> int:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.catch_up import catch_up as run

    status = 0
    for name, answer in run(_job(given), everything=given.all).items():
        terminal.line(f"{name}: {answer.copied} sent, {answer.missing} still missing{': ' if answer.reason else ''}{answer.reason}")
        status = status or answer.status
    return status


def _job(given: argparse.Namespace) -> WalJob:
    return WalJob.from_options(read_job_file(given.config or DEFAULT_FILE))
