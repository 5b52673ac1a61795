# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job says while it runs: a line of JSON for each event, to a file that stays small, and to the system's log.

The file is rotated by the process that writes it, which is one at a time, since a job holds a lock: nothing else has to be
installed or scheduled for that, and it works for a user who may not configure logrotate. A timer's output goes to the journal by
itself; what cron starts goes to syslog.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from ansible_collections.lifeboat.postgres.plugins.module_utils.command.terminal import escaped
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import encode_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

__all__ = ["JobLog", "last_progress", "log_file"]

FILE_BYTES, FILES = 1024 * 1024, 5
_LAST_BYTES = 16 * 1024
_SYSLOG = "/dev/log"
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def log_file(log_dir: Path, system: str, job: str) -> Path:
    return log_dir / encode_name(system) / f"{job}.jsonl"


def last_progress(path: Path) -> str:
    """What the job that goes on said last of itself, "" where that cannot be read or it has said nothing yet."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LAST_BYTES))
            lines = file.read().splitlines()
        last = json.loads(lines[-1]) if lines else {}
    except (OSError, ValueError):
        return ""
    return str(last.get("message", "")) if isinstance(last, dict) and last.get("event") == "progress" else ""


class JobLog:
    """The log of one run. A place that cannot be written is left out, and said in `problems`: a log never stops a backup."""

    def __init__(
        self, system: str, job: str, path: Path, stream: TextIO | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._common = {"system": system, "job": job, "pid": os.getpid()}
        self._stream = sys.stdout if stream is None else stream
        self._human = self._stream.isatty()
        self._handlers: list[tuple[logging.Handler, str]] = []
        self.problems: list[str] = []
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            file = logging.handlers.RotatingFileHandler(path, maxBytes=FILE_BYTES, backupCount=FILES, encoding="utf-8")
            path.chmod(0o640)
            self._handlers.append((file, ""))
        except OSError as error:
            self.problems.append(f"{path} cannot be written: {error.strerror}")
        # Under systemd standard output is the journal already: said twice it would be there twice.
        if not self._human and not (os.environ if environment is None else environment).get("JOURNAL_STREAM") and os.path.exists(_SYSLOG):
            try:
                self._handlers.append((logging.handlers.SysLogHandler(_SYSLOG), f"lifeboat[{os.getpid()}]: "))
            except OSError as error:
                self.problems.append(f"{_SYSLOG} does not answer: {error.strerror}")
        for handler, _prefix in self._handlers:
            handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk is no reason to lose the job

    def say(self, event: str, message: str, level: str = "info", **more: Any) -> None:
        """One event; `more` are fields of their own, and nothing in it is a secret."""
        document = {"at": format_moment(now()), "level": level, **self._common, "event": event, "message": message, **more}
        line = json.dumps(document, default=str)
        for handler, prefix in self._handlers:
            handler.emit(logging.makeLogRecord({"msg": prefix + line, "levelno": _LEVELS[level], "levelname": level.upper()}))
        try:
            if self._human:
                line = escaped(f"{self._common['system']}/{self._common['job']}: {message}")
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # whoever started us does not read any more

    def close(self) -> None:
        for handler, _prefix in self._handlers:
            handler.close()
