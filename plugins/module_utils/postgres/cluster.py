# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A private server that will be thrown away: made, started, asked and killed by the one process that needs it.

It listens on a Unix socket in a 0700 directory and nowhere else, replicates nothing, archives nothing, and gives up
every guarantee against a crash: after one it is thrown away anyhow. Its settings are given on the command line, which
wins over everything that a restored `ALTER SYSTEM` or a configuration file says.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DatabaseError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login, open_connection
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import Initdb, PostgresServer
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["PORT", "SUPERUSER", "Cluster", "check_socket_directory", "throwaway_settings"]

SUPERUSER = "postgres"
"""What initdb's role is called by almost everybody."""
PORT = 5432
"""Only names the socket file; there is no TCP port."""

SOCKET_PATH_BYTES = 107
"""What fits into sun_path of Linux, less its closing zero (unix(7)); macOS takes 103."""

_LOG_TAIL_BYTES = 4096
_POLL_SECONDS = 0.03
_STOP_SECONDS = 10.0

Wrap = Callable[[Sequence[str], Iterable[Path]], "list[str]"]
"""Makes an argument list run confined; the second argument are the directories it may write."""


class Cluster:
    """A server of its own below `directory`: `data`, `s` (for its socket) and `server.log`, which exist already and fit its user.

    `wrap` starts programs as that user, never as root. Raises `DatabaseError` with the end of the server's own log.
    """

    def __init__(
        self,
        directory: Path,
        initdb: Initdb,
        postgres: PostgresServer,
        settings: Mapping[str, str],
        wrap: Wrap,
        environment: Mapping[str, str],
        stop_signal: int = signal.SIGKILL,
        superuser: str = SUPERUSER,
        send: Callable[[int], bool] | None = None,
    ) -> None:
        """`stop_signal` is what ends the process that `wrap` starts, and the server with it. `superuser` is the role that
        initdb makes: the same name as production's, since what that role owns and grants goes without saying in a dump.
        `send` signals a server that is no child of that process (a container's), and says whether it did.
        """
        self.data = directory / "data"
        self.socket = directory / "s"
        self.log = directory / "server.log"
        self.settings = dict(settings)
        self.superuser = superuser
        self._initdb = initdb
        self._postgres = postgres
        self._wrap = wrap
        self._environment = dict(environment)
        self._stop_signal = stop_signal
        self._send = send
        self.files: Mapping[str, str] = {}
        """Settings that name the server's own files; PostgreSQL does not say of these where it has them from."""
        self._process: subprocess.Popen[bytes] | None = None
        check_socket_directory(self.socket)

    @property
    def major(self) -> int:
        return self._postgres.major

    @property
    def pid(self) -> int | None:
        """The process that holds the server (its namespace's outermost one); killing it ends the server."""
        return self._process.pid if self._process is not None else None

    def create(self) -> None:
        """Make an empty cluster, UTF-8; the restored database brings its own encoding and locale."""
        faults = []
        # macOS and old systems have no C.UTF-8.
        for locale in ("C.UTF-8", "C"):
            extra = ["--encoding=UTF8", f"--locale={locale}", "--auth-local=trust", "--auth-host=reject"]
            argv = self._initdb.argv(self.data, superuser=self.superuser, extra=extra)
            # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
            ended = subprocess.run(
                self._wrap(argv, [self.data]),
                env=self._environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            if ended.returncode == 0:
                return
            faults.append(clean_line(ended.stderr) or f"exit status {ended.returncode}")
            if "invalid locale name" not in ended.stderr:
                break
        raise DatabaseError(f"initdb could not make the throwaway cluster: {faults[-1]}", str(self.data))

    def start(self, timeout_seconds: float = 60.0) -> None:
        """Start and return once it answers. Call it from the main thread: the server dies with the thread that started it."""
        self.launch()
        deadline = time.monotonic() + timeout_seconds
        while self.status != "ready":
            self.check_running("starting")
            if time.monotonic() > deadline:
                raise DatabaseError(f"the throwaway server was not ready within {timeout_seconds:.0f} s; its log ends: {self.log_tail()}")
            time.sleep(_POLL_SECONDS)
        with self.connect("postgres", "lifeboat drill settings") as conn:
            self.verify_settings(conn)

    def launch(self) -> None:
        """Start, and do not wait for anything; from the main thread."""
        own = {"unix_socket_directories": str(self.socket), "port": str(PORT), **self.files}
        argv = self._postgres.argv(self.data, {**self.settings, **own})
        with self.log.open("ab") as log:
            # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
            self._process = subprocess.Popen(
                self._wrap(argv, [self.data, self.socket]),
                env=self._environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C reaches us, who then tear down, and not the server in the middle of it.
                start_new_session=True,
            )

    @property
    def status(self) -> str:
        """What it says of itself in its lock file, as `pg_ctl --wait` looks for it: starting, standby, ready, stopping, or ""."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return lines[7].strip() if len(lines) > 7 else ""

    def check_running(self, during: str) -> None:
        """Raise `DatabaseError` with the end of its log when the server has died."""
        if self._process is None or self._process.poll() is not None:
            code = "" if self._process is None else f" with exit status {self._process.returncode}"
            raise DatabaseError(f"the throwaway server ended while {during}{code}; its log ends: {self.log_tail()}")

    def login(self, dbname: str) -> Login:
        """How to reach a database of it, from outside of its namespaces: through the socket."""
        return Login(port=PORT, user=self.superuser, unix_socket=str(self.socket), dbname=dbname)

    def connect(self, dbname: str, application_name: str, **more: Any) -> Connection[Any]:
        """A session as its superuser; `more` are libpq parameters. Raises `DatabaseError`."""
        return open_connection(self.login(dbname), application_name=application_name, **more)

    def log_tail(self) -> str:
        """The end of the server's log as one line, or what is wrong with it."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
                return clean_line(log.read().decode("utf-8", "replace")) or "(empty)"
        except OSError as error:
            return f"(unreadable: {error.strerror})"

    def stop(self) -> None:
        """End it, without a checkpoint: nothing in it is worth a second. Idempotent; whoever tears down looks again."""
        if self._process is None:
            return
        for number in (self._stop_signal, signal.SIGKILL):
            if self._send is None or not self._send(number):
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
                return

    def stop_cleanly(self, timeout_seconds: float) -> None:
        """End it with a checkpoint, for programs that want whole files; raises `DatabaseError` when it does not end so."""
        if self._process is None:
            return
        if self._send is None or not self._send(signal.SIGINT):
            os.kill(_innermost(self._process.pid), signal.SIGINT)
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise DatabaseError(f"the throwaway server did not shut down within {timeout_seconds:.0f} s: {self.log_tail()}") from None

    def verify_settings(self, conn: Connection[Any]) -> None:
        """Every setting stands as it was asked for: a server that archives or listens is never used. Raises `DatabaseError`."""
        rows = conn.execute("SELECT name, source FROM pg_settings WHERE name = ANY(%s)", [list(self.settings)]).fetchall()
        archiving = conn.execute("SELECT current_setting('archive_mode'), current_setting('listen_addresses')").fetchone()
        wrong = sorted(set(self.settings) - {name for name, source in rows if source == "command line"})
        if wrong or archiving != ("off", ""):
            self.stop()
            raise DatabaseError(f"the throwaway server did not take its settings: {', '.join(wrong) or archiving}")


def _innermost(pid: int) -> int:
    """The server itself, which is the only child of what holds its namespaces; the same process where nothing isolates."""
    while True:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
            name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return pid
        if name.startswith("postgres") or len(children) != 1:
            return pid
        pid = int(children[0])


def check_socket_directory(directory: Path) -> None:
    """Raise `ConfigurationError` when the socket's path would be too long for the kernel."""
    length = len(os.fsencode(directory / f".s.PGSQL.{PORT}"))
    if length > SOCKET_PATH_BYTES:
        raise ConfigurationError(
            f"the path of the throwaway server's socket would take {length} bytes, the kernel allows {SOCKET_PATH_BYTES}",
            str(directory),
            f"Use a work_dir that is at least {length - SOCKET_PATH_BYTES} characters shorter.",
        )


def throwaway_settings(memory_bytes: int, processors: int, database_bytes: int, preload: Sequence[str] = ()) -> dict[str, str]:
    """The settings of a server that nobody will miss, each as PostgreSQL writes it: safe first, then fast.

    `preload` are libraries without which the extensions of the restored database cannot be created.
    """
    megabyte = 1024 * 1024
    shared = _clamp(memory_bytes // 8, 128 * megabyte, 2048 * megabyte)
    maintenance = _clamp(memory_bytes // 32, 64 * megabyte, 1024 * megabyte)
    return {
        # Nothing leaves this server (law 3).
        "listen_addresses": "",
        "archive_mode": "off",
        "archive_command": "",
        "restore_command": "",
        "primary_conninfo": "",
        "max_wal_senders": "0",
        "max_logical_replication_workers": "0",
        "shared_preload_libraries": ",".join(preload),
        "unix_socket_permissions": "0700",
        "ssl": "off",
        # Rows of the database do not get into a log.
        "logging_collector": "off",
        "log_destination": "stderr",
        "log_min_error_statement": "panic",
        "log_statement": "none",
        # It is thrown away: no guarantee against a crash is worth a second.
        "fsync": "off",
        "full_page_writes": "off",
        "synchronous_commit": "off",
        "wal_level": "minimal",
        "autovacuum": "off",
        "max_wal_size": f"{wal_bytes(database_bytes) // megabyte}MB",
        "checkpoint_timeout": "1h",
        "shared_buffers": f"{shared // megabyte}MB",
        "maintenance_work_mem": f"{maintenance // megabyte}MB",
        "max_parallel_maintenance_workers": str(_clamp(processors // 2, 1, 4)),
    }


def wal_bytes(database_bytes: int) -> int:
    """How much WAL may pile up before a checkpoint: as much as the data, within 1 and 16 GiB."""
    return _clamp(database_bytes, 1024**3, 16 * 1024**3)


def _clamp(value: int, least: int, most: int) -> int:
    return max(least, min(value, most))
