# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What PostgreSQL itself makes of the archive: it fills it, it stops before a conflict, and it recovers from it or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal import ahead, launchers
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import HISTORY, PARTIAL, WalName
from support.clusters import SETTINGS, Server, _run, private_directory
from support.leaks import eventually
from support.logical import Identity, new_identity
from support.ports import free_port
from support.wal import LIBRARY, ArchivingServer, Place, archive_place, job_options, write_job

ROWS = 40

only_18 = pytest.mark.parametrize("primary", [18], indirect=True, ids=["pg18"])


class Primary(ArchivingServer):
    """A server with 1-MB segments, a cold copy of its beginning, and then a table whose rows fill a dozen segments."""

    def __init__(self, major: int, place: Place, keys: Identity) -> None:
        super().__init__(major, {"here": place.spec}, keys, segment_mb=1, settings={"wal_level": "replica"})
        self.place, self.keys = place, keys
        self.copy = self.directory / "copy"
        self.execute("CREATE TABLE orders (id int, at timestamptz DEFAULT now(), words text)")
        self.wait_archived(self.switch())
        with self.connect() as connection:
            connection.execute("SELECT pg_backup_start('cold', true)")
            # What a base backup leaves out; it has no tablespace of its own.
            leave = ["--exclude=./pg_wal/*", "--exclude=./postmaster.*"]
            _run(["mkdir", "-m", "0700", str(self.copy)])
            pack = f"tar -C {self.data} -cf - {' '.join(leave)} . | tar -C {self.copy} -xf -"
            _run(["sh", "-c", pack])
            row = connection.execute("SELECT labelfile FROM pg_backup_stop(false)").fetchone()
        assert row is not None
        (self.copy / "backup_label").write_text(row[0])
        _run(["mkdir", "-p", str(self.copy / "pg_wal" / "archive_status")])
        with self.connect() as connection:
            for number in range(ROWS):
                words = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 8000))"
                connection.execute(f"INSERT INTO orders VALUES ({number}, now(), {words})")
        self.last = self.switch("all orders")
        self.wait_archived(self.last)


class Restored(Server):
    """A recovery of the primary's cold copy, by the launcher. `begin` starts it; `answers` waits until it is through."""

    def __init__(self, primary: Primary, repositories: Mapping[str, Any], *, standby: bool = False, **job: Any) -> None:
        self.major, self.bin_dir = primary.major, primary.bin_dir
        self.tcp, self.host, self.port = False, "127.0.0.1", free_port()
        self.user, self.password, self.reads_all = primary.user, primary.password, True
        self.process: subprocess.Popen[bytes] | None = None
        self.directory = private_directory("lb-re")
        self.data, self.socket_dir, self.log = self.directory / "data", self.directory / "s", self.directory / "log"
        _run(["mkdir", "-m", "0700", str(self.socket_dir)])
        _run(["cp", "-a", "--", str(primary.copy), str(self.data)])
        (self.data / ("standby.signal" if standby else "recovery.signal")).touch()
        home = private_directory("lb-job")
        self.job_file = write_job(
            home / "wal.json", job_options(repositories, primary.keys, home / "run", identity_file=str(primary.keys.file), **job)
        )
        argv = [sys.executable, "-m", launchers.__name__, str(home), "-c", str(self.job_file)]
        subprocess.run(argv, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": LIBRARY})
        self.settings = {
            **SETTINGS,
            "restore_command": f"{home / launchers.FETCH} %f %p",
            "wal_retrieve_retry_interval": "200ms",
            "archive_mode": "off",
        }

    def orders(self) -> int:
        with self.connect() as connection:
            row = connection.execute("SELECT count(*) FROM orders").fetchone()
        assert row is not None
        return int(row[0])

    def recovering(self) -> bool:
        with self.connect() as connection:
            return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)

    def brought(self) -> list[str]:
        """What lies ahead of the recovery."""
        with contextlib.suppress(OSError):
            return sorted(path.name for path in (self.data / "pg_wal").glob(f"{ahead.PREFIX}*/*") if len(path.name) == 24)
        return []

    def words(self) -> str:
        return self.log.read_text(errors="replace")


@pytest.fixture(scope="module", params=[15, 18], ids=["pg15", "pg18"])
def primary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Primary]:
    keys = new_identity(tmp_path_factory.mktemp("keys") / "identity.txt")
    with Primary(request.param, archive_place(), keys) as server:
        yield server


def test_everything_that_it_hands_over_is_there_and_is_what_it_wrote(primary: Primary) -> None:
    assert primary.archiver()["failed_count"] == 0
    compared = 0
    for name in primary.place.names():
        path = primary.wal_dir / name
        if path.exists() and (primary.wal_dir / "archive_status" / f"{name}.done").exists():
            assert primary.place.opened(name, primary.keys) == path.read_bytes()
            compared += 1
    assert compared > 5
    assert any(name.endswith(".backup") for name in primary.place.names())
    segments = [name for name in primary.place.names() if len(name) == 24]
    numbers = [WalName.parse(name).number(2**20) for name in segments]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "no gap"
    assert all(len(files) == 1 for files in primary.place.files().values())


