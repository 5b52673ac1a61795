# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log without which a base backup is nothing: waiting until it is in the archive of every repository that must hold it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from threading import Event, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, LifeboatError, RepositoryError, WalConflict
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import one_row, psycopg
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.archive import StoredWal, WalArchive
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration, many

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["ArchiverWatch", "archiver_words", "archives_of", "wait_for_segments"]

_LIST_FROM = 32
"""From so many segments on, one listing of the timeline costs less than a look for each."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_NEXT_STEP = "Nothing was committed. Mend archiving (wal_archive_info shows where it stands), then run again."

_PHASE = (
    "SELECT p.phase FROM pg_catalog.pg_stat_progress_basebackup p JOIN pg_catalog.pg_stat_activity a USING (pid)"
    " WHERE pg_catalog.strpos(a.application_name, %s) > 0"
)
_ARCHIVER = (
    "SELECT last_archived_wal, last_failed_wal, failed_count, last_failed_time > coalesce(last_archived_time, '-infinity'),"
    " pg_catalog.current_setting('archive_mode') FROM pg_catalog.pg_stat_archiver"
)


def archives_of(repositories: Sequence[Repository], names: Sequence[str], system: str, system_identifier: str) -> Mapping[str, WalArchive]:
    """The archives of the named repositories. Each must be there and be this server's: else hours later there would be nothing to commit.

    Raises `ArchiveError`, `WalConflict`, `RepositoryError`.
    """
    archives = {repository.name: WalArchive(repository, system) for repository in repositories if repository.name in names}
    for name, archive in archives.items():
        identity = archive.identity()
        if identity is None:
            raise ArchiveError(
                f"there is no WAL archive of system {system!r} yet, and without its log a base backup is nothing",
                f"repository {name!r}",
                "Set up archiving first (wal_archive_config with verify: true), or take the log along with wal: included.",
            )
        if identity.system_identifier != system_identifier:
            raise WalConflict(
                f"the WAL archive of system {system!r} belongs to cluster {identity.system_identifier}, this is {system_identifier}",
                f"repository {name!r}",
                "Give each cluster a system of its own.",
            )
    return archives


def wait_for_segments(
    archives: Mapping[str, WalArchive], segments: Sequence[str], limit_seconds: float, say: Callable[[], str] = lambda: ""
) -> float:
    """Return once every archive holds every segment; the seconds that it took. `say` tells why it may take long.

    Raises `ArchiveError` that names the first segment that is missing, `WalConflict` for one that is there twice.
    """
    began = time.monotonic()
    missing = {name: list(segments) for name in archives}
    pause, fault = _FIRST_PAUSE, ""
    while True:
        for name, archive in archives.items():
            try:
                missing[name] = _missing(archive, missing[name])
            except WalConflict:
                raise
            except RepositoryError as error:
                fault = str(error)  # a store that fails for a moment has until the limit
        missing = {name: names for name, names in missing.items() if names}
        waited = time.monotonic() - began
        if not missing:
            return waited
        if waited > limit_seconds:
            name, names = next(iter(missing.items()))
            what = f"the log that the backup needs did not come into the archive within {duration(limit_seconds)}: {names[0]}"
            more = f" and {many(len(names) - 1, 'more segment')}" if len(names) > 1 else ""
            where = "; ".join(filter(None, (f"repository {name!r}", fault, say())))
            raise ArchiveError(f"{what}{more} is missing", where, _NEXT_STEP)
        archives = {name: archives[name] for name in missing}
        time.sleep(min(pause, max(0.05, limit_seconds - waited)))
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _missing(archive: WalArchive, wanted: Sequence[str]) -> list[str]:
    """Those of the wanted segments that the archive does not hold; raises `WalConflict` for one that it holds twice."""
    contents: dict[str, set[str]] = {name: set() for name in wanted}
    if len(wanted) < _LIST_FROM:
        found: Iterator[StoredWal] = (stored for name in wanted for stored in archive.find(name))
    else:
        timelines = sorted({int(name[:8], 16) for name in wanted})
        found = (stored for timeline in timelines for stored in archive.names(timeline))
    for stored in found:
        if stored.name.text in contents and stored.size_bytes:
            contents[stored.name.text].add(stored.sha256)
    for name, digests in contents.items():
        if len(digests) > 1:
            raise WalConflict(f"the archive holds {name} {len(digests)} times, with different content", archive.where, _NEXT_STEP)
    return [name for name in wanted if not contents[name]]


def archiver_words(connection: Connection[Any]) -> str:
    """What the server says of its archiver, for an error message; "" when it says nothing that helps."""
    try:
        archived, failed, failures, failing, mode = one_row(connection, _ARCHIVER)
    except (psycopg().Error, LifeboatError):
        return ""
    if mode == "off":
        return "archive_mode is off at the server"
    if failing:
        return f"the server's archive_command fails: last for {failed}, {many(failures, 'failure')} so far"
    return f"the server last archived {archived}" if archived else "the server has archived nothing yet"


class ArchiverWatch(AbstractContextManager["ArchiverWatch"]):
    """Ends a backup whose server waits for its own archiver for longer than the limit: by itself it would wait for ever.

    `over` says why, "" when it did not. `waiting` tells whether the server's files were all sent and only its log was to come.
    """

    def __init__(self, connection: Connection[Any], backup_id: str, limit_seconds: float) -> None:
        self.over = ""
        self.waiting = False
        self._connection = connection
        self._backup_id = backup_id
        self._limit = limit_seconds
        self._stop: Callable[[], None] = lambda: None
        self._done = Event()
        self._thread = Thread(target=self._watch, name="lifeboat-archiver-watch", daemon=True)

    def begin(self, stop: Callable[[], None]) -> ArchiverWatch:
        """`stop` is called, in another thread, when the limit is over."""
        self._stop = stop
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        since = None
        while not self._done.wait(min(1.0, self._limit / 4)):
            try:
                row = self._connection.execute(_PHASE, (self._backup_id,)).fetchone()
            except psycopg().Error:
                return  # the server is gone, which the stream itself will say
            if row is None or row[0] != "waiting for wal archiving to finish":
                since = None
                continue
            self.waiting = True
            since = since or time.monotonic()
            if time.monotonic() - since > self._limit:
                self.over = archiver_words(self._connection) or "the server's archiver does not get on"
                self._stop()
                return
