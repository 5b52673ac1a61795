# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server with a filled backlog of real WAL, which one archive_command after the other drains, and what that costs.

The same segments are made ready again for each: nothing is recycled meanwhile. Whatever an archive_command leaves running
becomes a child of this process, so its CPU seconds are counted as well; those of PostgreSQL itself are counted for all alike.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _databases import fill_pgbench, fill_tpch
from _measure import Figures, _memory_bytes, _server_seconds, _times, _tree
from places import Place, readable_programs

if TYPE_CHECKING:
    import psycopg

SEGMENT_BYTES = 16 * 1024 * 1024
PORT = 5432
SETTINGS = {
    "listen_addresses": "",
    "wal_level": "replica",
    "archive_mode": "on",
    "archive_command": "",
    "wal_keep_size": "20GB",
    "max_wal_size": "40GB",
    "checkpoint_timeout": "1h",
    "shared_buffers": "256MB",
    "maintenance_work_mem": "128MB",
    "autovacuum": "off",
    "synchronous_commit": "off",
}
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER


def adopt_orphans() -> None:
    """What a descendant leaves behind becomes our child (prctl(2))."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)


class Archiving:
    """A server of one's own; `bin_dir` holds its programs."""

    def __init__(self, place: Place, bin_dir: Path) -> None:
        self.place = place
        self.bin_dir = readable_programs(bin_dir, place.account, place.root)
        self.home = place.directory("archiving", 0o711, place.account)
        self.data, self.sockets = self.home / "data", self.home / "s"
        self.process: subprocess.Popen[bytes] | None = None
        self.names: list[str] = []

    @property
    def major(self) -> int:
        return int((self.data / "PG_VERSION").read_text())

    def start(self) -> None:
        self.own(self.sockets).mkdir(mode=0o700, exist_ok=True)
        self.own(self.sockets)
        if not self.data.exists():
            argv = [str(self.bin_dir / "initdb"), "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
            subprocess.run(argv, check=True, capture_output=True, cwd="/", umask=0o077, **self.place.account.popen_options())  # type: ignore[call-overload]
        argv = [str(self.bin_dir / "postgres"), "-D", str(self.data), "-k", str(self.sockets), "-p", str(PORT)]
        for name, value in SETTINGS.items():
            if name != "archive_command":  # ALTER SYSTEM sets it, and the command line would win
                argv += ["-c", f"{name}={value}"]
        with open(self.home / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*self.as_account(reads_all=True), *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", umask=0o077
            )
        import psycopg

        deadline = time.monotonic() + 60
        while True:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"PostgreSQL did not start: {(self.home / 'log').read_text()[-2000:]}") from None
                time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()
            self.process = None

    def as_account(self, reads_all: bool = False) -> list[str]:
        """What to put before a command so that the server's account runs it; it may read this Python wherever that lies."""
        account = self.place.account
        if account.is_own:
            return []
        argv = ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups", "--pdeathsig=KILL"]
        return [*argv, *(["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"] if reads_all else []), "--"]

    def own(self, path: Path) -> Path:
        """Give it, and what lies in it, to the server's account."""
        account = self.place.account
        if not account.is_own and path.exists():
            for found in (path, *(path.rglob("*") if path.is_dir() else ())):
                os.chown(found, account.uid, account.gid)
        return path

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        import psycopg

        return psycopg.connect(host=str(self.sockets), port=PORT, dbname=database, user="postgres", autocommit=True)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PGHOST": str(self.sockets), "PGPORT": str(PORT), "PGUSER": "postgres"}

    # --- the backlog -------------------------------------------------------------------------------------------------

    def fill(self, segments: int, tpch: float, say: Any) -> None:
        """So many segments of WAL that loading TPC-H, loading pgbench's tables and running its transactions leave."""
        say(f"filling: {segments} segments")
        self.command("")
        with self.connect() as connection:
            fill_tpch(connection, tpch, self.place.directory("tpch"))
        fill_pgbench(self.bin_dir, "postgres", 20, self.environment())
        while len(self._waiting()) < segments:
            # After a checkpoint each page is logged whole once more, as on any server that runs for long.
            with self.connect() as connection:
                connection.execute("CHECKPOINT")
            argv = [str(self.bin_dir / "pgbench"), "-n", "-c", "4", "-T", "3", "postgres"]
            subprocess.run(argv, check=True, capture_output=True, env=self.environment())
        with self.connect() as connection:
            connection.execute("SELECT pg_switch_wal()")
        self.names = self._waiting()[-segments:]
        self._mark([])

    def _waiting(self) -> list[str]:
        return sorted(path.stem for path in self._status_dir.glob("*.ready"))

    @property
    def _status_dir(self) -> Path:
        return self.data / "pg_wal" / "archive_status"

    def _mark(self, ready: list[str]) -> None:
        """Let exactly these be ready, and every other segment be done."""
        for path in list(self._status_dir.iterdir()):
            path.rename(path.with_suffix(".done"))
        for name in ready:
            (self._status_dir / f"{name}.done").rename(self._status_dir / f"{name}.ready")

    def archive_everything(self) -> list[str]:
        """From now on the backlog is every whole segment that there is; their names."""
        self.names = sorted(path.stem for path in self._status_dir.iterdir() if len(path.stem) == 24)
        return self.names

    def command(self, archive_command: str) -> None:
        from psycopg import sql

        with self.connect() as connection:
            connection.execute(sql.SQL("ALTER SYSTEM SET archive_command = {}").format(sql.Literal(archive_command)))
            connection.execute("SELECT pg_reload_conf()")

    def drain(self, archive_command: str, store: int | None, seconds: float = 600) -> Figures:
        """Make the backlog ready and see how long the command takes for it. `store` is the process of an S3 server."""
        self.command("")
        time.sleep(1.5)  # whoever remembers what was archived sees that it no longer waits
        self._mark(self.names)
        peak = _Memory()
        before, store_before = cpu_seconds(), _server_seconds(store) if store else 0.0
        begun = time.monotonic()
        self.command(archive_command)
        while (self._status_dir / f"{self.names[-1]}.ready").exists():
            time.sleep(0.005)
            if time.monotonic() - begun > seconds:
                raise SystemExit(f"{archive_command}: not drained\n{(self.home / 'log').read_text()[-2000:]}")
        wall = time.monotonic() - begun
        spent = cpu_seconds() - before
        at_the_store = _server_seconds(store) - store_before if store else 0.0
        return Figures(wall, spent - at_the_store, peak.end(), 0, {"archiving": spent - at_the_store, "(store)": at_the_store})

    def idle(self, archive_command: str, times: int = 7) -> list[float]:
        """Seconds from the end of a segment to its acknowledgement, with nothing else to do."""
        self.command("")
        time.sleep(1.5)
        self._mark([])
        self.command(archive_command)
        taken = []
        with self.connect() as connection:
            for _time in range(times):
                connection.execute("INSERT INTO pgbench_history SELECT * FROM pgbench_history LIMIT 60000")
                time.sleep(0.3)
                begun = time.monotonic()
                row = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
                assert row is not None
                while not (self._status_dir / f"{row[0]}.done").exists():
                    time.sleep(0.001)
                taken.append(time.monotonic() - begun)
        return taken


def cpu_seconds() -> float:
    """Of everything that was ever started below this process, itself left out."""
    total = 0.0
    for number, pid in enumerate(_tree(os.getpid())):
        times = _times(pid)
        if times is not None:
            # Our own children are in the tree; those of ours that have ended are in our second figure.
            total += times[2] + (times[1] if number else 0.0)
    return total


class _Memory:
    """The largest sum over everything that is neither PostgreSQL nor a store nor ourselves."""

    def __init__(self) -> None:
        self.largest = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> int:
        self._stop.set()
        self._thread.join()
        return self.largest

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            others = [pid for pid in _tree(os.getpid())[1:] if (times := _times(pid)) and times[0] not in ("postgres", "rclone")]
            self.largest = max(self.largest, sum(map(_memory_bytes, others)))
