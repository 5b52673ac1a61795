# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A spool through kills, stores that die after they wrote, and a disk that is full: every file is in the spool or archived, always."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import WalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.push import Pusher
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.ship import Shipper, ship, the_only_one
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.spool import MARKER, spool_command
from support.clusters import private_directory
from support.leaks import eventually
from support.logical import Identity, new_identity, posix
from support.s3proxy import Cut, Meanwhile, S3Proxy
from support.spools import SpoolingServer, archived, fill, spooled, wal_job
from support.store_fixtures import Bucket

CLI = "ansible_collections.lifeboat.postgres.plugins.module_utils.cli"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture(scope="module")
def server() -> Iterator[SpoolingServer]:
    with SpoolingServer(18, segment_megabytes=1) as running, the_only_one(running.spool):
        yield running


@pytest.fixture(scope="module")
def filled(server: SpoolingServer) -> tuple[Path, list[str]]:
    names = fill(server, 6)
    spooled(server, names)
    return server.spool, names


@pytest.fixture
def segments(filled: tuple[Path, list[str]]) -> tuple[Path, list[str]]:
    """A spool of the test's own, and the names in it."""
    spool = private_directory("lb-own")
    for name in filled[1]:
        shutil.copy2(filled[0] / name, spool)
    return spool, filled[1]


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return new_identity(tmp_path / "identity")


def in_spool(spool: Path) -> set[str]:
    return {name for name in os.listdir(spool) if name != MARKER}


@pytest.mark.parametrize("operation", ["ListObjectsV2", "PutObject"])
def test_a_shipper_killed_at_any_request_has_lost_nothing(
    segments: tuple[Path, list[str]], rclone_bucket: Bucket, identity: Identity, tmp_path: Path, operation: str, no_ambient_aws: None
) -> None:
    spool, names = segments
    direct = {"offsite": rclone_bucket.spec()}
    with S3Proxy(rclone_bucket.store.endpoint) as proxy:
        file = tmp_path / "wal.json"
        file.write_text(json.dumps(wal_job({"offsite": rclone_bucket.spec(endpoint=proxy.endpoint)}, identity, tmp_path / "run")))
        argv = [sys.executable, "-m", CLI, "wal", "ship", str(spool), "--once", "-c", str(file)]
        ends = []
        for _time in range(4):
            with subprocess.Popen(argv, env=ENVIRONMENT, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                # The store has taken the request by then, and the shipper does not come to know it.
                proxy.on(operation, Meanwhile(process.kill, after=True), times=1)
                ends.append(process.wait(120))
            assert in_spool(spool) | set(archived(direct["offsite"])) == set(names)
    assert ends.count(-signal.SIGKILL) >= 3, ends
    assert ship(wal_job(direct, identity, tmp_path / "run"), spool, once=True).faults == {}
    assert in_spool(spool) == set()
    assert archived(direct["offsite"]) == names, "each once, with one content"


def test_a_store_that_dies_after_the_write_and_before_the_answer_gets_nothing_twice(
    segments: tuple[Path, list[str]], rclone_bucket: Bucket, identity: Identity, tmp_path: Path, no_ambient_aws: None
) -> None:
    spool, names = segments
    with S3Proxy(rclone_bucket.store.endpoint) as proxy:
        proxy.on("PutObject", Cut(forward=True), times=4)
        job = wal_job({"offsite": rclone_bucket.spec(endpoint=proxy.endpoint)}, identity, tmp_path / "run")
        for _time in range(6):
            ship(job, spool, once=True)
            assert in_spool(spool) | set(archived(rclone_bucket.spec())) == set(names)
    assert in_spool(spool) == set()
    assert archived(rclone_bucket.spec()) == names


@pytest.mark.needs("program:unshare", "root")
def test_a_spool_whose_disk_is_full_blocks_and_goes_on_when_it_is_freed(
    segments: tuple[Path, list[str]], identity: Identity, tmp_path: Path
) -> None:
    """As the archiver does it: one file after the other, each tried again until it is taken."""
    wal, names = segments
    place = posix(tmp_path / "here")
    given = wal_job({"here": place}, identity, tmp_path / "run")
    (tmp_path / "spool").mkdir()
    program = f"""
import json, os, subprocess, sys
from pathlib import Path
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.ship import ship
spool, names = {str(tmp_path / "spool")!r}, {names!r}
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2500k,mode=700", "tmpfs", spool], check=True)
job = json.load(sys.stdin)
ship(job, Path(spool), once=True)  # leaves its mark
def archive(name):
    command = {spool_command(str(tmp_path / "spool"))!r}.replace("%p", name).replace("%f", name)
    return subprocess.run(["sh", "-c", command], cwd={str(wal)!r}, capture_output=True, text=True)
refused = 0
for name in names:
    done = archive(name)
    if done.returncode:
        assert done.returncode == 1 and "No space left" in done.stderr, done
        assert not Path(spool, name).exists() and not Path(spool, "." + name + ".tmp").exists()
        refused += 1
        shipped = ship(job, Path(spool), once=True)
        assert len(shipped.names) == 2 and not shipped.faults, shipped
        assert archive(name).returncode == 0
assert refused == 2, refused
assert not ship(job, Path(spool), once=True).faults
"""
    argv = ["unshare", "--mount", sys.executable, "-c", program]
    done = subprocess.run(argv, input=json.dumps(given), capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert archived(place) == names


def test_a_server_whose_spool_is_away_keeps_its_wal_and_loses_none(server: SpoolingServer, identity: Identity, tmp_path: Path) -> None:
    place: dict[str, Any] = {"here": posix(tmp_path / "here")}
    mark = server.spool / MARKER
    mark.rename(server.spool / "away")
    names = fill(server, 8)

    def failed() -> bool:
        with server.connect() as connection:
            row = connection.execute("SELECT failed_count > 0 FROM pg_stat_archiver").fetchone()
        return bool(row and row[0])

    eventually(failed, "the archiver told that nobody ships")
    assert not in_spool(server.spool) & set(names)
    (server.spool / "away").rename(mark)
    server.execute("SELECT pg_reload_conf()")
    spooled(server, names)
    with Pusher(WalJob.from_options(wal_job(place, identity, tmp_path / "run"))) as pusher:
        assert Shipper(pusher, server.spool).ship().faults == {}
    assert set(names) <= set(archived(place["here"]))
