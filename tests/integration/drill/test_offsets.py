# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive that came through a pipe gets the table of contents that pg_dump writes into a file, and nothing else in it changes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.offsets import Offsets
from support.clusters import Server

# Rows that look like what is looked for, as far as rows can; tables without any, so many that the table of contents is a long one;
# one of more than a piece of the file.
CONTENTS = r"""
    DO $$ BEGIN FOR n IN 1..99 LOOP EXECUTE format('CREATE TABLE empty_%s (id int)', n); END LOOP; END $$;
    CREATE TABLE plain (id int PRIMARY KEY, t text);
    INSERT INTO plain SELECT n, repeat(md5(n::text), 30) FROM generate_series(1, 3000) AS n;
    CREATE TABLE marks (t text);
    INSERT INTO marks VALUES (E'\\.'), (''), (''), (E'\x01\x01\x01'), (repeat(E'\x01', 70000)), (NULL);
    CREATE TABLE bytes (b bytea);
    INSERT INTO bytes VALUES (decode(repeat('0000000000010000', 5000), 'hex'));
    CREATE TABLE "last one" (id serial);
    INSERT INTO "last one" SELECT FROM generate_series(1, 10);
"""
TABLES = 103
LARGE_OBJECTS = "SELECT lo_from_bytea(0, decode(repeat('000000000001000000', 9000), 'hex')) FROM generate_series(1, 3)"


@pytest.fixture(scope="module")
def filled(postgres: Server) -> Iterator[str]:
    """A database with these contents."""
    with postgres.database() as name:
        postgres.execute(CONTENTS, name)
        yield name


@pytest.fixture(scope="module")
def dumped(postgres: Server, filled: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """What pg_dump writes of it into a file, and what it writes into a pipe."""
    return archives(postgres, filled, tmp_path_factory.mktemp("dumped"))


@pytest.fixture
def piped(dumped: tuple[bytes, bytes], tmp_path: Path) -> Path:
    """The archive that came through a pipe."""
    path = tmp_path / "piped"
    path.write_bytes(dumped[1])
    return path


def enter_offsets(path: Path, piece_bytes: int = 1 << 20) -> int:
    """What a drill does with an archive that comes piece by piece, and then lies there."""
    offsets = Offsets()
    data = path.read_bytes()
    for begin in range(0, len(data), piece_bytes):
        offsets.feed(memoryview(data)[begin : begin + piece_bytes])
    descriptor = os.open(path, os.O_RDWR)
    try:
        return offsets.enter(descriptor)
    finally:
        os.close(descriptor)


def answer(server: Server, dbname: str, query: str) -> Any:
    with server.connect(dbname) as connection:
        return connection.execute(query).fetchall()


def program(server: Server, name: str) -> list[str]:
    return [str(server.bin_dir / name), "-h", str(server.socket_dir), "-p", str(server.port), "-U", "postgres"]


def archives(server: Server, dbname: str, directory: Path, *options: str) -> tuple[bytes, bytes]:
    command = [*program(server, "pg_dump"), f"--dbname={dbname}", "-Fc", "-Z0", *options]
    subprocess.run([*command, "-f", str(directory / "whole")], check=True)
    return (directory / "whole").read_bytes(), subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def without_moment(data: bytes) -> bytes:
    """An archive without the moment at which it was begun."""
    start = data.index(b"PGDMP") + 11 + (1 if data[6] >= 15 else 5)
    return data[:start] + data[start + 35 :]


@pytest.mark.parametrize("piece_bytes", [1 << 21, 100_003, 4096, 7])
def test_the_archive_becomes_the_one_that_pg_dump_writes_into_a_file(dumped: tuple[bytes, bytes], piped: Path, piece_bytes: int) -> None:
    whole, before = dumped
    assert enter_offsets(piped, piece_bytes) == TABLES
    assert piped.read_bytes() != before
    assert without_moment(piped.read_bytes()) == without_moment(whole)


def test_it_is_done_once(dumped: tuple[bytes, bytes], piped: Path) -> None:
    enter_offsets(piped)
    done = piped.read_bytes()
    assert enter_offsets(piped) == 0
    assert piped.read_bytes() == done
    piped.write_bytes(dumped[0])
    assert enter_offsets(piped) == 0
    assert piped.read_bytes() == dumped[0]


def test_what_large_objects_hold_is_not_taken_for_a_table(postgres: Server, tmp_path: Path) -> None:
    with postgres.database() as source, postgres.database() as restored:
        postgres.execute(CONTENTS, source)
        postgres.execute(LARGE_OBJECTS, source)
        archive = tmp_path / "archive"
        archive.write_bytes(archives(postgres, source, tmp_path)[1])
        assert enter_offsets(archive) == TABLES
        subprocess.run([*program(postgres, "pg_restore"), "--exit-on-error", "--jobs=2", f"--dbname={restored}", str(archive)], check=True)
        for query in ("SELECT count(*), sum(length(t)) FROM plain", "SELECT count(*), sum(length(data)) FROM pg_largeobject"):
            assert answer(postgres, restored, query) == answer(postgres, source, query)


@pytest.mark.parametrize("options", [["-Z6"], ["--schema-only"]], ids=" ".join)
def test_what_is_compressed_or_holds_no_rows_is_left_alone(postgres: Server, filled: str, tmp_path: Path, options: list[str]) -> None:
    before = archives(postgres, filled, tmp_path, *options)[1]
    (tmp_path / "archive").write_bytes(before)
    assert enter_offsets(tmp_path / "archive") == 0
    assert (tmp_path / "archive").read_bytes() == before


@pytest.mark.parametrize("cut", [0, 4, 11, 30, 200, 2000])
def test_what_is_no_whole_archive_is_left_alone(piped: Path, cut: int) -> None:
    piped.write_bytes(piped.read_bytes()[:cut])
    assert enter_offsets(piped) == 0
    assert piped.stat().st_size == cut


def test_another_version_of_archives_is_left_alone(piped: Path) -> None:
    data = bytearray(piped.read_bytes())
    data[6] = 99
    piped.write_bytes(data)
    assert enter_offsets(piped) == 0
    assert piped.read_bytes() == data
