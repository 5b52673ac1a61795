# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two slots of a receiver: the one that pg_receivewal moves when it has synced, and ours, that keeps what is not archived."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import (
    Login,
    database_errors,
    open_connection,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn, segment_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.server import server_position

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["SlotState", "Slots"]


@dataclass(frozen=True)
class SlotState:
    """How the server stands. `lsn` is how far it is, `received_lsn` how far the spool has synced, `hold_lsn` what it keeps for
    us: everything before is archived off the host. `active`: somebody receives. `lost` is a slot that the server gave up;
    `hole` the segment that is missing between what is archived, or ""; `forgotten` a slot that keeps WAL and is not moved."""

    timeline: int
    lsn: Lsn
    segment_bytes: int
    received_lsn: Lsn | None
    hold_lsn: Lsn | None
    active: bool = False
    lost: str = ""
    hole: str = ""
    forgotten: str = ""

    def segment_of(self, position: Lsn) -> str:
        return segment_name(self.timeline, position.segment(self.segment_bytes), self.segment_bytes)

    def to_document(self) -> dict[str, Any]:
        """For the status: `not_archived_bytes` are what would be lost together with server and spool, by the server's count;
        `only_here_bytes` of them the spool has."""
        document: dict[str, Any] = {"server_lsn": str(self.lsn), "timeline": self.timeline}
        document["received_lsn"] = None if self.received_lsn is None else str(self.received_lsn)
        document["archived_lsn"] = None if self.hold_lsn is None else str(self.hold_lsn)
        if self.hold_lsn is not None:
            document["not_archived_bytes"] = max(0, self.lsn.value - self.hold_lsn.value)
            received = self.received_lsn.value if self.received_lsn is not None else 0
            document["only_here_bytes"] = max(0, received - self.hold_lsn.value)
        return document


class Slots:
    """Both slots, over one session that is opened anew when it is gone. `holds` says whether the second one is wanted."""

    def __init__(self, login: Login, slot: str, hold: str, holds: bool) -> None:
        self._login, self._slot, self._hold, self._holds = login, slot, hold, holds
        self._connection: Connection[Any] | None = None
        self._hole = ""

    def prepare(self) -> SlotState:
        """Make the slots that are missing, ours first, so that nothing is recycled between; raises `DatabaseError`."""
        connection = self._session()
        with database_errors("replication slots", _RIGHTS):
            for name in (self._hold, self._slot) if self._holds else (self._slot,):
                known = connection.execute("SELECT 1 FROM pg_catalog.pg_replication_slots WHERE slot_name = %s", (name,)).fetchone()
                if known is None:
                    connection.execute("SELECT pg_catalog.pg_create_physical_replication_slot(%s, true)", (name,))
        return self.look()

    def look(self) -> SlotState:
        """How the server stands now; raises `DatabaseError`."""
        connection = self._session()
        try:
            position = server_position(connection)
            with database_errors("replication slots"):
                rows = connection.execute(
                    "SELECT slot_name, restart_lsn::text, wal_status, active FROM pg_catalog.pg_replication_slots"
                    " WHERE slot_name = ANY (%s) AND slot_type = 'physical'",
                    ([self._slot, self._hold],),
                ).fetchall()
        except BaseException:
            self.close()
            raise
        found = {name: None if lsn is None else Lsn.parse(lsn) for name, lsn, _status, _active in rows}
        return SlotState(
            timeline=position.timeline,
            lsn=position.lsn,
            segment_bytes=position.segment_bytes,
            received_lsn=found.get(self._slot),
            hold_lsn=found.get(self._hold) if self._holds else None,
            active=any(active for name, _lsn, _status, active in rows if name == self._slot),
            lost=next((str(name) for name, _lsn, status, _active in rows if status == "lost"), ""),
            hole=self._hole,
            forgotten=self._hold if self._hold in found and not self._holds else "",
        )

    def release(self, numbers: Collection[int], waiting: Collection[int], probe: Callable[[int], bool], state: SlotState) -> None:
        """Move our slot over the segments from where it is that are archived without a gap.

        `numbers` are segments that every required repository has confirmed, `waiting` those that lie in the spool. One that
        is neither, and was received, was archived by an earlier run (`probe` asks the repositories), or it is a hole.
        Raises `DatabaseError`, `RepositoryError`.
        """
        if state.hold_lsn is None or state.received_lsn is None:
            return
        begin = end = state.hold_lsn.segment(state.segment_bytes)
        self._hole = ""
        while (end + 1) * state.segment_bytes <= state.received_lsn.value:
            if end not in numbers and (end in waiting or not probe(end)):
                break
            end += 1
        else:
            self._advance(begin, end, state)
            return
        if end not in waiting:
            self._hole = state.segment_of(Lsn(end * state.segment_bytes))
        self._advance(begin, end, state)

    def _advance(self, begin: int, end: int, state: SlotState) -> None:
        if end == begin:
            return
        connection = self._session()
        with database_errors("replication slots", _RIGHTS):
            target = str(Lsn(end * state.segment_bytes))
            connection.execute("SELECT pg_catalog.pg_replication_slot_advance(%s, %s::pg_lsn)", (self._hold, target))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _session(self) -> Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = open_connection(self._login, application_name="lifeboat receive")
        return self._connection


_RIGHTS = "The role needs REPLICATION, and the server two free slots (max_replication_slots)."
