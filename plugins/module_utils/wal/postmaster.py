# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One life of a server: which postmaster runs on a data directory, and whether it still does.

`postmaster.pid` says the process id in its first line and the moment of the start, in seconds, in its third
(src/include/utils/pidfile.h). Both together name a life: a process id comes back, in a container always the same one.
"""

from __future__ import annotations

import contextlib
import os
import select
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PID_FILE", "Postmaster", "Watch"]

PID_FILE = "postmaster.pid"


@dataclass(frozen=True)
class Postmaster:
    """A postmaster of `data_dir` and the moment of its start, as its own file tells them."""

    data_dir: Path
    pid: int
    started: str

    @classmethod
    def of(cls, data_dir: Path) -> Postmaster | None:
        """The one that the directory's file names, or None where there is no such file, or no whole one."""
        with contextlib.suppress(OSError, ValueError):
            lines = (data_dir / PID_FILE).read_text(encoding="ascii", errors="replace").splitlines()
            if len(lines) >= 3 and lines[2].strip().isdigit():
                # A server for one user writes its process id with a minus; nothing archives then.
                pid = int(lines[0])
                return cls(data_dir, pid, lines[2].strip()) if pid > 0 else None
        return None

    @property
    def life(self) -> str:
        """A name for this life: no other server of this host has it, neither now nor later."""
        return f"{self.pid}-{self.started}"


class Watch:
    """Sees a postmaster's end, also when it was killed and left its file behind."""

    def __init__(self, postmaster: Postmaster) -> None:
        self.postmaster = postmaster
        self._descriptor = _open_process(postmaster.pid)

    def alive(self, wait_seconds: float = 0.0) -> bool:
        """Whether it still runs; returns as soon as it ends (Linux), else after `wait_seconds`."""
        if self._descriptor is not None:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            if poll.poll(wait_seconds * 1000):
                return False
        elif wait_seconds:
            select.select([], [], [], wait_seconds)
        return _exists(self.postmaster.pid) and Postmaster.of(self.postmaster.data_dir) == self.postmaster

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _open_process(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends, where the system has such (Linux 5.3)."""
    with contextlib.suppress(AttributeError, OSError):
        return os.pidfd_open(pid)
    return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
