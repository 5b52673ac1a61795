# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs, where, and when: the version of this library, the host, the clock, and being told to stop."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["VERSION", "Stopped", "host_id", "host_name", "now", "stop_on_signals"]

VERSION = "0.1.0"
"""The collection's version, the same as in `galaxy.yml` (a test compares)."""

MACHINE_ID_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id")


def host_name() -> str:
    """This host's own name, as `hostname` says it."""
    return socket.gethostname()


def host_id(files: tuple[str, ...] = MACHINE_ID_FILES) -> str:
    """A stable name for this installation: 16 hexadecimal digits, or "" where the system has no machine id.

    machine-id(5) asks not to show the id itself, so it is hashed together with our own name.
    """
    for name in files:
        try:
            machine = Path(name).read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            continue
        if machine and machine != "uninitialized":
            return hashlib.sha256(b"lifeboat" + machine.encode()).hexdigest()[:16]
    return ""


def now() -> dt.datetime:
    """The present moment, aware, in UTC."""
    return dt.datetime.now(dt.timezone.utc)


class Stopped(BaseException):
    """Somebody told this process to end (`kill`, a closed terminal, Ctrl-C). Not an `Exception`: nothing may swallow it."""

    def __init__(self, number: int) -> None:
        self.signal = number
        super().__init__(f"signal {number} ({signal.Signals(number).name})")


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """Within the block the first SIGTERM, SIGHUP or SIGINT raises `Stopped`, so that every `finally` is run; later ones are
    ignored, since they would cut the clean-up short. Only the main thread can do this; elsewhere nothing changes.

    A signal that whoever started us had ignored (`nohup`) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told = False

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal told
        if not told:
            told = True
            raise Stopped(number)

    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    ours = [number for number, handler in before.items() if handler in (signal.SIG_DFL, signal.default_int_handler)]
    try:
        for number in ours:
            signal.signal(number, stop)
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
