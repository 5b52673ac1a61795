# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the throwaway server says in its log while it recovers: where it stopped, why it gave up, what it wants.

The log is our own file outside of what the server can see, in PostgreSQL's own English (lc_messages=C).
"""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line

__all__ = ["RecoveryLog"]

_LINE = re.compile(r"^\S+ \S+ \S+ \[\d+\] (LOG|FATAL|PANIC|WARNING|ERROR|DETAIL|HINT|CONTEXT):  (.*)$")
_INSUFFICIENT = re.compile(r"^(\w+) = -?\d+ is a lower setting than on the primary server, where its value was (\d+)\.")
# What it says of a log that does not go on (xlogreader.c, xlogrecovery.c).
_INVALID = re.compile(
    r"invalid|incorrect|unexpected|out-of-sequence|no longer exists|has wrong size|is from different|record with|contrecord|checksum"
)
_READ_BYTES = 1024 * 1024
_LONGEST = 300


class RecoveryLog:
    """Reads on, from where it stopped before, at every `read`; keeps only what matters, however long the log gets."""

    def __init__(self, path: Path) -> None:
        self.stopped = ""
        """"recovery stopping before commit of transaction 4711, …": the target was found."""
        self.fatal = ""
        self.detail = ""
        self.invalid = ""
        self.last_commit = ""
        self._wanted: dict[str, int] = {}
        self._last: list[str] = []
        self._path = path
        self._rest = b""
        try:
            self._offset = path.stat().st_size  # what an earlier server of this drill said is not ours
        except OSError:
            self._offset = 0

    def read(self) -> None:
        """Take what was written since."""
        try:
            with self._path.open("rb") as log:
                log.seek(self._offset)
                while chunk := log.read(_READ_BYTES):
                    self._offset += len(chunk)
                    *lines, self._rest = (self._rest + chunk).split(b"\n")
                    self._rest = self._rest[-65536:]
                    for line in lines:
                        self._take(line.decode("utf-8", "replace"))
        except FileNotFoundError:
            return

    def insufficient(self) -> dict[str, int]:
        """Settings that were lower than production's came to be, with the values they need; empty when none was."""
        return dict(self._wanted)

    def end(self) -> str:
        """Its last lines as one."""
        return clean_line("\n".join(self._last), 400) or "(its log is empty)"

    def _take(self, line: str) -> None:
        match = _LINE.match(line)
        if match is None:
            return
        level, text = match.group(1), match.group(2)[:_LONGEST]
        self._last = [*self._last[-3:], f"{level}: {text}"]
        if level == "LOG" and text.startswith(("recovery stopping ", "recovery stopped ")):
            self.stopped = text
        elif level == "LOG" and text.startswith("last completed transaction was at log time "):
            self.last_commit = text.rpartition(" log time ")[2]
        elif level in ("FATAL", "PANIC") and not self.fatal and "the database system is" not in text:
            self.fatal = text
        elif level == "DETAIL":
            wanted = _INSUFFICIENT.match(text)
            if wanted is not None:
                self._wanted[wanted.group(1)] = int(wanted.group(2))
            elif self.fatal and not self.detail:
                self.detail = text
        elif level == "LOG" and _INVALID.search(text):
            self.invalid = text
