# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leave no process behind: everything the demo starts, also indirectly, stays its descendant and ends with it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

LINUX = sys.platform.startswith("linux")


def adopt_orphans() -> None:
    """Linux: what loses its parent becomes the demo's own child (PR_SET_CHILD_SUBREAPER), so that it can be found."""
    if LINUX:
        set_child_subreaper = 36
        ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def descendants(of: int) -> set[int]:
    """The ids of all processes below `of`, without it."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = [of]
    while waiting:
        for child in children.get(waiting.pop(), []):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def end_descendants(grace_seconds: float = 8.0, spare: frozenset[int] = frozenset()) -> None:
    """End everything below this process but the processes in `spare` and what is below those: TERM, then KILL."""
    for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 5.0)):
        asked: set[int] = set()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            alive = _alive(spare)
            if not alive:
                return
            for pid in alive - asked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            asked |= alive
            time.sleep(0.05)


def _alive(spare: frozenset[int]) -> set[int]:
    """What still runs below us; the dead are collected on the way."""
    spared = set(spare).union(*(descendants(pid) for pid in spare)) if spare else set()
    found = descendants(os.getpid()) - spared
    for pid in list(found):
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                found.discard(pid)
        except ChildProcessError:
            pass  # not our child but a grandchild: its parent, or we after that parent's end, will collect it
    return found


def _parents() -> list[tuple[int, int]]:
    """(pid, parent's pid) of every process."""
    if not LINUX:
        listing = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=False)
        rows = [line.split() for line in listing.stdout.splitlines()]
        return [(int(row[0]), int(row[1])) for row in rows]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text(errors="replace")
            except OSError:
                continue  # it ended meanwhile
            found.append((int(entry.name), int(status.rpartition(")")[2].split()[1])))
    return found
