# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A session with PostgreSQL: who logs in where, with every setting pinned that could cut it short or change what it reads.

The same login serves psycopg and PostgreSQL's own programs (`programs.py`), which get it as `--dbname=<conninfo>`: a
database may be called `x host=evil`, `-c` or `$(date)`, and only a quoted conninfo keeps that a name.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.faults import connection_fault, first_line

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = [
    "OLDEST_MAJOR",
    "SSL_MODES",
    "Login",
    "ServerFacts",
    "database_errors",
    "one_row",
    "open_connection",
    "psycopg",
    "roll_back",
    "savepoint",
    "server_facts",
]

OLDEST_MAJOR = 14
SSL_MODES = ("allow", "disable", "prefer", "require", "verify-ca", "verify-full")
CONNECT_TIMEOUT_SECONDS = 15

# Where servers put their sockets: a client library that was built elsewhere has another default than this host's server.
_SOCKET_DIRECTORIES = ("/var/run/postgresql", "/run/postgresql", "/tmp")

# A role or a database may carry any of these (ALTER ROLE … SET); one that is not pinned ends the session that holds the
# snapshot (docs/postgres-notes.md#timeouts), hides rows (#row-level-security) or changes how a value is written (#pinned-settings).
_PINNED = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "row_security": "off",
    "search_path": "pg_catalog",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmloption": "content",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "jit": "off",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
}
_SINCE = {"transaction_timeout": 170000}

# Timeouts so short that not even the statement that lifts them comes through need options in the startup packet, which
# poolers refuse: so only the logins that were found to need them get any.
_TIMED_OUT = ("57014", "25P03", "25P04", "57P05")
_PATIENCE: dict[Login, str] = {}


@dataclass(frozen=True)
class Login:
    """Who logs in where (`login.py` reads it from options). An empty `host` is the Unix socket in `unix_socket`, or where
    this host's server has it. `server_options` is for the server or a proxy before it, never for settings of the session.
    """

    host: str = ""
    port: int = 5432
    user: str = "postgres"
    password: str = field(default="", repr=False)
    unix_socket: str = ""
    dbname: str = "postgres"
    ssl_mode: str = ""
    ca_cert: str = ""
    ssl_cert: str = ""
    ssl_key: str = ""
    channel_binding: str = ""
    server_options: str = ""

    def for_database(self, dbname: str) -> Login:
        """The same login to another database of the server."""
        return replace(self, dbname=dbname)

    @property
    def place(self) -> str:
        """Where, in words for a message."""
        socket = f"socket in {self._socket_directory() or 'the default place'}, port {self.port}"
        server = f"{self.host}:{self.port}" if self.host else socket
        return f"database {self.dbname!r} on {server}"

    def conninfo(self, application_name: str, **more: Any) -> str:
        """The login as libpq's connection string, without the password; `more` adds or overrides libpq's parameters.

        What it names is final: no PGHOSTADDR or PGOPTIONS of the environment leads elsewhere or changes the session.
        """
        parameters: dict[str, Any] = {
            "host": self.host or self._socket_directory() or None,
            "hostaddr": "",
            "port": self.port,
            "user": self.user,
            "dbname": self.dbname,
            "application_name": application_name,
            "options": self.server_options,
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            # The session that holds the snapshot is silent for as long as the dump takes: a firewall forgets silent ones, and
            # a network that is gone has to be noticed, here within two minutes.
            "keepalives_idle": 60,
            "keepalives_interval": 10,
            "keepalives_count": 6,
            "sslmode": self.ssl_mode or None,
            "sslrootcert": self.ca_cert or None,
            "sslcert": self.ssl_cert or None,
            "sslkey": self.ssl_key or None,
            "channel_binding": self.channel_binding or None,
        }
        parameters.update(more)
        parameters["options"] = " ".join(filter(None, (self.server_options, _PATIENCE.get(self), more.get("options"))))
        psycopg()
        conninfo = deps.load("psycopg.conninfo", package="psycopg", debian="python3-psycopg")
        return str(conninfo.make_conninfo(**parameters))

    def _socket_directory(self) -> str:
        if self.host or self.unix_socket:
            return self.unix_socket
        name = f".s.PGSQL.{self.port}"
        return next((directory for directory in _SOCKET_DIRECTORIES if Path(directory, name).exists()), "")


@dataclass(frozen=True)
class ServerFacts:
    """`version` as the server writes it ("18.6 (Debian …)"), `version_num` 180006, `major` 18.

    `system_identifier` is "" where the login may not read it. `in_recovery`: a standby.
    """

    version: str
    version_num: int
    major: int
    system_identifier: str
    in_recovery: bool


@functools.lru_cache(maxsize=1)
def psycopg() -> ModuleType:
    """The library psycopg; raises `MissingTool`."""
    return deps.load("psycopg", minimum="3.1", package="psycopg", debian="python3-psycopg")


