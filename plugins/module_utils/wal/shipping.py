# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which file a thread takes next: what is asked for first, then what follows. Knows nothing of archives and servers."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, LifeboatError

__all__ = ["Shipping", "Task"]


class Task:
    """One file on its way. `error` says why it did not arrive; both are read under the condition."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.finished = False
        self.error: LifeboatError | None = None
        self.begun: float | None = None


class Shipping:
    """Threads that call `ship` for one file each. Who asks for a file that is on its way already waits for that one.

    `condition` is notified whenever a file has arrived or failed.
    """

    def __init__(self, ship: Callable[[Path], None], threads: int) -> None:
        self.condition = threading.Condition()
        self._ship = ship
        self._asked: collections.deque[Task] = collections.deque()
        self._ahead: collections.deque[Path] = collections.deque()
        self._tasks: dict[Path, Task] = {}
        self._ending = False
        self._threads = [threading.Thread(target=self._work, name=f"ship-{number}", daemon=True) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def ask(self, path: Path) -> Task:
        """The task that carries this file, made now if there is none."""
        with self.condition:
            task = self._tasks.get(path)
            if task is None:
                task = self._tasks[path] = Task(path)
                self._asked.append(task)
                self.condition.notify_all()
            return task

    def follow_with(self, paths: Iterable[Path]) -> None:
        """What to take when nothing is asked for; replaces what was said before."""
        with self.condition:
            self._ahead = collections.deque(path for path in paths if path not in self._tasks)
            self.condition.notify_all()

    @property
    def idle(self) -> bool:
        with self.condition:
            return not self._tasks and not self._ahead

    @property
    def nothing_follows(self) -> bool:
        with self.condition:
            return not self._ahead

    def slowest_seconds(self) -> float:
        """For how long the slowest file has been on its way."""
        with self.condition:
            begun = [task.begun for task in self._tasks.values() if task.begun is not None]
        return time.monotonic() - min(begun) if begun else 0.0

    def end(self, wait_seconds: float) -> None:
        """Begin nothing more, and wait so long for what is on its way."""
        with self.condition:
            self._ending = True
            self._ahead.clear()
            self.condition.notify_all()
        deadline = time.monotonic() + wait_seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while (task := self._next()) is not None:
            error: LifeboatError | None = None
            try:
                self._ship(task.path)
            except LifeboatError as fault:
                error = fault
            except Exception as fault:  # noqa: BLE001 - a thread must not die in silence: whoever waits for the file is told
                error = ArchiveError(f"{type(fault).__name__}: {fault}", str(task.path), "This is a fault of lifeboat: report it.")
            with self.condition:
                task.error, task.finished = error, True
                del self._tasks[task.path]
                if error is not None:
                    # Whatever is wrong is most likely wrong for the next one, too: the archiver decides when to try again.
                    self._ahead.clear()
                self.condition.notify_all()

    def _next(self) -> Task | None:
        with self.condition:
            while not self._ending:
                if self._asked:
                    task = self._asked.popleft()
                elif self._ahead:
                    path = self._ahead.popleft()
                    if path in self._tasks:
                        continue
                    task = self._tasks[path] = Task(path)
                else:
                    self.condition.wait()
                    continue
                task.begun = time.monotonic()
                return task
            return None
