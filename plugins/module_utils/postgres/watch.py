# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a snapshot is held, and how old it makes production's horizon: measured always, limited where that was asked for.

While a snapshot lives, VACUUM removes no row that it shows, in any table of the database. So a dump that takes a day keeps a
day's dead rows. The session of the snapshot is busy counting and pg_dump's is busy dumping, hence one of its own that asks.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import BackupGuardError, LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login, database_errors, one_row, open_connection
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import Snapshot
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Budget", "SnapshotWatch", "watched"]

_LOOK_SECONDS = 5.0
_AGAIN_SECONDS = 0.5
_NEXT_TRANSACTION = "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint"


@dataclass(frozen=True)
class Budget:
    """What a snapshot may cost: seconds that it is held, transactions that begin meanwhile. None is no limit."""

    seconds: float | None = None
    transactions: int | None = None
    look_seconds: float = _LOOK_SECONDS


class SnapshotWatch:
    """Watches one snapshot. `over` says why it may be held no longer, "" while it may. Use `watched`."""

    def __init__(self, login: Login, snapshot: Snapshot, budget: Budget, progress: Callable[[str], None]) -> None:
        self._login, self._budget, self._progress = login, budget, progress
        self._began = time.monotonic()
        with database_errors():
            self._first = int(one_row(snapshot.connection, _NEXT_TRANSACTION)[0])
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None
        self._lost: LifeboatError | None = None
        self._half_said = False
        self._thread = threading.Thread(target=self._run, name="snapshot watch", daemon=True)
        self.over = ""
        self.seconds = 0.0
        self.transactions = 0
        self.notes: list[str] = []

    @contextlib.contextmanager
    def stops(self, stop: Callable[[], None]) -> Iterator[None]:
        """While the block runs, `stop` is called (by another thread) when the budget is used up or the session is lost; the
        block's own error is then raised as the `BackupGuardError`, or as the loss, that was the cause."""
        with self._lock:
            self._stop = stop
        try:
            if self._cause() is not None:
                stop()
            yield
        except Exception as error:
            cause = self._cause()
            if cause is not None:
                raise cause from error
            raise
        finally:
            with self._lock:
                self._stop = None
        cause = self._cause()
        if cause is not None:
            raise cause

    def lost(self, error: LifeboatError) -> None:
        """Something without which the backup is none broke in the snapshot's session: no need to dump to the end."""
        self._lost = error
        self._stop_it()

    def end(self, connection: Connection[Any]) -> None:
        """The snapshot is released: take the last measure, in its session."""
        self.close()
        with database_errors():
            self._measure(connection)

    def start(self) -> None:
        if self._budget.seconds is not None or self._budget.transactions is not None:
            self._thread.start()

    def close(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _cause(self) -> LifeboatError | None:
        if self._lost is not None or not self.over:
            return self._lost
        return BackupGuardError(
            f"the run was stopped, since {self.over}",
            self._login.place,
            "Nothing was committed. Dump in the directory format with more jobs, or from a standby, or allow more.",
        )

    def _measure(self, connection: Connection[Any] | None) -> None:
        self.seconds = time.monotonic() - self._began
        if connection is not None:
            self.transactions = int(one_row(connection, _NEXT_TRANSACTION)[0]) - self._first

    def _run(self) -> None:
        limit = self._budget.seconds
        with contextlib.ExitStack() as stack:
            connection: Connection[Any] | None = None
            while True:
                wait = self._budget.look_seconds
                if limit is not None:
                    wait = max(0.0, min(wait, (limit if self._half_said else limit / 2) - self.seconds))
                if self._ended.wait(wait):
                    return
                try:
                    if self._budget.transactions is not None and connection is None:
                        connection = stack.enter_context(open_connection(self._login, application_name="lifeboat watch"))
                    with database_errors():
                        self._measure(connection)
                except LifeboatError as error:
                    connection = None
                    said = f"the age of the snapshot could not be watched for a time: {error.what}"
                    if said not in self.notes:
                        self.notes.append(said)
                if self._judge():
                    break
            while not self._ended.wait(_AGAIN_SECONDS):
                self._stop_it()  # what was about to start at the first time

    def _stop_it(self) -> None:
        with self._lock:
            if self._stop is not None:
                self._stop()

    def _judge(self) -> bool:
        """Say it at half, stop at the whole. Whether it is over."""
        seconds, transactions = self._budget.seconds, self._budget.transactions
        if seconds is not None and self.seconds >= seconds:
            self.over = f"the snapshot was held for {duration(self.seconds)}, and snapshot_budget is {duration(seconds)}"
        elif transactions is not None and self.transactions >= transactions:
            self.over = f"{self.transactions} transactions began while the snapshot was held, and xmin_age_limit is {transactions}"
        if self.over:
            self._progress(f"stopped: {self.over}")
            self._stop_it()
            return True
        half_time = seconds is not None and self.seconds >= seconds / 2
        half_age = transactions is not None and self.transactions >= transactions / 2
        if (half_time or half_age) and not self._half_said:
            self._half_said = True
            said = f"half of what the snapshot may cost was used: held for {duration(self.seconds)}"
            if transactions is not None:
                said += f", {self.transactions} transactions began"
            self.notes.append(said)
            self._progress(said)
        return False


@contextlib.contextmanager
def watched(login: Login, snapshot: Snapshot, budget: Budget, progress: Callable[[str], None]) -> Iterator[SnapshotWatch]:
    """Watch the snapshot while the block runs. Must begin in the snapshot's transaction, before another thread uses its session."""
    watch = SnapshotWatch(login, snapshot, budget, progress)
    watch.start()
    try:
        yield watch
    finally:
        watch.close()