def open_connection(login: Login, *, application_name: str, autocommit: bool = True, **more: Any) -> Connection[Any]:
    """A session with every timeout at zero, row security off and pinned ways of writing values.

    `more` are libpq parameters. Raises `DatabaseError` with the next step, `MissingTool` without psycopg.
    """
    library = psycopg()
    connection = _connect(login, application_name, more)
    version_num = connection.info.server_version  # a session that was ended does not know it any more
    try:
        with database_errors(login.place):
            try:
                # Client programs of this login have the same timeouts, which pg_dump lifts too late.
                if _pin(connection) and login not in _PATIENCE:
                    _PATIENCE[login] = _patience(version_num)
            except library.Error as error:
                if login in _PATIENCE or not (connection.closed or error.sqlstate in _TIMED_OUT):
                    raise
                _PATIENCE[login] = _patience(version_num)
                connection.close()
                connection = _connect(login, application_name, more)
                _pin(connection)
            connection.autocommit = autocommit
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(login: Login, application_name: str, more: Mapping[str, Any]) -> Connection[Any]:
    secret = {"password": login.password} if login.password else {}
    try:
        connection: Connection[Any] = _session_class().connect(login.conninfo(application_name, **more), autocommit=True, **secret)
    except psycopg().Error as error:
        raise connection_fault(error, login.place, login.user, login.dbname) from None
    return connection


def _patience(version_num: int) -> str:
    """The timeouts at zero from the first moment on: as options of the startup packet."""
    names = [name for name, value in _PINNED.items() if name.endswith("_timeout") and value == "0"]
    return " ".join(f"-c {name}=0" for name in names if version_num >= _SINCE.get(name, 0))


@functools.lru_cache(maxsize=1)
def _session_class() -> Any:
    """psycopg's Connection, whose block ends by closing it: in autocommit there is nothing to commit.

    psycopg itself commits there, and refuses to once a SAVEPOINT of its `transaction()` has failed or was cancelled.
    """
    base = psycopg().Connection

    def leave(self: Any, *exception: Any) -> None:
        if self.autocommit:
            self.close()
        else:
            base.__exit__(self, *exception)

    return type("Session", (base,), {"__exit__": leave})


def _pin(connection: Connection[Any]) -> bool:
    """Set every pinned setting. Whether the session began with a timeout of less than ten seconds."""
    version_num = connection.info.server_version
    if version_num < OLDEST_MAJOR * 10000:
        raise DatabaseError(
            f"the server is PostgreSQL {connection.info.parameter_status('server_version')}",
            next_step=f"This collection knows {OLDEST_MAJOR} and newer.",
        )
    settings = {name: value for name, value in _PINNED.items() if version_num >= _SINCE.get(name, 0)}
    # A SQL_ASCII database holds bytes of no declared encoding: Latin-1 carries each of them there and back unharmed.
    encoding = connection.info.parameter_status("server_encoding")
    settings["client_encoding"] = "LATIN1" if encoding == "SQL_ASCII" else "UTF8"
    rows = connection.execute(
        "SELECT pg_catalog.set_config(s.name, s.value, false), (SELECT count(*) FROM pg_catalog.pg_settings AS p"
        " WHERE p.name LIKE '%%\\_timeout' AND p.name = ANY (%s) AND p.reset_val::bigint BETWEEN 1 AND 9999)"
        " FROM ROWS FROM (pg_catalog.unnest(%s::pg_catalog.text[]), pg_catalog.unnest(%s::pg_catalog.text[])) AS s(name, value)",
        (list(settings), list(settings), list(settings.values())),
    ).fetchall()
    return bool(rows[0][1])


def server_facts(connection: Connection[Any]) -> ServerFacts:
    """What server this is; raises `DatabaseError`."""
    with database_errors():
        row = one_row(
            connection,
            "SELECT pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num')::int,"
            " pg_catalog.pg_is_in_recovery(),"
            " pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')",
        )
        identifier = ""
        if row[3]:
            identifier = one_row(connection, "SELECT system_identifier::text FROM pg_catalog.pg_control_system()")[0]
    return ServerFacts(row[0], row[1], row[1] // 10000, identifier, row[2])


def one_row(connection: Connection[Any], query: str) -> tuple[Any, ...]:
    """The row of a query that always gives one; raises `psycopg.Error`, `DatabaseError`."""
    row: tuple[Any, ...] | None = connection.execute(query.encode()).fetchone()
    if row is None:
        raise DatabaseError("the server gave no row where there always is one", query)
    return row


def roll_back(connection: Connection[Any]) -> None:
    """End whatever transaction there is; a session that is gone has none. Raises nothing."""
    if not connection.closed and connection.info.transaction_status != psycopg().pq.TransactionStatus.IDLE:
        with contextlib.suppress(psycopg().Error):
            connection.execute("ROLLBACK")


@contextlib.contextmanager
def savepoint(connection: Connection[Any], *, undo: bool = False) -> Iterator[None]:
    """What fails in the block is undone, and with `undo` all of it; the transaction goes on.

    Unlike psycopg's `transaction()` it keeps no account of its own, which a cancelled SAVEPOINT would leave wrong for the
    rest of the session.
    """
    connection.execute("SAVEPOINT lifeboat")
    try:
        yield
    except BaseException:
        if not connection.closed:
            with contextlib.suppress(psycopg().Error):
                connection.execute("ROLLBACK TO SAVEPOINT lifeboat")
                connection.execute("RELEASE SAVEPOINT lifeboat")
        raise
    if undo:
        connection.execute("ROLLBACK TO SAVEPOINT lifeboat")
    connection.execute("RELEASE SAVEPOINT lifeboat")


@contextlib.contextmanager
def database_errors(where: str = "", next_step: str = "", kind: type[DatabaseError] = DatabaseError) -> Iterator[None]:
    """Turn psycopg's errors inside the block into `kind`, with the server's first line as what happened."""
    library = psycopg()
    try:
        yield
    except library.Error as error:
        raise kind(first_line(error), where, next_step) from error
