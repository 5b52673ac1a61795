# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the throwaway server really has no way out: it is asked to take one, before anything is restored (law 3).

The server itself is made to connect, by the one thing in every PostgreSQL that does: CREATE SUBSCRIPTION. It is sent to
listeners of our own, on the loopback and on a Unix socket that its user may reach, and to an address outside.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.cluster import PORT
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import psycopg
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.faults import first_line

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["ways_out"]

_OUTSIDE = "192.0.2.1"
"""An address that belongs to nobody (RFC 5737); without a network not even a packet to it can be sent."""

_PROBE = "lifeboat_isolation_probe"


def ways_out(conn: Connection[Any], directory: Path) -> list[str]:
    """What the server behind this superuser's session was found to reach, in words; empty when it is isolated.

    The session must be in autocommit mode; `directory` does not exist yet, in a place that the server's user may enter.
    Whatever could not be tried counts as a way out.
    """
    found = []
    with _listener(None) as (host, port, hits):
        said = _connect_from_inside(conn, host, port)
        # A loopback of its own, as containers have it, refuses: nothing listens on that one.
        if hits or not any(words in said for words in ("Network is unreachable", "Connection refused")):
            found.append(f"the loopback addresses of this host ({said})")
    with _listener(directory) as (host, port, hits):
        said = _connect_from_inside(conn, host, port)
        if hits or "No such file or directory" not in said:
            found.append(f"Unix sockets of this host ({said})")
    if not found:
        said = _connect_from_inside(conn, _OUTSIDE, PORT)
        if "Network is unreachable" not in said:
            found.append(f"a network ({said})")
    found += _networks(conn)
    status = _read(conn, "/proc/self/status")
    if not all(re.search(pattern, status, re.MULTILINE) for pattern in (r"^NoNewPrivs:\s*1$", r"^CapBnd:\s*0+$", r"^CapEff:\s*0+$")):
        found.append("privileges of other programs")
    if _read(conn, "/proc/1/comm").strip() != "postgres":
        found.append("processes of this host")
    return found


def _networks(conn: Connection[Any]) -> list[str]:
    """Networks that the server is in: routes and addresses by its own kernel's tables, beside the loopback's."""
    table = _seen(conn, "/proc/net/route")
    # Where no interface is up, not even the loopback's, the table is empty, without its head.
    if table is None or (table and not table.startswith("Iface")):
        return ["networks that could not be looked for (/proc/net/route cannot be read)"]
    # A machine without IPv6 has no such file.
    addresses = [line.split() for line in _read(conn, "/proc/net/if_inet6").splitlines()]
    names = {line.split()[0] for line in table.splitlines()[1:] if line.strip()} | {fields[-1] for fields in addresses if fields}
    return [f"a network by {', '.join(sorted(names - {'lo'}))}"] if names - {"lo"} else []


def _connect_from_inside(conn: Connection[Any], host: str, port: int) -> str:
    """Make the server connect to a place as a client, and return what it said to that."""
    sql = deps.load("psycopg.sql", package="psycopg", debian="python3-psycopg")
    target = f"host='{host}' port={port} user=lifeboat dbname=lifeboat connect_timeout=2 sslmode=disable gssencmode=disable"
    statement = sql.SQL(
        "CREATE SUBSCRIPTION lifeboat_probe CONNECTION {} PUBLICATION lifeboat"
        " WITH (create_slot = false, slot_name = NONE, enabled = false)"
    )
    try:
        conn.execute(statement.format(sql.Literal(target)))
    except psycopg().Error as error:
        return first_line(error)
    conn.execute("DROP SUBSCRIPTION lifeboat_probe")
    return "it connected"


def _read(conn: Connection[Any], path: str) -> str:
    """A file as the server sees it, "" where it sees none."""
    return _seen(conn, path) or ""


def _seen(conn: Connection[Any], path: str) -> str | None:
    """A file as the server sees it; None, unlike an empty one, where it sees none."""
    try:
        row = conn.execute("SELECT pg_catalog.pg_read_file(%s, 0, 65536, true)", [path]).fetchone()
    except psycopg().Error:
        return None
    return row[0] if row else None


@contextlib.contextmanager
def _listener(directory: Path | None) -> Iterator[tuple[str, int, list[bool]]]:
    """Something that every process of this host can connect to: host and port as libpq wants them, and the visits so far.

    On a socket in a new directory, or on the loopback. A visitor is counted and sent away at once.
    """
    hits: list[bool] = []
    with socket.socket(socket.AF_INET if directory is None else socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        if directory is None:
            listener.bind(("127.0.0.1", 0))
            host, port = listener.getsockname()
        else:
            # Open to everybody: a refusal would prove nothing.
            host, port = str(directory), PORT
            directory.mkdir()
            directory.chmod(0o755)
            path = directory / f".s.PGSQL.{port}"
            listener.bind(str(path))
            path.chmod(0o777)
        listener.listen()

        def receive() -> None:
            while True:
                try:
                    visitor = listener.accept()[0]
                except OSError:
                    return
                hits.append(True)
                visitor.close()

        thread = threading.Thread(target=receive, name="lifeboat-listener", daemon=True)
        thread.start()
        try:
            yield host, port, hits
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept; closing alone does not
            thread.join(5)
            if directory is not None:
                shutil.rmtree(directory, ignore_errors=True)
