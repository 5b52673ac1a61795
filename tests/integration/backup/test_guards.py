# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dump that is not what it usually is, a snapshot held for too long, a server that goes away: named, and nothing is kept."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup import logical
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import BackupGuardError, LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.watch import Budget
from support.clusters import Server
from support.leaks import children, eventually
from support.logical import Identity, manifest_of, manifests_in, new_identity, options, posix

pytestmark = pytest.mark.needs("program:age", "program:zstd")
Given = Callable[..., dict[str, Any]]


def left() -> list[str]:
    """Programs of a backup that still run below this process."""
    names = []
    for child in children():
        with contextlib.suppress(OSError):
            names.append(Path(f"/proc/{child}/comm").read_text().strip())
    return [name for name in names if name in ("pg_dump", "zstd", "age")]


@pytest.fixture(autouse=True)
def one_place(places: dict[str, Any]) -> None:
    places.pop("offsite")


def backup(given: Given, **more: Any) -> dict[str, Any]:
    """A backup without globals: one database is what is judged here."""
    return run(given(globals="false", **more))


def test_an_emptied_database_is_not_kept_until_that_is_accepted(given: Given, places: dict[str, Any], postgres: Server, shop: str) -> None:
    results = [backup(given) for _night in range(3)]
    assert results[0]["judged"] == "not judged against earlier backups: 0 good ones, 3 are needed"
    postgres.execute("DELETE FROM orders", shop)
    with pytest.raises(BackupGuardError, match=r"median of the last 3 good backups is 9.* KiB.*accept_deviation: true"):
        backup(given)
    assert len(manifests_in(places["here"])) == 3
    kept = backup(given, accept_deviation=True)
    assert [note for note in kept["warnings"] if note.startswith("deviation accepted: it has")]
    after = backup(given)
    assert after["judged"].startswith("judged against the median of the last 1 good backup:")
    assert not [note for note in after["warnings"] if "deviation" in note]


def test_a_database_without_tables_is_not_kept_when_there_were_some(
    given: Given, places: dict[str, Any], postgres: Server, shop: str
) -> None:
    backup(given)
    postgres.execute('DROP TABLE orders CASCADE; DROP TABLE "odd ""name"" $(x)"', shop)
    with pytest.raises(BackupGuardError, match="it holds no table at all, and the last good backup"):
        backup(given)
    assert len(manifests_in(places["here"])) == 1
    warned = backup(given, limits={"zero_tables": "warn"})
    assert any("it holds no table at all" in note for note in warned["warnings"])


def test_an_honest_tiny_database_is_kept(postgres: Server, given: Given) -> None:
    with postgres.database() as empty:
        for _night in range(4):
            result = backup(given, login_db=empty)
        assert result["judged"].startswith("judged against the median of the last 3 good backups")


def test_a_limit_holds_from_the_first_backup_on(given: Given, places: dict[str, Any]) -> None:
    with pytest.raises(BackupGuardError, match=r"before compression, and min_bytes is 1\.0 GiB"):
        backup(given, limits={"min_bytes": "1GiB"})
    assert manifests_in(places["here"]) == []


@pytest.mark.parametrize("how", ["custom", "directory"])
def test_a_snapshot_is_not_held_longer_than_allowed(
    given: Given, places: dict[str, Any], postgres: Server, shop: str, tmp_path: Path, how: str
) -> None:
    """pg_dump waits here for a table that somebody else holds; the budget ends it before the lock's timeout does."""
    programs, go = tmp_path / "bin", tmp_path / "go"
    programs.mkdir()
    for name in ("pg_dump", "pg_restore"):
        program = programs / name
        wait = f"while [ ! -e '{go}' ]; do sleep 0.02; done" if name == "pg_dump" else ""
        program.write_text(
            f"#!/bin/sh\ncase $1 in --version | --help) exec '{postgres.bin_dir / name}' \"$@\" ;; esac\n{wait}\n"
            f"exec '{postgres.bin_dir / name}' \"$@\"\n"
        )
        program.chmod(0o755)
    said: list[str] = []
    job = given(globals="false", bin_dir=str(programs), snapshot_budget="3s", format=how, staging_dir=str(tmp_path / "staging"))
    with pytest.raises(BackupGuardError, match=r"the snapshot was held for [\d.]+ s, and snapshot_budget is 3 s") as caught:
        run(job, progress=said.append)
    assert "Nothing was committed" in str(caught.value)
    assert any("half of what the snapshot may cost" in line for line in said)
    assert manifests_in(places["here"]) == []
    assert not left()
    go.touch()
    kept = run({**job, "snapshot_budget": "10m"})
    assert 0 < kept["snapshot"]["seconds"] < 600
    assert kept["costs"]["snapshot_seconds"] == kept["snapshot"]["seconds"]


