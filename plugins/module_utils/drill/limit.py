# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill has an end: what a backup restores is code of others, and a function of theirs may wait for ever."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["TimeIsUp", "time_limit"]

AGAIN_SECONDS = 60.0
"""A second call, for the case that the first one reached code that swallows whatever is raised in it."""


class TimeIsUp(BaseException):
    """The time is used up. Not an `Exception`: nothing on the way may take it for a fault of its own."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeIsUp` in the block, wherever it is waiting, once it has taken so long.

    Only the main thread can be reached so; elsewhere there is no limit. The caller's own alarm, if any, comes later.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def tell(_number: int, _frame: FrameType | None) -> None:
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, tell)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, interval)
        signal.signal(signal.SIGALRM, before)
