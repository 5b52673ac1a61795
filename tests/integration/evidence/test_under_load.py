# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Silent on healthy backups, however busy production is: rows, TRUNCATE, nextval, REFRESH and DDL go on meanwhile.

A few backups by default, 200 with `--full`, any number with LIFEBOAT_HEALTHY_BACKUPS.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import PgDump
from support import roundtrip
from support.clusters import Server
from support.roundtrip import Dump, DumpFailed, Pair, alarms, compared, restored

FEW = 8
_PAUSE_SECONDS = 0.001

BUSY = """
CREATE TYPE mood AS ENUM ('ok');
CREATE TABLE accounts (id serial PRIMARY KEY, kind varchar(9) CHECK (kind IN ('a', 'b', 'c')), mood mood, cents bigint NOT NULL DEFAULT 0);
CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY, line text);
CREATE TABLE events (at int, n int) PARTITION BY RANGE (at);
CREATE TABLE events_0 PARTITION OF events FOR VALUES FROM (0) TO (50);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (50) TO (100);
CREATE SEQUENCE tickets; CREATE SEQUENCE countdown INCREMENT -1; CREATE SEQUENCE wheel MAXVALUE 5 CYCLE;
CREATE FUNCTION price(int) RETURNS int LANGUAGE sql AS 'SELECT 0';
CREATE VIEW totals AS SELECT kind, sum(cents) AS cents FROM accounts WHERE kind IN ('a', 'b') GROUP BY kind;
CREATE MATERIALIZED VIEW ranking AS SELECT id, cents FROM accounts; CREATE UNIQUE INDEX ON ranking (id);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
INSERT INTO accounts (kind, mood, cents) SELECT 'a', 'ok', n FROM generate_series(1, 500) n;
INSERT INTO events SELECT n % 100, n FROM generate_series(1, 2000) n;
REFRESH MATERIALIZED VIEW ranking;
"""

