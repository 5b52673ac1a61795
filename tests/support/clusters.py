# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real PostgreSQL servers for tests: the embedded 18, and the system's 15.

A server runs as user postgres (else nobody) when the tests run as root, listens on a socket in a short private
directory, and always ends: with its block, with the session, and with the tests' process. `tcp=True` adds a random port
on loopback that asks for a password (scram).
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login
from psycopg import sql
from support.leaks import eventually
from support.parts import require, server_directory
from support.ports import end_with_parent, free_port

SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "max_wal_size": "2GB",
    "autovacuum_naptime": "10s",
    "log_min_messages": "warning",
}
_START_SECONDS = 300.0
_ENDS_STILL = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists', "Address already in use")
"""What a server says when the one before it, or its children, have not all ended."""


class Server:
    """A running server. `bin_dir` holds its programs, readable for the user it runs as; `password` is the superuser's.

    `initdb` are more options of that program. `reads_all`: what the server starts (an archive_command) can read this Python
    and this checkout even where they lie below /root.
    """

    def __init__(
        self,
        major: int,
        settings: Mapping[str, str] | None = None,
        *,
        tcp: bool = False,
        initdb: tuple[str, ...] = (),
        reads_all: bool = False,
    ) -> None:
        self.major = major
        self.bin_dir = readable_bin_dir(major)
        self.settings = {**SETTINGS, **(settings or {})}
        self.tcp = tcp
        self.host = "127.0.0.1"
        self.port = free_port()
        self.user = "postgres"
        self.process: subprocess.Popen[bytes] | None = None
        self.reads_all = reads_all
        template, self.password = _initialised(major, initdb)
        self.directory = private_directory("lb")
        self.data, self.socket_dir, self.log = self.directory / "data", self.directory / "s", self.directory / "log"
        try:
            _run(["mkdir", "-m", "0700", str(self.socket_dir)])
            _run(["cp", "-a", "--", str(template), str(self.data)])
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self, wait: bool = True) -> None:
        """Start the server (again) and wait until it answers; or not, when it is one that recovers first.

        As a service manager does it: once more when what is left of its life before is still ending.
        """
        argv = [str(self.bin_dir / "postgres"), "-D", str(self.data), "-k", str(self.socket_dir), "-p", str(self.port)]
        for name, value in {**self.settings, "listen_addresses": self.host if self.tcp else ""}.items():
            argv += ["-c", f"{name}={value}"]
        options: dict[str, Any] = {"preexec_fn": end_with_parent(signal.SIGQUIT), **identity()}
        if self.reads_all and (entry := account()) is not None:
            options = {}
            drop = ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups", "--pdeathsig=QUIT"]
            argv = [*drop, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", *argv]
        deadline = time.monotonic() + _START_SECONDS
        while not self._begun(argv, options, wait, deadline):
            time.sleep(0.1)

    def _begun(self, argv: list[str], options: Mapping[str, Any], wait: bool, deadline: float) -> bool:
        """Whether it runs; False for one that has ended at once and may be started once more."""
        with open(self.log, "ab") as log:
            before = log.tell()
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", umask=0o077, **options)
        while wait:
            try:
                self.connect().close()
                return True
            except psycopg.OperationalError as error:
                ended, late = self.process.poll() is not None, time.monotonic() > deadline
                said = self.log.read_bytes()[before:].decode(errors="replace")
                if ended and not late and any(words in said for words in _ENDS_STILL):
                    return False
                if ended or late:
                    raise RuntimeError(f"PostgreSQL {self.major} did not start: {error}\n{said[-2000:]}") from None
                time.sleep(0.02)
        return True

    def halt(self) -> None:
        """Stop the server at once and keep its directory."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def stop(self) -> None:
        """Stop the server and remove all of it."""
        self.halt()
        shutil.rmtree(self.directory, ignore_errors=True)

    def login(self, dbname: str = "postgres", user: str = "postgres", password: str = "", *, tcp: bool = False) -> Login:
        """A login over the socket (trusted), or over TCP (with the superuser's password when none is given)."""
        if tcp:
            given = password or (self.password if user == self.user else "")
            return Login(host=self.host, port=self.port, user=user, password=given, dbname=dbname)
        return Login(unix_socket=str(self.socket_dir), port=self.port, user=user, password=password, dbname=dbname)

    def connect(self, dbname: str = "postgres", user: str = "postgres", **more: Any) -> psycopg.Connection[Any]:
        """An ordinary autocommit session over the socket, with nothing pinned."""
        return psycopg.connect(host=str(self.socket_dir), port=self.port, dbname=dbname, user=user, autocommit=True, **more)

    def execute(self, statement: str, dbname: str = "postgres") -> None:
        """Run statements (several at once, outside of a transaction block only when it is one)."""
        with self.connect(dbname) as connection:
            connection.execute(statement)

    def reload(self) -> None:
        """Have it read its configuration again, and wait until it has: who logs in from then on finds what it says now."""
        with self.connect() as connection:
            # Our session is told by the server's main process, after that has read it.
            read = "SELECT pg_conf_load_time() > %s"
            before = connection.execute("SELECT clock_timestamp()").fetchone()
            connection.execute("SELECT pg_reload_conf()")
            eventually(lambda: connection.execute(read, before).fetchone() == (True,), "the server has read its configuration")

    @contextlib.contextmanager
    def database(self, name: str = "", *, owner: str = "postgres", extra: str = "") -> Iterator[str]:
        """A new database from template0, dropped after the block with whoever is still in it."""
        name = name or f"t{secrets.token_hex(5)}"
        with self.connect() as connection:
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0 OWNER {} ").format(sql.Identifier(name), sql.Identifier(owner))
            connection.execute(statement + sql.SQL(extra))
        try:
            yield name
        finally:
            self.drop_database(name)

    def drop_database(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    @contextlib.contextmanager
    def role(self, name: str, options: str = "LOGIN") -> Iterator[str]:
        """A role for the block; what it owns or was granted in `postgres` goes with it (other databases: drop them first)."""
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE ROLE {} ").format(sql.Identifier(name)) + sql.SQL(options))
        try:
            yield name
        finally:
            with self.connect() as connection:
                connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()


@pytest.fixture(scope="session")
def postgres18() -> Iterator[Server]:
    """PostgreSQL 18 with a TCP port, for the session."""
    require("postgresql:18")
    with Server(18, tcp=True) as server:
        yield server


@pytest.fixture(scope="session")
def postgres15() -> Iterator[Server]:
    """PostgreSQL 15 with a TCP port, for the session."""
    require("postgresql:15")
    with Server(15, tcp=True) as server:
        yield server


@pytest.fixture(scope="session", params=[15, 18], ids=["pg15", "pg18"])
def postgres(request: pytest.FixtureRequest) -> Server:
    """Each of the two in turn."""
    server: Server = request.getfixturevalue(f"postgres{request.param}")
    return server


@functools.cache
def account() -> pwd.struct_passwd | None:
    """Whom servers run as when the tests run as root; None for "as we are"."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("there is neither a user postgres nor nobody")


def identity() -> dict[str, Any]:
    """Arguments of `subprocess` that start a program as `account`."""
    entry = account()
    return {} if entry is None else {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def private_directory(prefix: str) -> Path:
    """A new 0700 directory of `account` with a path short enough for a socket; gone when the tests end."""
    directory = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir="/tmp"))
    entry = account()
    if entry is not None:
        os.chown(directory, entry.pw_uid, entry.pw_gid)
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


@functools.cache
def readable_bin_dir(major: int) -> Path:
    """The programs of this major version where `account` can run them: in place, else copied (a wheel below /root)."""
    found = server_directory(major)
    assert found is not None, f"PostgreSQL {major} is missing"
    if subprocess.run([str(found / "postgres"), "--version"], capture_output=True, cwd="/", **identity()).returncode == 0:
        return found
    copy = private_directory("lb-bin") / "pg"
    shutil.copytree(found.parent, copy, symlinks=True)
    for path in (copy.parent, copy, *copy.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    return copy / found.name


@functools.cache
def _initialised(major: int, more: tuple[str, ...] = ()) -> tuple[Path, str]:
    """A data directory to copy, made once per session, and its superuser's password."""
    directory = private_directory("lb-init")
    password, password_file, data = secrets.token_urlsafe(12), directory / "password", directory / "data"
    password_file.write_text(password)
    password_file.chmod(0o644)  # the directory is 0700, and the server's user must read it
    argv = ["initdb", "-D", str(data), "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", f"--pwfile={password_file}", *more]
    _run([str(readable_bin_dir(major) / argv[0]), *argv[1:], "--auth-local=trust", "--auth-host=scram-sha-256"])
    return data, password


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, cwd="/", umask=0o077, **identity())
    if done.returncode:
        raise RuntimeError(f"{argv[0]}: {done.stdout}{done.stderr}")
