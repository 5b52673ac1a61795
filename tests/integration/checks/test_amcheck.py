# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real damage in the files of a table and of an index is found, and nothing of the search stays in the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.clusters import Server
from support.parts import require

from .conftest import Database


def extensions(database: Any) -> list[str]:
    with database.connect() as connection:
        return [row[0] for row in connection.execute("SELECT extname FROM pg_catalog.pg_extension ORDER BY 1").fetchall()]


TABLES = """
CREATE TABLE t (a int PRIMARY KEY, b text); CREATE INDEX by_b ON t (b);
CREATE INDEX by_words ON t USING gin (to_tsvector('simple', b)); CREATE INDEX by_hash ON t USING hash (b);
INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, 2000) n
"""


def test_sound_tables_and_indexes_pass_and_no_extension_stays(database: Any) -> None:
    database.execute(TABLES)
    for options in ({}, {"parent": True}, {"tables": ["t"], "heapallindexed": False}):
        answer = database.ask(amcheck=options)
        assert answer.verdict == "passed", answer
        assert "and 1 table are sound" in answer.found
        assert "amcheck knows nothing of" in answer.detail
    assert database.ask(amcheck={"heap": False}).found.endswith("and 0 tables are sound")
    assert extensions(database) == ["plpgsql"]


def test_an_extension_that_is_there_is_used_and_stays(database: Any) -> None:
    database.execute(TABLES, "CREATE SCHEMA tools; CREATE EXTENSION amcheck SCHEMA tools")
    assert database.ask(amcheck={}).verdict == "passed"
    assert extensions(database) == ["amcheck", "plpgsql"]


def test_an_index_that_lacks_a_row_fails(database: Any) -> None:
    """The function promised to be immutable, and was changed: the index has other values than the table."""
    database.execute(
        "CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2'",
        "CREATE TABLE t (a int); CREATE INDEX doubled ON t (twice(a)); INSERT INTO t SELECT generate_series(1, 100)",
    )
    assert database.ask(amcheck={}).verdict == "passed"
    database.execute("CREATE OR REPLACE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 3'")
    answer = database.ask(amcheck={})
    assert answer.verdict == "failed", answer
    assert "public.doubled" in answer.found
    assert database.ask(amcheck={"heapallindexed": False}).verdict == "passed"


@pytest.mark.parametrize("major", [15, 18])
def test_damage_on_the_disk_fails_and_is_named(major: int) -> None:
    require(f"postgresql:{major}")
    # Autovacuum would freeze the rows that are to be damaged, or write over the damage when the log is replayed.
    with Server(major, {"autovacuum": "off"}) as server:
        server.execute(TABLES)
        files = {}
        with server.connect() as connection:
            for name in ("t", "t_pkey"):
                [(path,)] = connection.execute("SELECT pg_relation_filepath(%s)", [name]).fetchall()
                files[name] = server.data / path
            connection.execute("CHECKPOINT")
        database = Database(server.login())
        assert database.ask(amcheck={}).verdict == "passed"
        server.halt()
        _scratch_row(files["t"])
        _scratch_index(files["t_pkey"])
        server.start()
        answer = database.ask(amcheck={})
        assert answer.verdict == "failed", answer
        assert "public.t:" in answer.found
        assert "public.t_pkey:" in answer.found


def _scratch_row(path: Path) -> None:
    """The first row of the second page was written by a transaction that is still to come."""
    with path.open("r+b") as file:
        file.seek(8192 + 24)
        offset = int.from_bytes(file.read(4), "little") & 0x7FFF
        file.seek(8192 + offset)
        file.write((0x7FFFFF00).to_bytes(4, "little"))


def _scratch_index(path: Path) -> None:
    """Other line pointers at the beginning of the second page: they point nowhere."""
    with path.open("r+b") as file:
        file.seek(8192 + 24)
        file.write(b"\xff\xff\x7f\x5a" * 4)


def test_a_server_without_the_extension_proves_nothing(database: Any) -> None:
    database.execute(TABLES, "CREATE ROLE nobody_special LOGIN")
    try:
        login = database._login.__class__(**{**vars(database._login), "user": "nobody_special"})
        answer = Database(login).ask(amcheck={})
        assert answer.verdict == "unverified"
        assert "amcheck" in answer.found
    finally:
        database.execute("DROP ROLE nobody_special")
