# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this process holds (threads, file descriptors, children), to prove that something left nothing behind; and waiting."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["children", "eventually", "leaves_nothing", "open_files", "program", "program_once_there", "programs", "runs"]


def open_files() -> dict[int, str]:
    """Number and target of every open file descriptor."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found[int(entry.name)] = str(entry.readlink())
    # The descriptor that listed the directory is gone by now.
    return {number: target for number, target in found.items() if not target.startswith("/proc/")}


def children(pid: int | None = None) -> set[int]:
    """The process ids of all descendants, zombies included; one that ends while we look may be missing."""
    found = _direct_children(pid or os.getpid())
    return found.union(*(children(child) for child in found))


def _direct_children(pid: int) -> set[int]:
    found: set[int] = set()
    # A process that we just saw may have ended: then neither it nor what it had started is there to be listed.
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found.update(int(word) for word in (task / "children").read_text().split())
    return found


def program(name: str, below: int | None = None) -> int | None:
    """The process id of a descendant that runs this program."""
    return next(iter(programs(name, below)), None)


def programs(name: str, below: int | None = None) -> set[int]:
    """The process ids of all descendants that run this program."""
    found = set()
    for child in children(below):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{child}/comm").read_text().strip() == name:
                found.add(child)
    return found


def program_once_there(name: str, below: int | None = None) -> int:
    """The process id of a descendant that runs this program, once there is one that the kernel tells of."""
    found: set[int] = set()

    def is_there() -> bool:
        found.update(programs(name, below))
        return bool(found)

    eventually(is_there, f"{name} runs")
    return min(found)


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended and only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def eventually(condition: Callable[[], bool], what: str, seconds: float = 300.0) -> None:
    """Return once `condition` holds; fail by name when it does not in time, which only ends a wait that is hopeless."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} seconds still not: {what}"
        time.sleep(0.01)


@contextlib.contextmanager
def leaves_nothing() -> Iterator[None]:
    """The block must end with the file descriptors, threads and children that it began with.

    What the children of before start and end in the meantime (a server's workers) is their own affair. Threads of before, such as
    those of a server that an earlier test has stopped, may end meanwhile and close what is theirs; so may what is collected as
    garbage.
    """
    files, threads, processes = open_files(), set(threading.enumerate()), _direct_children(os.getpid())

    def left() -> tuple[dict[int, str], set[threading.Thread], set[int]]:
        found = _direct_children(os.getpid()) - processes
        new_files = {number: target for number, target in open_files().items() if files.get(number) != target}
        return new_files, set(threading.enumerate()) - threads, found.union(*map(children, found))

    yield
    # What is about to end has ended in a moment; what was left behind stays.
    with contextlib.suppress(AssertionError):
        eventually(lambda: not any(left()), "all has ended", 120)
    assert left() == ({}, set(), set())
