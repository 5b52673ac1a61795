# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes and mounts belong to a drill, asked of the kernel and not of our own bookkeeping."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import DRILL_VARIABLE

__all__ = ["end_processes", "mounts_below", "processes_of"]

_PROC = Path("/proc")
_POLL_SECONDS = 0.02


def processes_of(directory: Path) -> dict[int, str]:
    """Processes of the drill whose directory this is: process id to its name. Never this process.

    A process belongs to the drill when its environment names it, when its private mounts lie in its directory, or when it
    is a PostgreSQL process that works there (PostgreSQL overwrites its environment with its title). A shell in which
    somebody looks at the directory does not.
    """
    if not _PROC.joinpath("self").exists():
        return _processes_by_ps(directory)
    found = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _belongs(entry, directory):
            found[int(entry.name)] = _text(entry / "comm").strip()
    return found


def end_processes(directory: Path, timeout_seconds: float = 20.0) -> dict[int, str]:
    """Kill what belongs to the drill until nothing is left or the time is over; return what is left."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        left = processes_of(directory)
        if not left or time.monotonic() > deadline:
            return left
        for pid in left:
            # The process id was read a moment ago: a pidfd makes sure that the signal meets the process we looked at.
            _kill(pid, directory)
        time.sleep(_POLL_SECONDS)


def mounts_below(directory: Path) -> list[str]:
    """Mount points at or below the directory, as this process sees them."""
    points = [line.split(" ")[4] for line in _text(_PROC / "self" / "mountinfo").splitlines() if line]
    return [point for point in points if point == str(directory) or point.startswith(f"{directory}/")]


def _belongs(process: Path, directory: Path) -> bool:
    with contextlib.suppress(OSError):
        if _zombie(process):
            return False
        environment = (process / "environ").read_bytes().split(b"\0")
        if f"{DRILL_VARIABLE}={directory.name}".encode() in environment:
            return True
    with contextlib.suppress(OSError):
        if f"/{directory.name}/" in (process / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape"):
            return True
    with contextlib.suppress(OSError):
        cwd, program = os.readlink(process / "cwd"), os.readlink(process / "exe")
        return cwd.startswith(f"{directory}/") and os.path.basename(program).startswith("postgres")
    return False


def _zombie(process: Path) -> bool:
    """Dead already, and only waiting for its parent to notice; it holds nothing."""
    status = _text(process / "stat").rpartition(")")[2].split()
    return not status or status[0] in "ZX"


def _kill(pid: int, directory: Path) -> None:
    opened: Callable[[int], int] | None = getattr(os, "pidfd_open", None)
    with contextlib.suppress(OSError):
        if opened is None or not hasattr(signal, "pidfd_send_signal"):
            os.kill(pid, signal.SIGKILL)
            return
        descriptor = opened(pid)
        try:
            if _belongs(_PROC / str(pid), directory):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)


def _processes_by_ps(directory: Path) -> dict[int, str]:
    """Without /proc (macOS): PostgreSQL's main process names the directory in its arguments; its children end with it."""
    # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
    listing = subprocess.run(
        ["ps", "-axww", "-o", "pid=", "-o", "command="], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    found = {}
    for line in listing.stdout.splitlines():
        pid, _space, command = line.strip().partition(" ")
        if pid.isdigit() and int(pid) != os.getpid() and "postgres" in command and f"{directory}/" in command:
            found[int(pid)] = command.split()[0]
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
