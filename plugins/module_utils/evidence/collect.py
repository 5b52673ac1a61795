# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence, taken around and beside a dump: what certainly was so in production at the dump's moment.

Rows, settings and whatever else a snapshot shows are read in the snapshot itself, in the session that holds it and its
locks. Definitions and sequences are not what the snapshot shows but what is there at the moment of looking, for pg_dump
as for us: they are read before the snapshot and again after the dump, and only what did not change in between is
evidence.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import Check
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import EvidenceError, LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence import facts
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.counts import count_rows, partition_trees
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.digest_plan import DigestPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.digests import take_digests
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import (
    Digests,
    Evidence,
    LargeObjects,
    QueryRows,
    TableRows,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.queries import query_rows
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.schema import (
    RULES,
    Definitions,
    object_names,
    read_definitions,
    read_privileges,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.sequences import Reading, lower_bounds, read_sequences
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import (
    ServerFacts,
    database_errors,
    psycopg,
    roll_back,
    savepoint,
    server_facts,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.faults import first_line
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import Snapshot
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.standby import conflict

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Collector", "Counting"]

T = TypeVar("T")

_CANCEL_SECONDS = 0.2
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class _Around:
    """What is read before the snapshot and again after the dump."""

    definitions: Definitions
    sequences: Mapping[str, Reading]


class Collector:
    """Collects one backup's evidence. In this order, all with the one session that will hold the snapshot:

        collector = Collector(connection, queries=…, checks=…)   # reads what is read before
        with exported_snapshot(connection) as snapshot:
            with collector.beside(snapshot) as counting:          # a thread of its own, in the snapshot's session
                …the dump…
                counting.finish(budget_seconds)                    # waits that long, then goes without the rest
        evidence = collector.evidence(counting, dump_bytes)        # reads what is read after

    When the dump has to be tried again with a new snapshot, the `with` blocks can be entered again. Raises
    `DatabaseError`; `EvidenceError` when the session broke in the middle.
    """

    def __init__(
        self,
        connection: Connection[Any],
        *,
        queries: Mapping[str, str],
        checks: Sequence[Check],
        lock_timeout_seconds: float = 60.0,
        digests: DigestPlan | None = None,
    ) -> None:
        self._connection = connection
        self._queries = queries
        self._checks = checks
        self._lock_timeout_seconds = lock_timeout_seconds
        self._digests = digests
        self._server = server_facts(connection)
        self._before = self._look_around()

    @contextlib.contextmanager
    def beside(self, snapshot: Snapshot, failed: Callable[[LifeboatError], None] = lambda error: None) -> Iterator[Counting]:
        """Count in the snapshot while the block runs; at its end nothing of it runs any more, however it ended.

        `failed` is told at once, by another thread, what `finish` will raise.
        """
        counting = Counting(snapshot, self._queries, self._checks, self._digests, failed)
        counting.start()
        try:
            yield counting
        finally:
            counting.stop()

    def evidence(self, counting: Counting, dump_bytes: int) -> Evidence:
        """Look again, and put together what holds. `dump_bytes` is the size of the dump before compression."""
        return _assembled(counting, self._server, self._before, self._look_around(), dump_bytes)

    def _look_around(self) -> _Around:
        connection = self._connection
        try:
            with database_errors():
                connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED, READ ONLY")
                connection.execute(f"SET LOCAL lock_timeout = {max(1, round(self._lock_timeout_seconds * 1000))}")
                return _Around(read_definitions(connection), read_sequences(connection))
        finally:
            roll_back(connection)


class Counting:
    """What is read in the snapshot, by a thread that can be told to leave out the rest."""

    def __init__(
        self,
        snapshot: Snapshot,
        queries: Mapping[str, str],
        checks: Sequence[Check],
        digests: DigestPlan | None = None,
        failed: Callable[[LifeboatError], None] = lambda error: None,
    ) -> None:
        self.snapshot = snapshot
        self.facts: dict[str, Any] = {}
        self.names: frozenset[str] = frozenset()
        self.privileges: dict[str, str] = {}
        self.tables: tuple[TableRows, ...] = ()
        self.large_objects: LargeObjects | None = None
        self.queries: dict[str, QueryRows] = {}
        self.checks: dict[str, Any] = {}
        self.missing: dict[str, str] = {}
        self.digests: Digests | None = None
        self.seconds = 0.0
        self.digest_seconds = 0.0
        self._wanted_digests = digests
        self._failed = failed
        self._wanted_queries = queries
        self._wanted_checks = checks
        self._essential = threading.Event()
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="evidence", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self, budget_seconds: float, hurried: Callable[[], bool] = lambda: False) -> None:
        """The dump has ended: wait so long for what is still being counted, or until `hurried`, then cancel it.

        Raises what went wrong.
        """
        self._essential.wait()
        deadline = time.monotonic() + budget_seconds
        while self._thread.is_alive() and not hurried() and (left := deadline - time.monotonic()) > 0:
            self._thread.join(min(left, _LOOK_SECONDS))
        self.stop()
        if self._error is not None:
            raise _fault(self._error) from None

    def stop(self) -> None:
        """End the thread: what runs is cancelled, what has not begun is left out."""
        if not self._thread.is_alive():
            return
        connection = self.snapshot.connection
        self._stopped.set()
        while self._thread.is_alive():
            with contextlib.suppress(psycopg().Error, OSError):
                _cancel(connection)
            self._thread.join(_CANCEL_SECONDS)
        # A cancellation that came too late must not meet the next statement.
        with contextlib.suppress(psycopg().Error):
            connection.execute("SELECT 1")

    def _run(self) -> None:
        connection = self.snapshot.connection
        began = time.monotonic()
        try:
            # What takes no time and no lock, and without which the rest says nothing.
            self.facts = {name: read(connection) for name, read in _FACTS.items()}
            self.names = object_names(connection)
            self.privileges = read_privileges(connection)
            trees = partition_trees(connection)
            self._essential.set()
            self.tables = count_rows(connection, self.snapshot.tables, trees, self._stopped.is_set)
            self.large_objects = self._read("large objects", lambda: facts.large_objects(connection))
            for name, query in self._wanted_queries.items():
                rows = self._read(f"query {name}", functools.partial(query_rows, connection, name, query))
                if rows is not None:
                    self.queries[name] = rows
            for check in self._wanted_checks:
                recorded = self._read(f"check {check.name}", functools.partial(check.evidence, connection))
                if recorded is not None:
                    self.checks[check.name] = recorded
            if self._wanted_digests is not None:
                clock = time.monotonic()
                self.digests = take_digests(self.snapshot, trees, self._wanted_digests, self._stopped.is_set)
                self.digest_seconds = time.monotonic() - clock
        except BaseException as error:  # noqa: BLE001 - finish() raises it, in the thread that waits
            self._error = error
            if not self._stopped.is_set():
                self._failed(_fault(error))
        finally:
            self.seconds = time.monotonic() - began
            self._essential.set()

    def _read(self, what: str, read: Callable[[], T]) -> T | None:
        """Read one thing; what cannot be had is noted, and neither the dump nor the rest suffers for it."""
        connection = self.snapshot.connection
        if not self._stopped.is_set():
            try:
                with savepoint(connection):
                    return read()
            except psycopg().errors.QueryCanceled:
                pass
            except (LifeboatError, psycopg().Error) as error:
                if connection.closed:
                    raise
                self.missing[what] = _words(error)
                return None
        self.missing[what] = "the time allowed for evidence was used up"
        return None


def _cancel(connection: Connection[Any]) -> None:
    """Ask the server to end what it does for this session; psycopg from 3.2 on can do so encrypted and in bounded time."""
    if hasattr(connection, "cancel_safe"):
        connection.cancel_safe(timeout=5)
    else:
        connection.cancel()


def _fault(error: BaseException) -> LifeboatError:
    if isinstance(error, LifeboatError):
        return error
    return conflict(str(error)) or EvidenceError(
        f"evidence could not be collected: {_words(error)}", next_step="The session that holds the snapshot broke; run the backup again."
    )


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, LifeboatError) else first_line(error)


_FACTS: Mapping[str, Callable[[Any], Any]] = {
    "superuser": facts.superuser,
    "database_bytes": facts.database_bytes,
    "encoding": facts.encoding,
    "extensions": facts.extensions,
    "collations": facts.collations,
    "settings": facts.settings,
    "roles": facts.roles,
}


def _assembled(counting: Counting, server: ServerFacts, before: _Around, after: _Around, dump_bytes: int) -> Evidence:
    """What was the same before and after is recorded; what was not is named."""
    missing = dict(counting.missing)
    for kind, why in {**before.definitions.unread, **after.definitions.unread}.items():
        missing[f"definition of every {kind}"] = why
    first, second = before.definitions.objects, after.definitions.objects
    steady = {name: first[name].digest for name in sorted(counting.names) if name in first and first[name] == second.get(name)}
    unstable = sorted(counting.names - set(steady))
    bounds, restless = lower_bounds(before.sequences, after.sequences)
    unstable += [name for name in restless if name in counting.names and name in steady]
    return Evidence(
        snapshot_at=counting.snapshot.moment,
        database=counting.snapshot.connection.info.dbname,
        server_version=server.version,
        server_version_num=server.version_num,
        system_identifier=server.system_identifier,
        dump_bytes=dump_bytes,
        rules=RULES,
        tables=counting.tables,
        # A sequence that the snapshot does not show was made after it.
        sequences=tuple(bound for bound in bounds if f"sequence {bound.name}" in counting.names),
        objects=steady,
        privileges=counting.privileges,
        unstable=tuple(unstable),
        large_objects=counting.large_objects,
        queries=counting.queries,
        checks=counting.checks,
        missing=missing,
        digests=counting.digests,
        **counting.facts,
    )
