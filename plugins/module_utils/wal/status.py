# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where monitoring looks: one small file per system that says what waits, and a line in the system's log when it is too much.

    <run_dir>/<system>.json
    {"schema": 1, "system": "shop", "updated_at": "…", "trouble": "", "worker": 4711, "postmaster": 4242, "backlog":
     {"segments": 3, "bytes": 50331648, "oldest": "0000000100000000000000A1", "oldest_seconds": 4.2},
     "archived": {"name": "0000000100000000000000A0", "at": "…"}, "failure": null}

Alert on `trouble` that is not empty, and on a file that is no longer written: a worker that is gone says nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import syslog
import time
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import encode_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.backlog import Backlog

__all__ = ["Status", "status_file"]

SCHEMA = 1
REMINDER_SECONDS = 600.0


def status_file(run_dir: Path, system: str) -> Path:
    return run_dir / f"{encode_name(system)}.json"


class Status:
    """What the worker knows, written whenever it looked. `alert_after_seconds`: the age of the oldest file that is trouble."""

    def __init__(self, path: Path, system: str, postmaster: int, alert_after_seconds: float) -> None:
        self.path = path
        self.trouble = ""
        self._system = system
        self._postmaster = postmaster
        self._alert_after_seconds = alert_after_seconds
        self._archived: dict[str, str] | None = None
        self._failure: dict[str, str] | None = None
        self._said_at = 0.0

    def archived(self, name: str) -> None:
        self._archived, self._failure = {"name": name, "at": format_moment(now())}, None

    def failed(self, name: str, words: str) -> None:
        self._failure = {"name": name, "at": format_moment(now()), "words": words}

    def write(self, backlog: Backlog) -> None:
        """Write the file, whole or not at all, and say in the system's log what is wrong. Raises nothing: this is only words."""
        self._judge(backlog)
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "system": self._system,
            "updated_at": format_moment(now()),
            "trouble": self.trouble,
            "worker": os.getpid(),
            "postmaster": self._postmaster,
            "backlog": {
                "segments": backlog.count,
                "bytes": backlog.size_bytes,
                "oldest": backlog.oldest,
                "oldest_seconds": round(backlog.oldest_seconds, 1),
            },
            "archived": self._archived,
            "failure": self._failure,
        }
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(document) + "\n", encoding="utf-8")
            os.replace(temporary, self.path)

    def _judge(self, backlog: Backlog) -> None:
        before, self.trouble = self.trouble, ""
        if backlog.oldest_seconds >= self._alert_after_seconds:
            why = f": {self._failure['words']}" if self._failure else ""
            self.trouble = (
                f"WAL of system {self._system!r} is not being archived: {backlog.count} files, {backlog.size_bytes} bytes,"
                f" {backlog.oldest} for {backlog.oldest_seconds:.0f} seconds{why}"
            )
        if self.trouble and (not before or time.monotonic() - self._said_at >= REMINDER_SECONDS):
            self._said_at = time.monotonic()
            _say(syslog.LOG_ERR, self.trouble)
        elif before and not self.trouble:
            _say(syslog.LOG_NOTICE, f"WAL of system {self._system!r} is being archived again")


def _say(priority: int, words: str) -> None:
    syslog.openlog("lifeboat-wal", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(priority, words)
    syslog.closelog()
