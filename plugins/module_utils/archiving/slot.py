# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The replication slot of a receiver: with it the server keeps what was not received yet, as long as it has room."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.state import ServerState
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors, one_row
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import size

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Slot", "look_at_slot", "make_slot"]


@dataclass(frozen=True)
class Slot:
    """`slots_needed` is what max_replication_slots must be at least for it, 0 when it is enough as it is.

    `retained_bytes` is what the server keeps for it; None when it does not exist or reserves nothing.
    """

    name: str
    exists: bool
    active: bool = False
    retained_bytes: int | None = None
    slots_needed: int = 0
    warnings: list[str] = field(default_factory=list)

    def to_dict(self, made: bool) -> dict[str, Any]:
        return {"name": self.name, "made": made, "active": self.active, "retained_bytes": self.retained_bytes}


def look_at_slot(connection: Connection[Any], name: str, state: ServerState) -> Slot:
    """Raises `ConfigurationError` when the name belongs to a slot of another kind."""
    with database_errors("reading replication slots"):
        row = connection.execute(
            "SELECT slot_type, active, wal_status, (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()"
            " ELSE pg_catalog.pg_current_wal_lsn() END - restart_lsn)::bigint FROM pg_catalog.pg_replication_slots WHERE slot_name = %s",
            (name,),
        ).fetchone()
        used = int(one_row(connection, "SELECT count(*) FROM pg_catalog.pg_replication_slots")[0])
    warnings = []
    if state.configured("max_slot_wal_keep_size").value == "-1":
        warnings.append(
            "max_slot_wal_keep_size is -1: while nobody receives, WAL fills the server's disk, and a full pg_wal stops the server"
        )
    else:
        keep = state.shown("max_slot_wal_keep_size", state.configured("max_slot_wal_keep_size").value)
        warnings.append(f"max_slot_wal_keep_size is {keep}: a receiver that is away for more leaves a gap, and needs a new base backup")
    if row is None:
        needed = used + 1 if int(state.configured("max_replication_slots").value) <= used else 0
        return Slot(name, False, slots_needed=needed, warnings=warnings)
    kind, active, status, retained = row
    if kind != "physical":
        raise ConfigurationError(f"slot {name!r} is a {kind} one", "slot", "Give the receiver a name of its own.")
    if status == "lost":
        warnings.insert(0, f"slot {name!r} is lost: WAL that it needed is gone; drop it, run this again, and take a base backup")
    elif not active:
        warnings.insert(0, f"nobody receives from slot {name!r} now; the server keeps {size(max(0, retained or 0))} for it")
    return Slot(name, True, active, retained, warnings=warnings)


def make_slot(connection: Connection[Any], name: str) -> None:
    """A physical slot that keeps WAL from now on, not only from the first connection on; raises `DatabaseError`."""
    with database_errors(f"slot {name!r}", "Making one needs a superuser or the attribute REPLICATION."):
        connection.execute("SELECT pg_catalog.pg_create_physical_replication_slot(%s, true)", (name,))
