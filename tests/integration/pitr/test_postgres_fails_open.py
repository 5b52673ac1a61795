# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What PostgreSQL itself does when a recovery goes wrong, on a real server, with its own tools (docs/postgres-notes.md).

These are the facts that a drill to a moment is built on. Each server here is recovered as a person would do it: unpack, a
restore_command that copies, `pg_ctl -w start`, and a look at its exit status.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from support.clusters import identity, private_directory
from support.leaks import eventually
from support.parts import require
from support.pitr import Production
from support.wal_damage import flipped


@dataclass
class Plain:
    """A base backup as a directory, the log as plain files, and where the orders lie: order n in `names[n]`."""

    production: Production
    base: Path
    wal: Path
    names: list[str]
    moments: list[str]


@dataclass
class Recovered:
    """A server that was started by pg_ctl: its exit status, and how it is."""

    directory: Path
    bin_dir: Path
    status: int

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def query(self, statement: str) -> object:
        with psycopg.connect(host=str(self.directory), dbname="postgres", user="postgres", autocommit=True) as conn:
            row = conn.execute(statement.encode()).fetchone()
            return None if row is None else row[0]

    def alive(self) -> bool:
        argv = [str(self.bin_dir / "pg_ctl"), "-D", str(self.directory / "data"), "status"]
        return subprocess.run(argv, capture_output=True, cwd="/", **identity()).returncode == 0

    def stop(self) -> None:
        argv = [str(self.bin_dir / "pg_ctl"), "-D", str(self.directory / "data"), "-m", "immediate", "-w", "stop"]
        subprocess.run(argv, capture_output=True, cwd="/", **identity())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    require("postgresql:15", "program:age", "program:zstd")
    shop = Production(15, tmp_path_factory.mktemp("keys"))
    try:
        shop.query("CREATE TABLE orders (id int PRIMARY KEY)")
        shop.archive()
        directory = private_directory("lb-plain")
        base, wal = directory / "base", directory / "wal"
        server = shop.server
        run("mkdir", str(wal))
        login = ["-h", str(server.socket_dir), "-p", str(server.port), "-U", "postgres"]
        run(str(server.bin_dir / "pg_basebackup"), *login, "-D", str(base), "-X", "none", "-c", "fast", "--no-sync")
        names, moments = [], []
        for number in range(3):
            shop.query(f"INSERT INTO orders VALUES ({number})")
            moments.append(shop.moment().isoformat())
            names.append(shop.archive())
        for name in shop.place.names():
            (wal / name).write_bytes(shop.place.opened(name, shop.identity))
        run("chmod", "-R", "go-rwx", str(base))
        for path in wal.iterdir():
            path.chmod(0o644)
        wal.chmod(0o755)
        yield Plain(shop, base, wal, names, moments)
    finally:
        shop.stop()


def run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, cwd="/", **identity())
    assert done.returncode == 0, done.stderr


@pytest.fixture
def recover(plain: Plain) -> Iterator[Callable[..., Recovered]]:
    """`recover(wal, **settings)`: unpack the base, and start it on this directory of log."""
    started: list[Recovered] = []

    def start(wal: Path, *, signal: str = "recovery.signal", restore_command: str = "", **settings: str) -> Recovered:
        directory = private_directory("lb-pit")
        run("cp", "-a", str(plain.base), str(directory / "data"))
        run("touch", str(directory / "data" / signal))
        bin_dir = plain.production.server.bin_dir
        given = {
            "restore_command": restore_command or f"cp {wal}/%f %p",
            "recovery_target_action": "promote",
            "max_connections": "133",
            "max_prepared_transactions": "7",
            "max_wal_senders": "14",
            "archive_mode": "off",
            "listen_addresses": "",
            "unix_socket_directories": str(directory),
            "port": "5432",
            "fsync": "off",
            **settings,
        }
        lines = "".join(f"{name} = '{value}'\n" for name, value in given.items())
        with open(directory / "data" / "postgresql.auto.conf", "a") as conf:
            conf.write(lines)
        argv = [str(bin_dir / "pg_ctl"), "-D", str(directory / "data"), "-l", str(directory / "log"), "-w", "-t", "180", "start"]
        done = subprocess.run(argv, capture_output=True, cwd="/", **identity())
        recovered = Recovered(directory, bin_dir, done.returncode)
        started.append(recovered)
        return recovered

    yield start
    for recovered in started:
        recovered.stop()
        shutil.rmtree(recovered.directory, ignore_errors=True)


def copy(plain: Plain) -> Path:
    wal = private_directory("lb-wal-copy")
    wal.chmod(0o755)
    for path in plain.wal.iterdir():
        shutil.copy2(path, wal)
    return wal


