# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL's programs: of the server's own major version or none, and called with what they know."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, MissingTool, RestoreError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import (
    SAFE_MINORS,
    Initdb,
    PgDump,
    PgRestore,
    PostgresServer,
    find_program,
)
from support import roundtrip
from support.clusters import Server


def _fake(directory: Path, name: str, version: str, help_text: str = "") -> Path:
    directory.mkdir(exist_ok=True)
    program = directory / name
    program.write_text(f'#!/bin/sh\n[ "$1" = --help ] && echo "{help_text}" || echo "{name} (PostgreSQL) {version}"\n')
    program.chmod(0o755)
    return program


def test_the_program_of_the_servers_major_version_is_found(postgres: Server) -> None:
    assert find_program("pg_dump", postgres.major, postgres.bin_dir) == postgres.bin_dir / "pg_dump"
    assert PgDump(postgres.major, postgres.bin_dir).version.startswith(f"{postgres.major}.")
    assert Initdb(postgres.major, str(postgres.bin_dir)).path.name == "initdb"
    assert PostgresServer(postgres.major, postgres.bin_dir).path.name == "postgres"


def test_another_major_version_is_refused_with_the_package_to_install(postgres: Server, tmp_path: Path) -> None:
    with pytest.raises(MissingTool, match=rf"no pg_dump of PostgreSQL 14.*pg_dump is {postgres.major}\.\d+.*postgresql-client-14"):
        find_program("pg_dump", 14, postgres.bin_dir)
    with pytest.raises(MissingTool, match=r"no initdb of PostgreSQL 14.*Install postgresql-14,"):
        find_program("initdb", 14, tmp_path)
    with pytest.raises(MissingTool, match="looked in"):
        find_program("pg_dump", postgres.major, tmp_path)


def test_the_distributions_place_comes_before_path(postgres15: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake(tmp_path, "pg_dump", "15.99")
    _fake(tmp_path, "pg_restore", "17.2 (Debian 17.2-1)")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("pg_dump", 15) == Path("/usr/lib/postgresql/15/bin/pg_dump")
    assert find_program("pg_restore", 17) == tmp_path / "pg_restore"


@pytest.mark.parametrize(
    ("version", "warned"),
    [("15.18", True), ("15.19", False), ("15.20 (Debian 15.20-0+deb12u1)", False), ("18.5", True), ("18.6", False), ("19beta2", False)],
)
def test_a_client_with_known_holes_is_warned_of(tmp_path: Path, version: str, warned: bool) -> None:
    _fake(tmp_path, "pg_dump", version)
    major = int(version[:2])
    warnings = PgDump(major, tmp_path).warnings
    assert bool(warnings) is warned
    assert all(f"{major}.{SAFE_MINORS[major]} or newer" in warning for warning in warnings)


def test_pg_dump_is_asked_for_what_it_knows(postgres: Server, tmp_path: Path) -> None:
    argv = PgDump(postgres.major, postgres.bin_dir).argv("dbname=x", snapshot_id="0-1-1", lock_wait_timeout_seconds=2.5)
    assert argv[1:7] == [
        "--dbname=dbname=x",
        "--no-password",
        "--format=custom",
        "--compress=0",
        "--snapshot=0-1-1",
        "--lock-wait-timeout=2500",
    ]
    assert ("--no-statistics" in argv) is (postgres.major >= 18)
    assert "--enable-row-security" not in argv
    _fake(tmp_path, "pg_dump", "18.6", "  --no-statistics-of-another-kind")
    assert "--no-statistics" not in PgDump(18, tmp_path).argv("", snapshot_id="")


def test_pg_restore_lists_what_an_archive_says_it_holds(postgres: Server, tmp_path: Path) -> None:
    with postgres.database('a "listed"\nname') as name:
        postgres.execute('CREATE EXTENSION hstore; CREATE TABLE a (n int); CREATE TABLE "TABLE DATA x" (n int)', name)
        taken = roundtrip.dump(postgres, name, tmp_path / "-dump")
    program = PgRestore(postgres.major, postgres.bin_dir)
    listing = program.contents(taken.archive)
    assert listing.extensions == ("hstore",)
    assert (listing.count("TABLE DATA"), listing.count("TABLE")) == (2, 4)
    assert listing.header["Dumped by pg_dump version"].startswith(f"{postgres.major}.")
    (tmp_path / "cut").write_bytes(taken.archive.read_bytes()[:200])
    with pytest.raises(RestoreError, match="cannot read the archive"):
        program.contents(tmp_path / "cut")


def test_pg_restore_is_told_where_it_may_not_go(postgres: Server) -> None:
    program = PgRestore(postgres.major, postgres.bin_dir)
    argv = program.argv("dbname=x", "/w/-a", jobs=4, create=True)
    assert argv[1:] == [
        *("--dbname=dbname=x", "--no-password", "--jobs=4", "--no-tablespaces", "--no-subscriptions", "--create"),
        *(["--no-statistics"] if postgres.major >= 18 else []),
        *("--", "/w/-a"),
    ]
    known = subprocess.run([str(program.path), "--help"], capture_output=True, text=True, check=True).stdout
    assert all(option.partition("=")[0] in known for option in argv[1:-2])
    with pytest.raises(ConfigurationError, match="4 jobs"):
        program.argv("dbname=x", None, jobs=4)
