# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which settings archiving asks for, and which of them have to be written. Pure: from a server's state and a job.

What is good enough already stays as the operator wrote it, wherever that is. wal_level, max_wal_senders and
max_replication_slots are only ever raised: others may rest on more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.job import AUTO, ArchivingJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.methods import Commands
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.state import Configured, ServerState
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.values import base_value
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

__all__ = ["Change", "Plan", "Wanted", "decide", "wanted_settings"]

_RANKS = {"wal_level": ("minimal", "replica", "logical"), "archive_mode": ("off", "on", "always")}
_RECEIVER_SENDERS = 2
_DEFAULT_SENDERS = 10


@dataclass(frozen=True)
class Wanted:
    """A setting and its value. `at_least`: more is as good."""

    name: str
    value: str
    at_least: bool = False

    def is_met_by(self, value: str) -> bool:
        """Both values as `base_value` writes them."""
        if not self.at_least:
            return value == self.value
        ranks = _RANKS.get(self.name)
        return ranks.index(value) >= ranks.index(self.value) if ranks else int(value) >= int(self.value)


@dataclass(frozen=True)
class Change:
    """`before` is what holds now, by the files or the running server, and `where` says so; `after` is what is written."""

    wanted: Wanted
    before: str
    after: str
    where: str

    @property
    def name(self) -> str:
        return self.wanted.name


@dataclass(frozen=True)
class Plan:
    """`kept` are settings that are good as they are, and where they stand. `wanted` is all that was asked, in order."""

    wanted: Sequence[Wanted]
    changes: Sequence[Change]
    kept: Sequence[tuple[Wanted, Configured]] = field(default=())


def wanted_settings(job: ArchivingJob, state: ServerState, commands: Commands, slots_needed: int = 0) -> list[Wanted]:
    """In the order in which a reader would look for them; raises `ConfigurationError` for a value the server would not take."""
    asked: list[tuple[str, str, bool]] = []
    receives = job.method == "receive"
    if job.wal_level or job.archives or receives or job.summarize_wal:
        asked.append(("wal_level", job.wal_level or "replica", True))
    if job.archive_mode or job.archives:
        asked.append(("archive_mode", job.archive_mode or "on", not job.archive_mode))
    if job.archive_library:
        _check_version(state, "archive_library", 15)
        asked += [("archive_library", job.archive_library, False), ("archive_command", "", False)]
    elif commands.archive is not None:
        asked.append(("archive_command", commands.archive, False))
        # A library wins over the command (15), or the two exclude each other (16 and newer).
        if "archive_library" in state.rows:
            asked.append(("archive_library", "", False))
    if job.archive_timeout:
        asked.append(("archive_timeout", job.archive_timeout, False))
    if job.restore_command:
        asked.append(("restore_command", _restore(job, commands), False))
    if job.max_wal_senders is not None:
        asked.append(("max_wal_senders", str(job.max_wal_senders), True))
    elif receives and int(state.configured("max_wal_senders").value) < _RECEIVER_SENDERS:
        asked.append(("max_wal_senders", str(_DEFAULT_SENDERS), True))
    if slots_needed:
        asked.append(("max_replication_slots", str(slots_needed), True))
    if job.summarize_wal is not None:
        _check_version(state, "summarize_wal", 17)
        asked.append(("summarize_wal", "on" if job.summarize_wal else "off", False))
    return [Wanted(name, _base(state, name, value), at_least) for name, value, at_least in asked]


def decide(state: ServerState, wanted: Sequence[Wanted]) -> Plan:
    """What has to be written so that everything that is wanted holds."""
    changes, kept = [], []
    for item in wanted:
        configured = state.configured(item.name)
        if item.is_met_by(configured.value):
            kept.append((item, configured))
        else:
            changes.append(Change(item, configured.value, item.value, configured.place))
    return Plan(wanted, changes, kept)


def _base(state: ServerState, name: str, value: str) -> str:
    try:
        return base_value(state.rows[name], value)
    except ValueError as error:
        raise ConfigurationError(str(error), name) from None


def _check_version(state: ServerState, name: str, since: int) -> None:
    if state.major < since:
        raise ConfigurationError(f"{name} came with PostgreSQL {since}; this server is {state.major}", name, "Leave it out.")


def _restore(job: ArchivingJob, commands: Commands) -> str:
    if job.restore_command != AUTO:
        return job.restore_command
    if not commands.restore:
        raise ConfigurationError(f"restore_command: auto, but method {job.method} has none here", "restore_command", "Write the command.")
    return commands.restore