def test_transactions_that_begin_meanwhile_are_counted_and_limited(
    given: Given, places: dict[str, Any], postgres: Server, shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logical, "Budget", lambda seconds, transactions: Budget(seconds, transactions, look_seconds=0.05))
    real, caught = postgres.bin_dir / "pg_dump", []
    programs, go = tmp_path / "bin", tmp_path / "go"
    programs.mkdir()
    (programs / "pg_dump").write_text(
        f"#!/bin/sh\ncase $1 in --version | --help) exec '{real}' \"$@\" ;; esac\n"
        f"while [ ! -e '{go}' ]; do sleep 0.02; done\nexec '{real}' \"$@\"\n"
    )
    (programs / "pg_dump").chmod(0o755)
    said: list[str] = []

    def attempt() -> None:
        try:
            run(given(globals="false", bin_dir=str(programs), xmin_age_limit=20, format="custom"), progress=said.append)
        except LifeboatError as error:
            caught.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    eventually(lambda: any("snapshot of" in line for line in said), "the snapshot is held")
    for _transaction in range(30):
        postgres.execute("SELECT pg_current_xact_id()", shop)
    thread.join(120)
    assert len(caught) == 1
    assert isinstance(caught[0], BackupGuardError)
    assert "transactions began while the snapshot was held, and xmin_age_limit is 20" in str(caught[0])
    assert manifests_in(places["here"]) == []


def test_digests_are_part_of_a_backup(given: Given, places: dict[str, Any], shop: str) -> None:
    result = backup(given, digests={"tables": ["all"], "rotate_days": 1})
    assert result["evidence"]["digests"] == "2 of 2 tables digested"
    manifest = manifest_of(places["here"], result["backup_id"], shop)
    assert set(manifest.costs) == {"snapshot_seconds", "evidence_seconds", "digest_seconds"}
    assert manifest.costs["digest_seconds"] > 0


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of its own, to be stopped, with 120 MB: zstd takes in as much as 64 MB before it lets pg_dump wait for level 15."""
    with Server(15) as server:
        server.execute(
            "CREATE TABLE big AS SELECT n, string_agg(md5((n * 1000 + m)::text), '') AS t"
            " FROM generate_series(1, 16000) n, generate_series(1, 240) m GROUP BY n"
        )
        yield server


GONE = {
    "stopped midway, fast": "SIGINT",
    "stopped midway, immediate": "SIGQUIT",
    "crashed midway": "SIGKILL",
    "its dump's session terminated": "pg_dump",
    "its snapshot's session terminated": "snapshot",
}


@pytest.mark.needs("postgresql:15")
@pytest.mark.parametrize("how", GONE)
def test_a_server_or_session_that_ends_midway_is_named_and_nothing_is_committed(slow: Server, tmp_path: Path, how: str) -> None:
    identity: Identity = new_identity(tmp_path / "identity.txt")
    places = {"here": posix(tmp_path / "here")}
    given = options(
        slow, "postgres", places, identity, tmp_path / "locks",
        compression_level=15, globals="false", format="custom", evidence_queries=[{"name": "slow", "query": "SELECT pg_sleep(600)"}],
    )  # fmt: skip
    caught: list[BaseException] = []

    def attempt() -> None:
        try:
            run(given)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    busy = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'lifeboat %%' AND query LIKE %s"
    with slow.connect() as connection:
        eventually(lambda: connection.execute(busy, ("COPY %",)).fetchone() is not None, "pg_dump copies a table")
        eventually(lambda: connection.execute(busy, ("FETCH %",)).fetchone() is not None, "evidence is being collected")
        if GONE[how] in ("pg_dump", "snapshot"):
            pattern = "COPY %" if GONE[how] == "pg_dump" else "FETCH %"
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'lifeboat %%' AND query LIKE %s",
                (pattern,),
            )
    if GONE[how].startswith("SIG"):
        assert slow.process is not None
        slow.process.send_signal(getattr(signal, GONE[how]))
        slow.process.wait(120)
    thread.join(120)
    if GONE[how].startswith("SIG"):
        slow.start()
    assert len(caught) == 1
    assert isinstance(caught[0], LifeboatError), caught[0]
    # Of a server that is gone, both sessions tell: the first one to notice is reported.
    words = {"pg_dump": "pg_dump ended", "snapshot": "evidence could not be collected"}.get(GONE[how], "(pg_dump ended|evidence could not)")
    assert re.search(rf"{words}.*(terminating connection|closed the connection)", str(caught[0])), caught[0]
    assert manifests_in(places["here"]) == []
    assert not [path for path in (tmp_path / "here").rglob("*") if path.is_file() and "shop/database" in str(path)]
    assert not left()
