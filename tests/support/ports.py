# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every program needs that tests start: a port of its own, and to end when the tests do."""

from __future__ import annotations

import contextlib
import ctypes
import random
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["end_with_parent", "free_port"]

_LEAST_PORT, _USUAL_FIRST_EPHEMERAL = 10_000, 32_768
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
# Loaded here: between fork and exec nothing may be that another thread could just be doing.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def free_port() -> int:
    """A port of loopback that nobody listens on.

    Not one that the kernel gives away by itself, as it does when it is asked for any: the next connection of whatever program
    could have it before the server does, or while the server is stopped for a moment.
    """
    first_ephemeral = _USUAL_FIRST_EPHEMERAL
    with contextlib.suppress(OSError, ValueError):
        first_ephemeral = int(_RANGE.read_text().split()[0])
    ports = range(_LEAST_PORT, first_ephemeral) if first_ephemeral > _LEAST_PORT + 1000 else range(_LEAST_PORT, 65_536)
    source = random.SystemRandom()
    while True:
        port = source.choice(ports)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def end_with_parent(number: signal.Signals) -> Callable[[], None]:
    """For `preexec_fn`: the program gets this signal when the tests' process is killed (on Linux)."""

    def ask() -> None:
        if _LIBC is not None:
            _LIBC.prctl(1, number)

    return ask
