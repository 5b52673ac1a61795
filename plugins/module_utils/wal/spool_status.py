# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where monitoring looks when WAL comes by way of a spool: what lies only there, and a line in the system's log when that is too much.

    <run_dir>/<system>-spool.json
    {"schema": 1, "system": "shop", "spool": "/srv/spool", "updated_at": "…", "trouble": "", "process": 4711,
     "only_in_spool": {"files": 2, "bytes": 33554432, "oldest": "0000000100000000000000A1", "oldest_seconds": 4.2},
     "shipped": {"name": "0000000100000000000000A0", "at": "…"}, "failure": null, "receiver": null}

Alert on `trouble` that is not empty, and on a file that is no longer written.
"""

from __future__ import annotations

import contextlib
import json
import os
import syslog
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import encode_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

__all__ = ["SpoolStatus", "spool_status_file"]

SCHEMA = 1
REMINDER_SECONDS = 600.0


class _Waiting(Protocol):
    @property
    def files(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def oldest(self) -> str: ...
    @property
    def oldest_seconds(self) -> float: ...


def spool_status_file(run_dir: Path, system: str) -> Path:
    return run_dir / f"{encode_name(system)}-spool.json"


class SpoolStatus:
    """What the shipper knows, written after every pass. `alert_after_seconds`: the age of the oldest file that is trouble."""

    def __init__(self, path: Path, system: str, spool: str, alert_after_seconds: float, say: Callable[[str], None]) -> None:
        self.path = path
        self.trouble = ""
        self._system, self._spool, self._alert_after_seconds = system, spool, alert_after_seconds
        self._say = say
        self._shipped: dict[str, str] | None = None
        self._failure: dict[str, str] | None = None
        self._said_at = 0.0

    def passed(self, names: Iterable[str], faults: Mapping[str, LifeboatError]) -> None:
        """What a pass shipped, and what it could not."""
        shipped = list(names)
        if shipped:
            self._shipped = {"name": shipped[-1], "at": format_moment(now())}
        if faults:
            name, error = next(iter(sorted(faults.items())))
            self._failure = {"name": name, "at": format_moment(now()), "words": str(error)}
        else:
            self._failure = None

    def write(self, waiting: _Waiting, receiver: Mapping[str, Any] | None = None, trouble: str = "") -> None:
        """Write the file, whole or not at all, and say what is wrong. Raises nothing: this is only words."""
        self._judge(waiting, trouble)
        document = {
            "schema": SCHEMA,
            "system": self._system,
            "spool": self._spool,
            "updated_at": format_moment(now()),
            "trouble": self.trouble,
            "process": os.getpid(),
            "only_in_spool": {
                "files": waiting.files,
                "bytes": waiting.size_bytes,
                "oldest": waiting.oldest,
                "oldest_seconds": round(waiting.oldest_seconds, 1),
            },
            "shipped": self._shipped,
            "failure": self._failure,
            "receiver": receiver,
        }
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(document) + "\n", encoding="utf-8")
            os.replace(temporary, self.path)

    def _judge(self, waiting: _Waiting, trouble: str) -> None:
        before, found = self.trouble, [trouble] if trouble else []
        if waiting.oldest_seconds >= self._alert_after_seconds:
            why = f": {self._failure['words']}" if self._failure else ""
            found.append(
                f"{waiting.files} files ({waiting.size_bytes} bytes) lie only in the spool {self._spool},"
                f" {waiting.oldest} for {waiting.oldest_seconds:.0f} seconds{why}"
            )
        self.trouble = f"WAL of system {self._system!r} is not safe: {'; '.join(found)}" if found else ""
        if self.trouble and (not before or time.monotonic() - self._said_at >= REMINDER_SECONDS):
            self._said_at = time.monotonic()
            self._tell(syslog.LOG_ERR, self.trouble)
        elif before and not self.trouble:
            self._tell(syslog.LOG_NOTICE, f"WAL of system {self._system!r} is safe again")

    def _tell(self, priority: int, words: str) -> None:
        self._say(words)
        syslog.openlog("lifeboat-wal", syslog.LOG_PID, syslog.LOG_DAEMON)
        syslog.syslog(priority, words)
        syslog.closelog()
