# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A base backup replayed to its target, and nothing believed on the way (law 10).

PostgreSQL takes a hole, a damaged record and a failing restore_command for the end of the log, and comes up with less data
and exit status 0. So success is several things at once, each looked at: the server lives, it stopped at the target by its
own words or read everything up to the end that was found before, it stands at or behind the end of the base backup, and
it left recovery only when it was told to.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.chain import Chain
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.feeder import Fed
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.moment import RecoveryTarget
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.recovery_log import RecoveryLog
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    ConfigurationError,
    DatabaseError,
    LifeboatError,
    RestoreError,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.cluster import Cluster
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn, segment_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import size

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Recovered", "Recovery", "recovery_settings"]

_POLL_SECONDS = 0.05
_TELL_SECONDS = 10.0
_DEATH_SECONDS = 60.0
_PATIENCE_SECONDS = 5.0
_ATTEMPTS = 8
_SINCE = {"archive_library": 15, "recovery_prefetch": 15}
_CUSTOM_MANAGER = re.compile(r"resource manager with ID (\d+) not registered")
LOBBY = "template1"
"""The database through which one comes in: every cluster has it."""

_STATE = """
    SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_last_wal_replay_lsn()::text, pg_catalog.pg_last_xact_replay_timestamp(),
           CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_get_wal_replay_pause_state() ELSE '' END
"""


@dataclass(frozen=True)
class Recovered:
    """Where a recovery ended: `lsn`, the last commit's time (None when none was replayed), and how it says that it stopped."""

    timeline: int
    lsn: Lsn
    last_commit: dt.datetime | None
    stopped: str
    segments: int


def recovery_settings(
    throwaway: Mapping[str, str], restore_command: str, target: RecoveryTarget, timeline: int, at_least: Mapping[str, int], major: int
) -> dict[str, str]:
    """The throwaway's settings for a recovery: none of production's, but not lower than those that its log was written with."""
    settings = {
        **throwaway,
        "archive_library": "",
        "archive_cleanup_command": "",
        "recovery_end_command": "",
        "primary_slot_name": "",
        "restore_command": restore_command,
        **target.settings(timeline),
        # Damage that lies behind the target is not looked at: reading ahead would.
        "recovery_prefetch": "off",
        "hot_standby": "on",
        "wal_level": "replica",
        # Nobody waits for our questions, and they are short.
        "max_standby_archive_delay": "-1",
        "session_preload_libraries": "",
        "local_preload_libraries": "",
        "lc_messages": "C",  # its log is read
        "log_line_prefix": "%m [%p] ",
        "log_min_messages": "warning",
        **{name: str(value) for name, value in at_least.items()},
    }
    return {name: value for name, value in settings.items() if major >= _SINCE.get(name, 0)}


