# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a standby, and when the log does not come: nothing is committed, and the cause is named."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, DatabaseError
from support.bases import Production, base_manifests, base_of, base_options, produced, restored, started
from support.clusters import Server
from support.leaks import eventually, leaves_nothing
from support.logical import new_identity, posix
from support.standbys import Standby


def test_a_standby_is_backed_up_and_its_log_comes_from_the_primary(production: Production, tmp_path: Path) -> None:
    with Standby(production.server, {"archive_mode": "off"}) as standby:
        given = base_options(standby, {"here": production.spec}, production.keys, tmp_path)
        production.server.execute("CREATE TABLE seen AS SELECT 1 AS id")
        production.server.execute("CHECKPOINT")
        standby.catch_up()
        # A standby cannot leave a segment: the primary does, as it does by itself under load or with archive_timeout.
        stop = threading.Event()

        def busy() -> None:
            while not stop.wait(0.2):
                if not production.server.waiting():  # else a busy machine's archiver would never be done
                    production.server.switch()

        primary = threading.Thread(target=busy)
        primary.start()
        try:
            result = run(given)
        finally:
            stop.set()
            primary.join()
        assert "taken from a standby" in result["warnings"]
        assert {result["wal"]["first"], result["wal"]["last"]} <= set(production.place.names())
    production.server.execute("DROP TABLE seen")


def test_a_standby_that_is_promoted_midway_gives_no_backup(production18: Production, tmp_path: Path) -> None:
    place = posix(tmp_path / "place")
    with Standby(production18.server, {"archive_mode": "off"}) as standby:
        given = base_options(standby, {"here": place}, production18.keys, tmp_path, wal="included", max_rate="1MiB")

        def promote() -> None:
            with standby.connect() as session:
                streams = "SELECT count(*) FROM pg_stat_progress_basebackup WHERE phase = 'streaming database files'"
                eventually(lambda: session.execute(streams).fetchone() == (1,), "the backup has begun")
                session.execute("SELECT pg_promote()")

        promotion = threading.Thread(target=promote)
        promotion.start()
        try:
            with pytest.raises(DatabaseError, match="the standby was promoted while it was backed up"):
                run(given)
        finally:
            promotion.join()
    assert base_manifests(place) == []


def test_an_archiver_that_does_not_get_on_ends_the_run_by_name(tmp_path: Path) -> None:
    with produced(15, tmp_path) as production:
        production.server.archive_command("false")
        production.server.switch()
        eventually(lambda: production.server.archiver()["failed_count"] > 0, "the archiver has failed")
        began = time.monotonic()
        with leaves_nothing(), pytest.raises(ArchiveError, match="waited for its own archiver for more than 2 s") as caught:
            run(production.given(wal_timeout="2s"))
        assert time.monotonic() - began < 120
        assert "archive_command fails" in str(caught.value)
        assert base_manifests(production.spec) == []
        assert not [path for path in (production.place.root / "shop").rglob("*") if path.is_file() and "/base/" in str(path)]
        with production.server.connect() as session:
            eventually(lambda: session.execute("SELECT count(*) FROM pg_stat_replication").fetchone() == (0,), "the server has let go")


def test_an_archive_that_lacks_a_segment_ends_the_run_by_name(tmp_path: Path) -> None:
    """An archiver that says yes and stores nothing: the server is content, we look ourselves."""
    with produced(18, tmp_path) as production:
        production.server.archive_command("true")
        production.server.wait_archived(production.server.switch())
        with pytest.raises(ArchiveError, match="did not come into the archive within 5 s: 0000000100000000000000") as caught:
            run(production.given(wal_timeout="5s"))
        assert "is missing" in str(caught.value)
        assert base_manifests(production.spec) == []


def test_what_is_committed_restores_though_its_repository_was_the_second(production18: Production, tmp_path: Path) -> None:
    attic = posix(tmp_path / "attic")
    result = run(production18.given(repositories={"attic": {**attic, "optional": True}, "here": production18.spec}, wal="included"))
    base = restored(attic, [result["backup_id"]], production18.keys, production18.server)
    with started(base.data, production18.server, {}) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
    assert base_of(attic, result["backup_id"]) == base_of(production18.spec, result["backup_id"])


def test_a_server_that_lets_nobody_replicate_says_so_in_one_sentence(tmp_path: Path) -> None:
    place = posix(tmp_path / "place")
    with Server(15, tcp=True) as server:
        rules = server.data / "pg_hba.conf"
        rules.write_text("".join(line for line in rules.read_text().splitlines(keepends=True) if "replication" not in line))
        server.execute("SELECT pg_reload_conf()")
        given = base_options(server, {"here": place}, new_identity(tmp_path / "identity.txt"), tmp_path, wal="included")

        def refused() -> str:
            with pytest.raises(DatabaseError) as caught:
                run({**given, "max_rate": "32KiB"}, check_mode=True)
            return str(caught.value)

        assert "no pg_hba.conf entry that lets this login replicate" in refused()
    assert base_manifests(place) == []