def test_a_recovery_gets_all_of_it_and_leaves_nothing_of_what_was_brought(primary: Primary) -> None:
    restored = Restored(primary, {"here": primary.place.spec})
    with restored:
        restored.start()
        eventually(lambda: not restored.recovering(), "promoted")
        assert restored.orders() == ROWS
        eventually(lambda: not list((restored.data / "pg_wal").glob(f"{ahead.PREFIX}*")), "what was brought ahead is gone")


@only_18
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_recovery_that_meets_trouble_stops_and_does_not_promote(primary: Primary, damage: str) -> None:
    """PostgreSQL would have taken each of them for the end of the log, and called it a success."""
    place = archive_place()
    _run(["cp", "-a", "--", f"{primary.place.root}/.", str(place.root)])
    names = [name for name in place.names() if len(name) == 24]
    (victim,) = place.files()[names[-4]]
    if damage == "flipped":
        data = bytearray(victim.read_bytes())
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)
    elif damage == "cut":
        os.truncate(victim, victim.stat().st_size // 2)
    else:
        # Listed, and not to be had: as a store that lost it says.
        victim.unlink()
        victim.symlink_to("nowhere")
    restored = Restored(primary, {"here": place.spec})
    with restored:
        restored.start(wait=False)
        eventually(lambda: restored.process is not None and restored.process.poll() is not None, "it ended")
        assert f"{names[-4]} was not delivered" in restored.words()
        assert "could not restore file" in restored.words()
        assert "archive recovery complete" not in restored.words()
        assert not (restored.data / "pg_wal" / "00000002.history").exists()


@only_18
def test_a_recovery_is_not_ended_early_by_a_repository_that_is_away(primary: Primary) -> None:
    """Nobody can say that a history does not exist; who knows better leaves the repository out."""
    repositories = {"here": primary.place.spec, "offsite": {"type": "posix", "path": str(primary.place.root / "not mounted")}}
    with Restored(primary, repositories) as restored:
        restored.start(wait=False)
        eventually(lambda: restored.process is not None and restored.process.poll() is not None, "it ended")
        assert "leave it out of the job file" in restored.words()
        write_job(restored.job_file, {**json.loads(restored.job_file.read_text()), "repositories": {"here": primary.place.spec}})
        restored.start()
        eventually(lambda: not restored.recovering(), "promoted")
        assert restored.orders() == ROWS


@only_18
def test_a_standby_lives_through_a_store_that_is_away_and_goes_on_when_it_is_back(primary: Primary) -> None:
    away = primary.place.root.with_name(f"{primary.place.root.name}-away")
    restored = Restored(primary, {"here": primary.place.spec}, standby=True)
    primary.place.root.rename(away)
    try:
        with restored:
            restored.start(wait=False)
            eventually(lambda: restored.words().count("was not delivered") >= 2, "it asks again and again")
            assert restored.process is not None
            assert restored.process.poll() is None
            away.rename(primary.place.root)
            eventually(lambda: _answers(restored), "it is consistent")
            eventually(lambda: restored.orders() == ROWS, "it has caught up")
            assert restored.recovering()
    finally:
        if away.exists():
            away.rename(primary.place.root)


def test_a_server_put_back_without_a_new_timeline_is_stopped_by_the_archive(keys: Identity) -> None:
    """It writes segments of names that are there: with another content."""
    place = archive_place()
    with ArchivingServer(18, {"here": place.spec}, keys, segment_mb=1) as server:
        server.halt()
        _run(["cp", "-a", "--", str(server.data), str(server.directory / "earlier")])
        server.start()
        names = server.fill_segments(3)
        server.wait_archived(names[-1])
        before = {path: path.read_bytes() for files in place.files().values() for path in files}
        server.halt()
        _run(["rm", "-rf", str(server.data)])
        _run(["mv", str(server.directory / "earlier"), str(server.data)])
        server.start()
        again = server.fill_segments(3)
        assert again == names
        eventually(lambda: server.archiver()["failed_count"] >= 1, "the archiver fails")
        assert server.archiver()["last_failed_wal"] == names[0]
        assert "CONFLICT" in server.log.read_text()
        assert server.waiting()[0] == names[0]
        assert {path: path.read_bytes() for files in place.files().values() for path in files} == before


def test_a_promotion_goes_on_in_the_same_archive(keys: Identity) -> None:
    """The history, the partial segment, and the new timeline beside the old one."""
    place = archive_place()
    with ArchivingServer(18, {"here": place.spec}, keys, segment_mb=1) as server:
        server.wait_archived(server.fill_segments(2)[-1])
        server.execute("SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'fill', repeat('x', 100000))")
        server.halt()
        (server.data / "recovery.signal").touch()
        server.settings = {**server.settings, "restore_command": "false"}
        server.start()
        eventually(lambda: server.connect().execute("SELECT pg_is_in_recovery()").fetchone() == (False,), "promoted")
        last = server.fill_segments(2)[-1]
        server.wait_archived(last)
        kinds = {WalName.parse(name).kind for name in place.names()}
        assert {HISTORY, PARTIAL} <= kinds
        assert {name[:8] for name in place.names()} == {"00000001", "00000002"}
        assert server.archiver()["failed_count"] == 0


def _answers(server: Restored) -> bool:
    try:
        server.connect().close()
    except Exception:
        return False
    return True