def missing(plain: Plain, wal: Path) -> str:
    (wal / plain.names[1]).unlink()
    return ""


def one_bit(plain: Plain, wal: Path) -> str:
    path = wal / plain.names[1]
    path.write_bytes(flipped(path.read_bytes()))
    return ""


def fails_with_1(plain: Plain, wal: Path) -> str:
    return f"test %f != {plain.names[1]} && cp {wal}/%f %p"


@pytest.mark.parametrize("damage", [missing, one_bit, fails_with_1])
def test_it_comes_up_with_less_data_and_pg_ctl_says_0(
    plain: Plain, recover: Callable[..., Recovered], damage: Callable[[Plain, Path], str]
) -> None:
    wal = copy(plain)
    found = recover(wal, restore_command=damage(plain, wal))
    assert found.status == 0
    eventually(lambda: found.query("SELECT NOT pg_is_in_recovery()") is True, "it promoted by itself")
    assert found.query("SELECT count(*) FROM orders") == 1  # of 3


def test_126_ends_it_instead(plain: Plain, recover: Callable[..., Recovered]) -> None:
    found = recover(plain.wal, restore_command=f"test %f != {plain.names[1]} || exit 126; cp {plain.wal}/%f %p", hot_standby="off")
    # What pg_ctl says is chance: it may have looked while the server was still recovering.
    eventually(lambda: not found.alive(), "it ended")
    assert "FATAL" in found.log
    assert "archive recovery complete" not in found.log


def test_126_ends_a_standby_as_well_and_1_does_not(plain: Plain, recover: Callable[..., Recovered]) -> None:
    command = f"test %f != {plain.names[1]} || exit {{}}; cp {plain.wal}/%f %p"
    ended = recover(plain.wal, signal="standby.signal", restore_command=command.format(126))
    eventually(lambda: not ended.alive(), "the standby ended")
    waits = recover(plain.wal, signal="standby.signal", restore_command=command.format(1))
    assert waits.alive()
    assert waits.query("SELECT pg_is_in_recovery()") is True


def test_a_target_time_before_the_end_of_the_base_comes_up_without_a_word(plain: Plain, recover: Callable[..., Recovered]) -> None:
    found = recover(plain.wal, recovery_target_time="2020-01-01 00:00:00+00")
    assert found.status == 0
    eventually(lambda: found.query("SELECT NOT pg_is_in_recovery()") is True, "it promoted by itself")
    assert found.query("SELECT count(*) FROM orders") == 0


def test_a_target_time_after_the_end_of_the_log_is_fatal_and_pg_ctl_still_says_0(plain: Plain, recover: Callable[..., Recovered]) -> None:
    # The last segment comes late and is not read ahead, so that pg_ctl sees a standby that answers before the end is met.
    go = private_directory("lb-go") / "go"
    late = f"test %f != {plain.names[2]} || until test -e {go}; do sleep 0.1; done"
    slowly = f"test -e {plain.wal}/%f || exit 1; {late}; cp {plain.wal}/%f %p"
    found = recover(plain.wal, restore_command=slowly, recovery_target_time="2099-01-01 00:00:00+00", recovery_prefetch="off")
    assert found.status == 0, found.log
    go.touch()
    eventually(lambda: not found.alive(), "it ended")
    assert "recovery ended before configured recovery target was reached" in found.log


def test_fewer_connections_than_production_had_abort_recovery(plain: Plain, recover: Callable[..., Recovered]) -> None:
    found = recover(plain.wal, max_connections="20")
    eventually(lambda: not found.alive(), "it ended")
    assert "max_connections = 20 is a lower setting than on the primary server, where its value was 133" in found.log


def test_a_server_that_keeps_productions_archive_command_writes_into_its_archive(plain: Plain, recover: Callable[..., Recovered]) -> None:
    archive = private_directory("lb-archive")
    before = set(os.listdir(plain.wal))
    found = recover(plain.wal, archive_mode="on", archive_command=f"cp %p {archive}/%f")
    eventually(lambda: "00000002.history" in os.listdir(archive), "it archives the timeline that it made up")
    found.query("SELECT pg_switch_wal()")
    eventually(lambda: any(name.startswith("00000002000") for name in os.listdir(archive)), "and its segments")
    assert set(os.listdir(plain.wal)) == before


def test_pg_verifybackup_does_not_look_at_settings_and_signals(plain: Plain) -> None:
    directory = private_directory("lb-verify") / "base"
    run("cp", "-a", str(plain.base), str(directory))
    with open(directory / "postgresql.auto.conf", "a") as conf:
        conf.write("archive_command = 'cp %p /of/production/%f'\n")
    run("touch", str(directory / "standby.signal"))
    run(str(plain.production.server.bin_dir / "pg_verifybackup"), "-n", str(directory))
