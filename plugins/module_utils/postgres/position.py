# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot with its place in the log: the position at which a recovery has to stop to have the very state that the snapshot shows.

A snapshot is no position: a commit is in the log a moment before others can see it, so "the position now" differs from the snapshot by
what was in flight. Three ways lead to one that is exact (docs/postgres-notes.md#snapshots-and-positions): the snapshot that a logical
replication slot exports at its consistent point; a moment at which nothing was in flight; a standby that stands still. Where none of
them is to be had, two snapshots around a position say between what the state there lies: bounds, and called so.

Exact means: the snapshot shows all that was committed by records that begin before the position, and nothing else. That is what
recovery_target_lsn with recovery_target_inclusive = off brings back (xlogrecovery.c, recoveryStopsBefore).
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import (
    Login,
    database_errors,
    one_row,
    roll_back,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.slot_snapshot import Missed, slot_snapshot
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import (
    Snapshot,
    exported_snapshot,
    hold_still,
    look_first,
    named,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Positioned", "later_snapshot", "positioned_snapshot"]

_LONGEST_PAUSE_SECONDS = 0.05
_COMMITTING_SECONDS = 2.0
_STANDSTILL_SECONDS = 1.0

# Whoever has a transaction number holds this lock until its end is visible to everybody; a prepared transaction without a process.
_IN_FLIGHT = """
    SELECT coalesce(pg_catalog.array_agg(transactionid::text), '{}'), pg_catalog.count(*) FILTER (WHERE pid IS NULL)
    FROM pg_catalog.pg_locks WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted
"""
_NOW = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text"
_REPLAYED = "SELECT pg_catalog.pg_last_wal_replay_lsn()::text"


@dataclass(frozen=True)
class Positioned:
    """A snapshot that holds its locks, and its place in the log, `lsn`. `how` tells in words how that is known.

    Where it is not `exact` it is one of two bounds: it shows nothing that was committed after `lsn`. `in_flight` are the numbers of
    those who may have been committing then; `later_snapshot` gives the other bound.
    """

    snapshot: Snapshot
    lsn: Lsn
    how: str
    exact: bool = True
    in_flight: frozenset[str] = frozenset()


@contextlib.contextmanager
def positioned_snapshot(
    connection: Connection[Any], login: Login, *, lock_timeout_seconds: float = 60.0, within_seconds: float = 60.0
) -> Iterator[Positioned]:
    """Find a snapshot whose place in the log is known exactly, for `within_seconds` at most, else a bound; held for the block.

    `connection` is an autocommit session of `open_connection` with `login`; in the block only `evidence.collect` may use it. Raises
    what `exported_snapshot` raises.
    """
    standby = look_first(connection)
    try:
        yield _Search(connection, login, standby, lock_timeout_seconds).found(within_seconds)
    finally:
        roll_back(connection)


@contextlib.contextmanager
def later_snapshot(connection: Connection[Any], before: Positioned) -> Iterator[Snapshot]:
    """A second snapshot, behind one that was not exact and is not held any more: it shows all that was committed before `before.lsn`.

    It is of the same session, one after the other: a TRUNCATE that waits for the locks of one session would keep another one waiting.
    """
    until = time.monotonic() + _COMMITTING_SECONDS
    with database_errors():
        # Whoever holds a number for longer than that has not come to its commit.
        while before.in_flight & set(one_row(connection, _IN_FLIGHT)[0]) and time.monotonic() < until:
            time.sleep(_LONGEST_PAUSE_SECONDS / 5)
    with exported_snapshot(connection) as snapshot:
        yield snapshot


class _Search:
    """One search. Each way raises `Missed` when it was not to be had this time."""

    def __init__(self, connection: Connection[Any], login: Login, standby: Any, lock_timeout_seconds: float) -> None:
        self._connection, self._login, self._standby = connection, login, standby
        self._lock_timeout_seconds = lock_timeout_seconds
        self._until = 0.0

    def found(self, within_seconds: float) -> Positioned:
        began = time.monotonic()
        ways: list[Callable[[], Positioned]] = [self._standing_still if self._standby is not None else self._nothing_in_flight]
        if self._standby is None and self._logical():
            ways.insert(0, self._of_a_slot)
        reasons = []
        for number, way in enumerate(ways, 1):
            self._until = began + within_seconds * number / len(ways)
            try:
                return self._patiently(way)
            except Missed as missed:
                reasons.append(missed.reason)
        self._until = time.monotonic() + max(within_seconds, _COMMITTING_SECONDS)
        why = f"bounds, since {'; '.join(reasons)}"
        try:
            return self._patiently(lambda: self._around(why))
        except Missed as missed:
            hint = "Keep the job that makes and empties tables from running meanwhile."
            raise DatabaseError(f"no quiet moment for a snapshot: {missed.reason}", next_step=hint) from None

    def _patiently(self, way: Callable[[], Positioned]) -> Positioned:
        """Again and again until the time is over; raises the last `Missed`."""
        while True:
            roll_back(self._connection)
            try:
                return way()
            except Missed as missed:
                if missed.final or time.monotonic() >= self._until:
                    raise
            # Of chance length: a job that commits in step with the attempts does not stay in step.
            time.sleep(random.uniform(0.0, _LONGEST_PAUSE_SECONDS))  # noqa: S311  # no secret

    def _of_a_slot(self) -> Positioned:
        seconds = max(1.0, self._until - time.monotonic())
        lsn, snapshot = slot_snapshot(self._connection, self._login, lambda: self._begin(self._connection), seconds)
        return Positioned(self._held(self._connection, *snapshot), lsn, "the snapshot of a logical replication slot")

    def _nothing_in_flight(self) -> Positioned:
        """Exact when nobody had a transaction number after the first look at the log, and no byte was written before the second.

        Whoever gets a number in between commits behind it. The order matters: the log, those in flight, the snapshot, the log.
        """
        with database_errors():
            (before,) = one_row(self._connection, _NOW)
            in_flight, prepared = one_row(self._connection, _IN_FLIGHT)
            if prepared:
                raise Missed(f"{many(prepared, 'prepared transaction')} waited for an end")
            if in_flight:
                raise Missed("transactions were in flight all the time")
            self._begin(self._connection)
            # The snapshot is taken when the statement begins, and the function asked after that.
            snapshot_id, moment, after = self._now(self._connection, _NOW)
        if before != after:
            raise Missed("something was written to the log all the time")
        return Positioned(self._held(self._connection, snapshot_id, moment), Lsn.parse(after), "nothing was in flight")

    def _standing_still(self) -> Positioned:
        """On a standby a commit is visible when it was replayed, so exact means: nothing was being replayed."""
        with database_errors():
            (before,) = one_row(self._connection, _REPLAYED)
            self._begin(self._connection)
            snapshot_id, moment, after = self._now(self._connection, _REPLAYED)
            paused, received = one_row(
                self._connection,
                "SELECT pg_catalog.pg_get_wal_replay_pause_state() = 'paused', CASE WHEN EXISTS"
                " (SELECT FROM pg_catalog.pg_stat_wal_receiver WHERE pid IS NOT NULL) THEN pg_catalog.pg_last_wal_receive_lsn()::text END",
            )
        if before != after or not (paused or received == after):
            raise Missed("the standby replayed all the time")
        return Positioned(self._held(self._connection, snapshot_id, moment), Lsn.parse(after), "the standby stood still")

    def _around(self, why: str) -> Positioned:
        """A snapshot, then a position, and whoever may be committing at it."""
        standby = self._standby is not None
        with database_errors():
            self._begin(self._connection)
            snapshot_id, moment, after = self._now(self._connection, _REPLAYED if standby else _NOW)
            if standby:
                # What is being replayed just now may be visible already: the position has to be behind it.
                until = time.monotonic() + _STANDSTILL_SECONDS
                while (now := one_row(self._connection, _REPLAYED)[0]) == after and time.monotonic() < until:
                    time.sleep(_LONGEST_PAUSE_SECONDS / 5)
                after = now
            in_flight = frozenset(() if standby else one_row(self._connection, _IN_FLIGHT)[0])
        return Positioned(self._held(self._connection, snapshot_id, moment), Lsn.parse(after), why, False, in_flight)

    def _begin(self, connection: Connection[Any]) -> None:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute(f"SET LOCAL lock_timeout = {max(1, round(self._lock_timeout_seconds * 1000))}")

    def _now(self, connection: Connection[Any], position: str) -> tuple[str, Any, str]:
        """The transaction's snapshot, the server's clock, and then a position."""
        row = one_row(connection, f"SELECT pg_catalog.pg_current_snapshot()::text, pg_catalog.statement_timestamp(), ({position})")
        return row[0], row[1], row[2]

    def _held(self, connection: Connection[Any], snapshot_id: str, moment: Any) -> Snapshot:
        snapshot, restless = hold_still(connection, snapshot_id, moment, self._standby)
        if snapshot is None:
            raise Missed(f"tables were made, emptied or dropped all the time ({named(restless)})")
        return snapshot

    def _logical(self) -> bool:
        with database_errors():
            return bool(one_row(self._connection, "SELECT pg_catalog.current_setting('wal_level') = 'logical'")[0])
