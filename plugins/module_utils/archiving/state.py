# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server is set to, and where that is written: pg_settings says what runs, pg_file_settings what the files say now.

The two differ while a reload or a restart is due. pg_file_settings reads the files at the moment it is asked, so that a change
can be judged before the server is told to read it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.values import Row, base_value, shown
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors, one_row

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["AUTO_FILE", "Configured", "Entry", "ServerState", "read_state"]

AUTO_FILE = "postgresql.auto.conf"
"""Where ALTER SYSTEM writes; read after all other files."""

_OUTSIDE_FILES = ("command line", "environment variable")
"""Sources that no file can override."""


@dataclass(frozen=True)
class Entry:
    """A line of a configuration file, in the order in which the server reads them: of one name the last one counts."""

    seqno: int
    file: str
    line: int
    name: str
    value: str
    error: str = ""

    @property
    def place(self) -> str:
        return f"{self.file}, line {self.line}" if self.file else "the configuration files"


@dataclass(frozen=True)
class Configured:
    """What holds after the next restart. `entry` is the line that says so; None for the default and for the command line."""

    value: str
    source: str
    entry: Entry | None = None

    @property
    def place(self) -> str:
        return self.entry.place if self.entry is not None else self.source

    @property
    def outside_files(self) -> bool:
        return self.source in _OUTSIDE_FILES


@dataclass(frozen=True)
class ServerState:
    """`rows` by name; `entries` in the order of reading. `segment_bytes` is the size of a WAL segment."""

    version_num: int
    in_recovery: bool
    system_identifier: str
    data_directory: str
    config_file: str
    segment_bytes: int
    rows: Mapping[str, Row]
    entries: Sequence[Entry] = field(default=())

    @property
    def major(self) -> int:
        return self.version_num // 10000

    @property
    def auto_file(self) -> str:
        return f"{self.data_directory}/{AUTO_FILE}"

    def running(self, name: str) -> str:
        return self.rows[name].running

    def shown(self, name: str, value: str) -> str:
        """A value in the setting's own unit, as SHOW writes it."""
        return shown(self.rows[name], value)

    def configured(self, name: str) -> Configured:
        """What the setting will be after a reload or a restart, and who says so."""
        row = self.rows[name]
        if row.source in _OUTSIDE_FILES:
            return Configured(row.running, row.source)
        entry = self.winner(name)
        if entry is None:
            return Configured(row.boot, "default")
        try:
            value = base_value(row, entry.value)
        except ValueError:
            value = entry.value  # a spelling that the server takes and we do not know
        return Configured(value, "configuration file", entry)

    def winner(self, name: str) -> Entry | None:
        """The line that counts among all files."""
        said = [entry for entry in self.entries if entry.name == name and not self._is_fault(entry)]
        return said[-1] if said else None

    def faults(self) -> list[Entry]:
        """Lines that the server cannot take. A change that waits for a restart is marked like one, and is none."""
        return [entry for entry in self.entries if self._is_fault(entry)]

    def _is_fault(self, entry: Entry) -> bool:
        row = self.rows.get(entry.name)
        if not entry.error:
            return False
        if not entry.file and not entry.name:
            # A line that is gone from the files also waits for a restart; only the message, in the server's language, has its name.
            gone = self.rows.get(next((word for word in re.findall(r"[a-z_]+", entry.error) if word in self.rows), ""))
            return gone is None or not gone.needs_restart
        if row is None or not row.needs_restart:
            return True
        try:
            base_value(row, entry.value)
        except ValueError:
            return True
        return False


# While archive_mode is off, archive_command shows "(disabled)", whatever it is set to; its reset_val is the value itself.
_SETTINGS = """
SELECT s.name, CASE s.name WHEN 'archive_command' THEN s.reset_val ELSE s.setting END,
       coalesce(s.unit, ''), s.context, s.vartype, s.source, coalesce(s.boot_val, ''),
       coalesce(s.enumvals, '{}'), coalesce(s.sourcefile, ''), coalesce(s.sourceline, 0), s.pending_restart
FROM pg_catalog.pg_settings AS s
"""
_FILES = """
SELECT coalesce(f.seqno, 0), coalesce(f.sourcefile, ''), coalesce(f.sourceline, 0), lower(coalesce(f.name, '')),
       coalesce(f.setting, ''), coalesce(f.error, '')
FROM pg_catalog.pg_file_settings AS f ORDER BY f.seqno
"""


def read_state(connection: Connection[Any]) -> ServerState:
    """Raises `DatabaseError`, above all for a login that may not see the files' content."""
    with database_errors("reading the server's settings", "Log in as a superuser, as ALTER SYSTEM and pg_file_settings ask for."):
        facts = one_row(
            connection,
            "SELECT pg_catalog.current_setting('server_version_num')::int, pg_catalog.pg_is_in_recovery(),"
            " (SELECT system_identifier::text FROM pg_catalog.pg_control_system()), pg_catalog.current_setting('data_directory'),"
            " pg_catalog.current_setting('config_file'),"
            " pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))",
        )
        rows = {}
        for name, running, unit, context, vartype, source, boot, enumvals, file, line, pending in connection.execute(_SETTINGS):
            rows[name] = Row(name, running or "", unit, context, vartype, source, boot, tuple(enumvals), file, line, pending)
        entries = [Entry(*row) for row in connection.execute(_FILES).fetchall()]
    version_num, in_recovery, identifier, data_directory, config_file, segment_bytes = facts
    return ServerState(version_num, in_recovery, identifier, data_directory, config_file, segment_bytes, rows, entries)