# What the writers do, each as often as its number says; {n} is a small number, {m} another, {big} one of its own.
# Not among it: DROP of a view or function. While those go, pg_dump fails, or writes a function without its arguments and
# ends well (docs/postgres-notes.md#dropped-meanwhile): that backup is not healthy.
ACTIONS = {
    "INSERT INTO accounts (kind, mood, cents) SELECT 'b', 'ok', {n} FROM generate_series(1, {n})": 8,
    "DELETE FROM accounts WHERE id % 50 = {n}": 4,
    "UPDATE accounts SET cents = cents + 1 WHERE id % 20 = {n}": 4,
    "INSERT INTO events SELECT {n}, {m} FROM generate_series(1, 20)": 4,
    "INSERT INTO log (line) SELECT 'x' FROM generate_series(1, {n})": 6,
    "TRUNCATE log": 4,
    "TRUNCATE log, events_1 RESTART IDENTITY": 2,
    "SELECT nextval('tickets'), nextval('countdown'), nextval('wheel') FROM generate_series(1, {n})": 10,
    "ALTER SEQUENCE tickets RESTART": 1,
    "ALTER SEQUENCE tickets CACHE {n}": 1,
    "REFRESH MATERIALIZED VIEW ranking": 2,
    "REFRESH MATERIALIZED VIEW CONCURRENTLY ranking": 1,
    "CREATE TABLE staging_{n} AS SELECT generate_series(1, {m}) AS n": 6,
    "DROP TABLE IF EXISTS staging_{n}": 6,
    "CREATE TABLE IF NOT EXISTS events_{big} PARTITION OF events FOR VALUES FROM ({big}) TO ({big} + 1)": 2,
    "ALTER TABLE log ADD COLUMN IF NOT EXISTS extra_{n} int DEFAULT {m}": 1,
    "ALTER TABLE log DROP COLUMN IF EXISTS extra_{n}": 1,
    "CREATE OR REPLACE FUNCTION price(int) RETURNS int LANGUAGE sql AS 'SELECT {n}'": 6,
    "CREATE OR REPLACE VIEW totals AS SELECT kind, sum(cents) AS cents FROM accounts WHERE cents > {n} GROUP BY kind": 6,
    "CREATE OR REPLACE FUNCTION passing_{n}(a int, b text DEFAULT '{m}') RETURNS int LANGUAGE sql AS 'SELECT 1'": 2,
    "CREATE OR REPLACE VIEW fleeting_{n} AS SELECT id FROM accounts WHERE kind IN ('a', 'c')": 2,
    "ALTER TYPE mood ADD VALUE IF NOT EXISTS 'mood {n}'": 2,
    "CREATE INDEX IF NOT EXISTS by_{n} ON accounts (cents, id)": 1,
    "DROP INDEX IF EXISTS by_{n}": 1,
    "CREATE OR REPLACE TRIGGER noted BEFORE UPDATE ON accounts FOR EACH ROW WHEN (NEW.cents > {n}) EXECUTE FUNCTION note()": 1,
    "COMMENT ON TABLE accounts IS '{n}'": 2,
    "GRANT SELECT ON accounts TO PUBLIC": 1,
    "REVOKE SELECT ON accounts FROM PUBLIC": 1,
    "SELECT lo_from_bytea(0, decode(repeat('ab', {n}), 'hex'))": 2,
    "SELECT lo_unlink(oid) FROM pg_largeobject_metadata LIMIT 1": 1,
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''{n}MB''', current_database()); END $$": 1,
}
IGNORED = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
    psycopg.errors.UniqueViolation,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedObject,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InternalError_,  # tuple concurrently updated
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.CheckViolation,
)


class Writers:
    """Sessions that keep production busy while the block runs; `done` counts what they did."""

    def __init__(self, server: Server, dbname: str, actions: dict[str, int], sessions: int = 2) -> None:
        self.done: Counter[str] = Counter()
        self.faults: list[BaseException] = []
        self._server, self._dbname, self._actions = server, dbname, actions
        self.pause = _PAUSE_SECONDS
        """Between two actions of a session, in seconds."""
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(seed,)) for seed in range(sessions)]

    def _write(self, seed: int) -> None:
        source = random.Random(seed)
        try:
            with self._server.connect(self._dbname) as connection:
                connection.execute("SET lock_timeout = '100ms'; SET client_min_messages = error")
                while not self._stop.wait(self.pause):
                    (template,) = source.choices(list(self._actions), list(self._actions.values()))
                    values = {"n": source.randrange(1, 9), "m": source.randrange(100), "big": source.randrange(100, 140)}
                    try:
                        connection.execute(template.format(**values))
                        self.done[template] += 1
                    except IGNORED:
                        pass
        except BaseException as fault:
            self.faults.append(fault)

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def wanted(full: bool) -> int:
    return int(os.environ.get("LIFEBOAT_HEALTHY_BACKUPS", 200 if full else FEW))


@contextlib.contextmanager
def busy_database(server: Server) -> Iterator[str]:
    with server.database() as name:
        server.execute(BUSY, name)
        yield name


def patient_dump(server: Server, dbname: str, archive: Path, tries: Counter[str], writers: Writers) -> Dump:
    """As the backup does: when pg_dump or the locks meet with somebody else's, a new snapshot and another try.

    On a machine so busy that the writers always come first, they make longer pauses after each few tries.
    """
    try:
        for attempt in range(60):
            writers.pause = _PAUSE_SECONDS * 2 ** (attempt // 5)
            try:
                return roundtrip.dump(server, dbname, archive, lock_wait_seconds=2)
            except DumpFailed as error:
                assert PgDump.was_outrun(str(error)), error
                tries[f"pg_dump: {str(error).splitlines()[0]}"] += 1
            except DatabaseError as error:
                tries[f"snapshot: {error.what}"] += 1
    finally:
        writers.pause = _PAUSE_SECONDS
    raise AssertionError(f"no dump in 60 tries: {tries}")


def test_no_alarm_on_healthy_backups_of_a_busy_database(pair: Pair, tmp_path: Path, wanted: int) -> None:
    tries: Counter[str] = Counter()
    unstable: Counter[str] = Counter()
    with busy_database(pair.production) as name, Writers(pair.production, name, ACTIONS) as writers:
        for number in range(wanted):
            taken = patient_dump(pair.production, name, tmp_path / "dump", tries, writers)
            assert not taken.evidence.missing
            assert not taken.evidence.uncounted
            unstable[str(min(len(taken.evidence.unstable), 20))] += 1
            with restored(pair.target, taken) as errors:
                assert not errors.issues, (number, errors.summary())
                false = [f"{alarm.name}: {alarm.detail}" for alarm in alarms(compared(pair.target, taken.evidence))]
                assert not false, f"backup {number} of {wanted}"
    assert not writers.faults
    assert set(writers.done) >= {"TRUNCATE log", "REFRESH MATERIALIZED VIEW ranking"}
    print(f"\n{wanted} healthy backups; unstable objects {dict(unstable)}; tried again {dict(tries)}; {sum(writers.done.values())} actions")


def test_a_truncate_between_the_snapshot_and_the_dump_makes_pg_dump_fail_and_never_lie(pair: Pair, tmp_path: Path) -> None:
    """It waits for the snapshot's lock, and pg_dump waits behind it: only a new snapshot helps."""
    with busy_database(pair.production) as name:
        pair.production.execute("INSERT INTO log (line) SELECT 'x' FROM generate_series(1, 100)", name)
        thread = threading.Thread(target=pair.production.execute, args=("TRUNCATE log", name))

        def truncate() -> None:
            thread.start()
            with pair.production.connect(name) as watcher:
                while not watcher.execute("SELECT FROM pg_locks WHERE NOT granted AND relation = 'log'::regclass").fetchall():
                    assert thread.is_alive()

        with pytest.raises(DumpFailed, match="statement timeout") as failed:
            roundtrip.dump(pair.production, name, tmp_path / "dump", meanwhile=truncate, lock_wait_seconds=2)
        thread.join()
        assert PgDump.was_outrun(str(failed.value))
        assert (tmp_path / "dump").stat().st_size == 0
        taken = roundtrip.dump(pair.production, name, tmp_path / "dump")
        assert {table.label: table.rows for table in taken.evidence.tables}["public.log"] == 0
        with restored(pair.target, taken):
            assert not alarms(compared(pair.target, taken.evidence))
