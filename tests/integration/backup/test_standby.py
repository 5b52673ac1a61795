# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup from a real streaming standby: refused unless it can hold the snapshot, and whole when it can."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg.sql
import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError, LifeboatError
from support.clusters import Server
from support.leaks import eventually
from support.logical import manifest_of, manifests_in, new_identity, options, posix
from support.standbys import PRIMARY, Standby

pytestmark = pytest.mark.needs("program:age", "program:zstd")

SHOP = """
CREATE TABLE orders (id serial PRIMARY KEY, note text); INSERT INTO orders (note) SELECT md5(n::text) FROM generate_series(1, 5000) n;
CREATE VIEW big AS SELECT count(*) AS n FROM orders; SELECT lo_from_bytea(0, 'large');
"""


@pytest.fixture(scope="module", params=[15, 18], ids=["pg15", "pg18"])
def standby(request: pytest.FixtureRequest) -> Iterator[Standby]:
    from support.parts import require

    require(f"postgresql:{request.param}")
    with Server(request.param, PRIMARY) as primary:
        primary.execute("CREATE DATABASE shop")
        primary.execute(SHOP, "shop")
        server = Standby(primary)
        with server:
            yield server


@pytest.fixture
def set_on(standby: Standby) -> Iterator[Callable[..., None]]:
    """Settings of the standby for one test."""

    def put(**settings: str) -> None:
        with standby.connect() as connection:
            for name, value in settings.items():
                (before,) = connection.execute(f"SHOW {name}").fetchone() or ("",)
                saved.setdefault(name, before)
                connection.execute(f"ALTER SYSTEM SET {name} = {psycopg.sql.quote(value)}")
            connection.execute("SELECT pg_reload_conf()")
            for name, value in settings.items():
                eventually(lambda: connection.execute(f"SHOW {name}").fetchone() == (value,), f"{name} is {value}")  # noqa: B023

    saved: dict[str, str] = {}
    yield put
    put(**saved)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Any]:
    return {"here": posix(tmp_path / "here")}


@pytest.fixture
def given(standby: Standby, places: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    standby.catch_up()
    return options(standby, "shop", places, new_identity(tmp_path / "identity.txt"), tmp_path / "locks", globals="false")


def test_a_standby_that_may_cancel_a_dump_is_refused_in_one_sentence(given: dict[str, Any], places: dict[str, Any]) -> None:
    with pytest.raises(DatabaseError, match=r"standby that may cancel a dump.*hot_standby_feedback = on.*log in to the primary"):
        run(given)
    assert manifests_in(places["here"]) == []


def test_feedback_without_a_primary_that_hears_it_is_not_enough(
    standby: Standby, given: dict[str, Any], set_on: Callable[..., None]
) -> None:
    set_on(hot_standby_feedback="on", primary_conninfo="")
    with standby.connect() as connection:
        eventually(lambda: connection.execute("SELECT count(pid) FROM pg_stat_wal_receiver").fetchone() == (0,), "it streams no more")
    with pytest.raises(DatabaseError, match="hot_standby_feedback is on, but it does not stream from the primary"):
        run(given)


@pytest.mark.parametrize(
    ("settings", "paused", "words"),
    [
        ({"hot_standby_feedback": "on"}, False, "hot_standby_feedback"),
        ({"max_standby_streaming_delay": "-1"}, False, "max_standby_streaming_delay = -1"),
        ({}, True, "paused replay"),
    ],
)
@pytest.mark.parametrize("how", ["custom", "directory"])
def test_a_standby_that_holds_the_snapshot_gives_a_whole_backup(
    standby: Standby,
    given: dict[str, Any],
    places: dict[str, Any],
    set_on: Callable[..., None],
    settings: dict[str, str],
    paused: bool,
    words: str,
    how: str,
    tmp_path: Path,
) -> None:
    with standby.connect() as connection:
        eventually(lambda: connection.execute("SELECT count(pid) FROM pg_stat_wal_receiver").fetchone() == (1,), "it streams")
    set_on(**settings)
    if paused:
        standby.execute("SELECT pg_wal_replay_pause()")
    try:
        result = run({**given, "format": how, "staging_dir": str(tmp_path / "staging"), "digests": {"tables": "all"}})
    finally:
        if paused:
            standby.execute("SELECT pg_wal_replay_resume()")
    assert any(f"taken from a standby, which holds its snapshot by {words}" in note for note in result["warnings"])
    assert result["evidence"]["uncounted"] == 0
    assert result["evidence"]["digests"] == "1 of 1 tables digested"
    assert not [note for note in result["warnings"] if note.startswith("evidence:")]
    manifest = manifest_of(places["here"], result["backup_id"], "shop")
    with standby.primary.connect() as connection:
        assert connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone() == (manifest.system_identifier,)


def test_a_dump_that_replay_cancels_is_named_as_that_and_not_kept(
    standby: Standby, given: dict[str, Any], places: dict[str, Any], set_on: Callable[..., None], tmp_path: Path
) -> None:
    """Feedback keeps rows, and no lock: a TRUNCATE on the primary ends the session that holds the snapshot."""
    set_on(hot_standby_feedback="on", max_standby_streaming_delay="100ms")
    real, go = standby.bin_dir / "pg_dump", tmp_path / "go"
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "pg_dump").write_text(
        f"#!/bin/sh\ncase $1 in --version | --help) exec '{real}' \"$@\" ;; esac\n"
        f"while [ ! -e '{go}' ]; do sleep 0.02; done\nexec '{real}' \"$@\"\n"
    )
    (programs / "pg_dump").chmod(0o755)
    said: list[str] = []
    caught: list[LifeboatError] = []

    def attempt() -> None:
        slow = [{"name": "slow", "query": "SELECT pg_sleep(600)"}]
        try:
            run({**given, "bin_dir": str(programs), "format": "custom", "evidence_queries": slow}, progress=said.append)
        except LifeboatError as error:
            caught.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    eventually(lambda: any("snapshot of" in line for line in said), "the snapshot is held")
    standby.primary.execute("TRUNCATE orders", "shop")
    thread.join(120)
    go.touch()
    assert len(caught) == 1
    assert "the standby's replay cancelled the backup" in str(caught[0])
    assert manifests_in(places["here"]) == []
    standby.primary.execute("INSERT INTO orders (note) SELECT md5(n::text) FROM generate_series(1, 5000) n", "shop")


def test_unlogged_tables_are_named(standby: Standby, given: dict[str, Any], set_on: Callable[..., None]) -> None:
    set_on(hot_standby_feedback="on")
    standby.primary.execute("CREATE UNLOGGED TABLE cache (n int)", "shop")
    standby.catch_up()
    try:
        with pytest.raises(DatabaseError, match=r"unlogged tables are not there \(public.cache\).*Log in to the primary"):
            run(given)
    finally:
        standby.primary.execute("DROP TABLE cache", "shop")
