# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`lifeboat wal ship DIR` and `lifeboat wal receive`: WAL of servers that cannot run our command themselves."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.command.terminal import Terminal, complain
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import Stopped, stop_on_signals
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import DEFAULT_FILE, read_job_file

__all__ = ["receive", "ship"]


def ship(given: argparse.Namespace, terminal: Terminal) -> int:
    """0 when nothing is left to ship; with `--once` else the status of the first fault."""
    from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.ship import ship as run

    job = read_job_file(given.config or DEFAULT_FILE)
    status = 0
    with _until_stopped():
        answer = run(job, Path(given.spool).expanduser(), once=given.once, say=complain)
        terminal.line(f"{len(answer.names)} files shipped")
        for name, error in sorted(answer.faults.items()):
            complain(f"{name}: {error}")
            status = status or error.exit_code
    return status


def receive(given: argparse.Namespace, terminal: Terminal) -> int:
    """Runs until it is told to stop, which is its good end."""
    from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.receive import receive as run

    job = read_job_file(given.config or DEFAULT_FILE)
    with _until_stopped():
        run(job, say=complain)
    return 0


@contextlib.contextmanager
def _until_stopped() -> Iterator[None]:
    """Being told to stop (SIGTERM, Ctrl-C) is the good end of what runs for ever: nothing was begun that must be finished."""
    with contextlib.suppress(Stopped), stop_on_signals():
        yield
