# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs, where, and when: the version of this library, the host, the clock."""

from __future__ import annotations

import datetime as dt
import hashlib
import socket
from pathlib import Path

__all__ = ["VERSION", "host_id", "host_name", "now"]

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