class Recovery:
    """One recovery of a server whose data directory is laid out. `run` returns when it has left recovery."""

    def __init__(
        self,
        cluster: Cluster,
        target: RecoveryTarget,
        chain: Chain,
        fed: Fed,
        stop_lsn: Lsn,
        progress: Callable[[str], None] = lambda message: None,
    ) -> None:
        """`fed` is what a feeder notes; `stop_lsn` is where the base backup ends."""
        self._cluster, self._target, self._chain, self._fed, self._stop_lsn = cluster, target, chain, fed, stop_lsn
        self._progress = progress
        self._log = RecoveryLog(cluster.log)
        self._told = time.monotonic()
        self._refused = 0.0

    def run(self) -> Recovered:
        """Start, replay, stop at the target, leave recovery; raises what stood in the way, never returns less.

        The feeder's fault when it had one, `RestoreError` for everything that PostgreSQL itself ended with or left out.
        """
        for _attempt in range(_ATTEMPTS):
            self._cluster.launch()
            state = self._replay()
            if state is not None:
                break
            raised = self._log.insufficient()
            self._cluster.stop()
            self._cluster.settings.update({name: str(value) for name, value in raised.items()})
            self._progress("start again with " + ", ".join(f"{name}={value}" for name, value in sorted(raised.items())))
        else:
            raise RestoreError(f"the throwaway server wants ever larger settings: {self._log.end()}")
        return self._judged(*state)

    def _replay(self) -> tuple[Lsn, dt.datetime | None] | None:
        """Until recovery is over: the last position and commit that were replayed. None: again, with larger settings."""
        conn: Connection[Any] | None = None
        try:
            while True:
                self._log.read()
                if self._fed.fault is not None:
                    self._await_death()
                    raise self._fed.fault
                if not self._alive():
                    if self._log.insufficient():
                        return None
                    raise self._why_it_ended()
                if conn is None and self._cluster.status in ("standby", "ready"):
                    conn = self._enter()
                if conn is not None:
                    in_recovery, lsn, last_commit, paused = self._ask(conn)
                    if not in_recovery:
                        self._await_ready()
                        return lsn, last_commit
                    if paused == "paused":
                        self._log.read()
                        if not self._log.stopped:
                            if self._log.insufficient():
                                return None
                            raise RestoreError(f"recovery paused at {lsn}, and not at the target: {self._log.end()}")
                        self._leave(conn)
                        after = self._ask(conn)
                        if after[1] != lsn:
                            raise RestoreError(f"recovery stopped at {lsn}, and went on to {after[1]} when it was to end")
                        return lsn, last_commit
                    self._tell(lsn)
                time.sleep(_POLL_SECONDS)
        finally:
            if conn is not None:
                conn.close()

    def _enter(self) -> Connection[Any] | None:
        """A session; None when it could not be had this time: a server may end, or be about to, as one comes in."""
        try:
            conn = self._cluster.connect(LOBBY, "lifeboat drill recovery", **self.quiet)
        except DatabaseError as error:
            self._refused = self._refused or time.monotonic()
            if self._alive() and time.monotonic() - self._refused > _PATIENCE_SECONDS:
                hint = f"It comes in as {self._cluster.superuser!r}: name the role that made production's cluster as superuser."
                raise DatabaseError(f"the recovering server lets the drill not in: {error.what}", error.where, hint) from None
            return None
        try:
            with database_errors("the throwaway server"):
                self._cluster.verify_settings(conn)
        except BaseException as error:
            lost = isinstance(error, DatabaseError) and conn.broken
            conn.close()
            if lost:
                return None
            raise
        return conn

    @property
    def quiet(self) -> dict[str, str]:
        """libpq's parameters of a session at which the restored databases do nothing of their own."""
        return {"options": "-c event_triggers=off"} if self._cluster.major >= 17 else {}

    def _ask(self, conn: Connection[Any]) -> tuple[bool, Lsn, dt.datetime | None, str]:
        try:
            with database_errors("the throwaway server"):
                row = conn.execute(_STATE).fetchall()[0]
        except DatabaseError:
            if not conn.broken:
                raise
            self._await_death()
            if self._fed.fault is not None:
                raise self._fed.fault from None
            raise self._why_it_ended() from None
        return row[0], Lsn.parse(row[1] or "0/0"), row[2], row[3]

    def _leave(self, conn: Connection[Any]) -> None:
        """Let it become a server of its own, and wait until it is one."""
        with database_errors("the throwaway server"):
            conn.execute("SELECT pg_catalog.pg_wal_replay_resume()")
        while self._ask(conn)[0]:
            time.sleep(_POLL_SECONDS)
        self._await_ready()

    def _await_ready(self) -> None:
        while self._cluster.status != "ready":
            if not self._alive():
                raise self._why_it_ended()
            time.sleep(_POLL_SECONDS)

    def _await_death(self) -> None:
        """PostgreSQL ends by itself when its restore_command fails for good; its last words are worth a moment."""
        deadline = time.monotonic() + _DEATH_SECONDS
        while self._alive() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        self._log.read()

    def _alive(self) -> bool:
        try:
            self._cluster.check_running("recovering")
        except DatabaseError:
            self._log.read()
            return False
        return True

    def _why_it_ended(self) -> LifeboatError:
        log = self._log
        manager = _CUSTOM_MANAGER.search(log.fatal)
        if manager is not None:
            # Nothing is said about the backup: this host lacks what production has.
            return ConfigurationError(
                f"the log holds records of resource manager {manager.group(1)}, which is an extension's own: only its library replays them",
                self._chain.last,
                "Name it in preload_libraries (production's shared_preload_libraries says what it is called), and install it on this host.",
            )
        if "recovery ended before configured recovery target was reached" in log.fatal:
            reached = f"its last commit at {log.last_commit}" if log.last_commit else "no commit was replayed"
            return RestoreError(
                f"the target was not reached: {self._target} is not in the log from this base backup to the archive's end,"
                f" segment {self._chain.last} ({reached})",
                next_step="It lies after the end, or before this base backup ended (choose an older one by backup_id).",
            )
        return RestoreError(f"the throwaway server gave recovery up: {log.fatal or log.end()}", next_step=log.detail)

    def _judged(self, lsn: Lsn, last_commit: dt.datetime | None) -> Recovered:
        chain, target, log = self._chain, self._target, self._log
        log.read()
        size_bytes = chain.segment_bytes
        here = f"{lsn} in segment {segment_name(chain.timeline, lsn.segment_before(size_bytes), size_bytes)}"
        if lsn < self._stop_lsn:
            raise RestoreError(f"recovery ended at {here}, before the base backup itself ended, at {self._stop_lsn}")
        if target.latest:
            if not self._fed.past_end or lsn < Lsn(chain.parts[-1].first * size_bytes) or self._fed.last != chain.last:
                raise RestoreError(
                    f"recovery stopped at {here}, before the archive's end ({chain.last}): {log.invalid or 'its log does not say why'}",
                    next_step="The log is damaged there, though its digest is right: it was archived so. Take a new base backup.",
                )
            stopped = f"end of {chain.last}"
        else:
            if not log.stopped:
                raise RestoreError(
                    f"the server came up at {here} without reaching the target: {log.invalid or log.end()}",
                    next_step="Its own words do not name the target, so it is not where it should be.",
                )
            stopped = log.stopped
        if target.lsn is not None and lsn < target.lsn and target.inclusive:
            raise RestoreError(f"recovery stopped at {here}, before the target {target.lsn}")
        if target.lsn is not None and target.evidence_of and lsn > target.lsn:
            raise RestoreError(f"recovery went to {here}, past the evidence at {target.lsn}")
        if target.moment is not None and last_commit is not None and last_commit > target.moment:
            raise RestoreError(f"recovery went to a commit at {last_commit}, past the target {target.moment}")
        segments = lsn.segment_before(size_bytes) - chain.begin.segment(size_bytes) + 1
        return Recovered(chain.timeline, lsn, last_commit.astimezone(dt.timezone.utc) if last_commit else None, stopped, segments)

    def _tell(self, lsn: Lsn) -> None:
        if time.monotonic() - self._told < _TELL_SECONDS:
            return
        self._told = time.monotonic()
        whole = self._chain.end.value - self._chain.begin.value
        done = max(0, lsn.value - self._chain.begin.value)
        self._progress(f"replayed {size(done)} of at most {size(whole)}, at {lsn}")
