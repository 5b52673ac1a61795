# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The replication slots of a receiver: for them the server keeps what was not received or not archived yet, while it has room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.state import ServerState
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import size

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Slots", "look_at_slots", "make_slots"]


@dataclass(frozen=True)
class Slots:
    """The slots of one receiver, by name. `needed` is what max_replication_slots must be at least for them, 0 when it is enough.

    `retained_bytes` is the most that the server keeps for one of them; None when none reserves anything.
    """

    names: Sequence[str]
    missing: Sequence[str]
    active: bool = False
    retained_bytes: int | None = None
    needed: int = 0
    warnings: list[str] = field(default_factory=list)

    def to_dict(self, made: bool) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "made": list(self.missing) if made else [],
            "active": self.active,
            "retained_bytes": self.retained_bytes,
        }


def look_at_slots(connection: Connection[Any], names: Sequence[str], state: ServerState) -> Slots:
    """Raises `ConfigurationError` when a name belongs to a slot of another kind."""
    with database_errors("reading replication slots"):
        rows = connection.execute(
            "SELECT slot_name, slot_type, active, wal_status, (CASE WHEN pg_catalog.pg_is_in_recovery()"
            " THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END - restart_lsn)::bigint"
            " FROM pg_catalog.pg_replication_slots",
        ).fetchall()
    ours = [row for row in rows if row[0] in names]
    for name, kind, _active, _status, _retained in ours:
        if kind != "physical":
            raise ConfigurationError(f"slot {name!r} is a {kind} one", "slots", "Give the receiver names of its own.")
    missing = [name for name in names if name not in {row[0] for row in ours}]
    warnings = [
        f"slot {row[0]!r} is lost: WAL that it needed is gone; drop it, run this again, and take a base backup"
        for row in ours
        if row[3] == "lost"
    ]
    retained = max((row[4] for row in ours if row[4] is not None), default=None)
    active = any(row[2] for row in ours)
    if not missing and not active:
        warnings.append(f"nobody receives now; the server keeps {size(max(0, retained or 0))} until somebody does")
    warnings.append(_about_room(state))
    room = int(state.configured("max_replication_slots").value) - len(rows)
    return Slots(names, missing, active, retained, len(rows) + len(missing) if len(missing) > room else 0, warnings)


def _about_room(state: ServerState) -> str:
    limit = state.configured("max_slot_wal_keep_size").value
    if limit == "-1":
        return "max_slot_wal_keep_size is -1: while nobody receives, WAL fills the server's disk, and a full pg_wal stops the server"
    keep = state.shown("max_slot_wal_keep_size", limit)
    return f"max_slot_wal_keep_size is {keep}: a receiver that is away for more leaves a gap, and needs a new base backup"


def make_slots(connection: Connection[Any], names: Sequence[str]) -> None:
    """Physical slots that keep WAL from now on, not only from the first connection on; raises `DatabaseError`."""
    for name in names:
        with database_errors(f"slot {name!r}", "Making one needs a superuser or the attribute REPLICATION."):
            connection.execute("SELECT pg_catalog.pg_create_physical_replication_slot(%s, true)", (name,))
