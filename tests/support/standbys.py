# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real streaming standby of a test server, made with pg_basebackup."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from support.clusters import SETTINGS, Server, _run, private_directory
from support.leaks import eventually
from support.ports import free_port

__all__ = ["Standby"]

PRIMARY: Mapping[str, str] = {"wal_level": "replica", "max_wal_senders": "4"}
"""Settings that the primary needs."""


class Standby(Server):
    """A hot standby that streams from `primary` (a server with the settings `PRIMARY`)."""

    def __init__(self, primary: Server, settings: Mapping[str, str] | None = None) -> None:
        self.primary = primary
        self.major, self.bin_dir = primary.major, primary.bin_dir
        self.settings = {**SETTINGS, "wal_retrieve_retry_interval": "100ms", **(settings or {})}
        self.tcp, self.host, self.port = False, "127.0.0.1", free_port()
        self.reads_all = False
        self.user, self.password = primary.user, primary.password
        self.process: subprocess.Popen[bytes] | None = None
        self.directory = private_directory("lb-sb")
        self.data, self.socket_dir, self.log = self.directory / "data", self.directory / "s", self.directory / "log"
        try:
            _run(["mkdir", "-m", "0700", str(self.socket_dir)])
            source = ["-h", str(primary.socket_dir), "-p", str(primary.port), "-U", primary.user]
            _run([str(self.bin_dir / "pg_basebackup"), "-D", str(self.data), "-R", "-X", "stream", "-c", "fast", "--no-sync", *source])
            self.start()
            with self.connect() as connection:
                streams = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
                eventually(lambda: connection.execute(streams).fetchone() == (1,), "the standby streams")
        except BaseException:
            self.stop()
            raise

    def promote(self) -> None:
        """Make it a primary, and wait until it takes writes: pg_promote() itself waits for a minute only."""
        with self.connect() as connection:
            connection.execute("SELECT pg_promote(false)")
            promoted = "SELECT NOT pg_is_in_recovery()"
            eventually(lambda: connection.execute(promoted).fetchone() == (True,), "the standby is promoted")

    def catch_up(self) -> None:
        """Wait until all that the primary has done until now is replayed."""
        with self.primary.connect() as primary, self.connect() as connection:
            # The primary writes lazily (synchronous_commit is off in tests): a commit that waits brings everything before it.
            primary.execute("SET synchronous_commit = on")
            primary.execute("SELECT pg_logical_emit_message(true, 'test', 'all until here')")
            row = primary.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
            assert row is not None
            query = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
            eventually(lambda: connection.execute(query, row).fetchone() == (True,), "the standby has caught up")
