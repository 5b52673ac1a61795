# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The launcher, the front and the worker between a real server's archiver and an archive."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.launched import LaunchedServer, runs
from support.leaks import eventually
from support.logical import Identity
from support.parts import require
from support.store_fixtures import Bucket
from support.wal import Place, archive_place


@pytest.fixture
def server(place: Place, keys: Identity) -> Iterator[LaunchedServer]:
    """Its archiver calls the launcher."""
    require("postgresql:18")
    with LaunchedServer(18, {"here": place.spec}, keys, alert_after="1s") as running:
        yield running


@pytest.fixture
def by_hand(place: Place, keys: Identity) -> Iterator[LaunchedServer]:
    """The test calls the launcher."""
    require("postgresql:18")
    with LaunchedServer(18, {"here": place.spec}, keys, hand=True) as running:
        yield running


@pytest.mark.parametrize("major", [15, 18])
def test_a_backlog_arrives_whole_whatever_it_holds(major: int, place: Place, keys: Identity) -> None:
    require(f"postgresql:{major}")
    with LaunchedServer(major, {"here": place.spec}, keys) as server:
        names = server.fill_segments(40, kilobytes=64)
        with server.connect() as connection:
            connection.execute("SELECT pg_backup_start('test', true)")
            connection.execute("SELECT * FROM pg_backup_stop(false)")
        server.wait_until_nothing_waits()
        server.assert_all_archived(names)
        assert any(name.endswith(".backup") for name in server.contents("here"))
        assert server.archiver()["failed_count"] == 0
        assert server.worker()


def test_what_the_worker_shipped_ahead_needs_no_program_and_no_worker(by_hand: LaunchedServer) -> None:
    names = by_hand.fill_segments(6)
    assert by_hand.push(names[0]).returncode == 0
    eventually(lambda: set(names) <= by_hand.acknowledged(), "all shipped ahead")
    pid = by_hand.worker()
    os.kill(pid, signal.SIGSTOP)
    try:
        for name in names:
            assert by_hand.push(name).returncode == 0
        assert by_hand.workers() == [pid], "it asked a worker that cannot answer, killed it and started another"
    finally:
        by_hand.kill_worker()
    by_hand.assert_all_archived(names)


def test_an_acknowledgement_counts_for_nothing_once_the_options_have_changed(by_hand: LaunchedServer, keys: Identity) -> None:
    names = by_hand.fill_segments(4)
    assert by_hand.push(names[0]).returncode == 0
    eventually(lambda: set(names) <= by_hand.acknowledged(), "all shipped ahead")
    first, second = by_hand.worker(), archive_place()
    by_hand.rewrite(repositories={**by_hand.options["repositories"], "second": second.spec})
    assert by_hand.push(names[1]).returncode == 0
    assert names[1] in second.names()
    eventually(lambda: not runs(first), "the worker that knew only the first repository has ended")
    for name in names:
        assert by_hand.push(name).returncode == 0
    by_hand.assert_all_archived(names, "second")


def test_a_job_file_that_cannot_be_read_archives_nothing_and_says_why(server: LaunchedServer) -> None:
    server.wait_archived(server.fill_segments(1)[0])
    good = server.job_file.read_text()
    server.job_file.write_text("{")
    names = server.fill_segments(2)
    eventually(lambda: server.archiver()["failed_count"] > 0, "the archiver counts a failure")
    eventually(lambda: "the job file is not JSON" in server.log.read_text(), "the server's log says why")
    assert set(names) <= set(server.waiting())
    server.job_file.write_text(good)
    names += server.fill_segments(1)
    server.wait_until_nothing_waits()
    server.assert_all_archived(names)


def test_a_job_file_that_is_gone_is_no_acknowledgement(by_hand: LaunchedServer) -> None:
    names = by_hand.fill_segments(2)
    assert by_hand.push(names[0]).returncode == 0
    by_hand.job_file.rename(by_hand.job_file.with_suffix(".gone"))
    assert by_hand.push(names[1]).returncode == 2


def test_many_fronts_at_once_have_one_worker(by_hand: LaunchedServer) -> None:
    names = by_hand.fill_segments(8)
    pushes = [by_hand.start_push(name) for name in names]
    assert [push.wait(300) for push in pushes] == [0] * len(names), [push.stderr.read() for push in pushes if push.stderr]
    for push in pushes:
        push.communicate()
    eventually(lambda: len(by_hand.workers()) == 1, "those that came too late have ended")
    by_hand.assert_all_archived(names)


def test_the_worker_holds_nothing_of_the_server(server: LaunchedServer) -> None:
    server.wait_archived(server.fill_segments(1)[0])
    pid = server.worker()

    def held() -> list[str]:
        found = []
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.append(str(link.readlink()))
        return [target for target in found if target.startswith((str(server.directory), "pipe:"))]

    # It looks into the server's files from time to time, and closes them; what it held would stay.
    eventually(lambda: not held(), "it holds nothing of the server")
    assert not str(Path(f"/proc/{pid}/cwd").readlink()).startswith(str(server.directory))
    assert os.getsid(pid) != os.getsid(server.postmaster)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_the_worker_ends_with_its_postmaster(server: LaunchedServer, end: signal.Signals) -> None:
    server.wait_archived(server.fill_segments(1)[0])
    pid = server.worker()
    os.kill(server.postmaster, end)
    eventually(lambda: not runs(pid), "the worker has ended")
    assert server.process is not None
    server.process.wait()
    server.start()
    names = server.fill_segments(1)
    server.wait_archived(names[0])
    assert server.worker() != pid
    eventually(
        lambda: [entry.name for entry in server.run_dir.iterdir() if "-" in entry.name] == [server.life.name],
        "what earlier lives left is gone, too",
    )
    server.assert_all_archived(names)


def test_a_segment_that_is_made_ready_again_is_archived_again(by_hand: LaunchedServer, place: Place) -> None:
    (name,) = by_hand.fill_segments(1)
    status = by_hand.wal_dir / "archive_status"
    assert by_hand.push(name).returncode == 0
    (status / f"{name}.ready").rename(status / f"{name}.done")
    eventually(lambda: not by_hand.acknowledged(), "the acknowledgement is forgotten")
    for path in place.files()[name]:
        path.unlink()
    (status / f"{name}.done").rename(status / f"{name}.ready")
    assert by_hand.push(name).returncode == 0
    by_hand.assert_all_archived([name])


def test_what_waits_too_long_stands_in_the_status_file(server: LaunchedServer, place: Place) -> None:
    server.wait_archived(server.fill_segments(1)[0])
    away = place.root.with_name(place.root.name + "-away")
    place.root.rename(away)
    place.root.write_text("no directory")
    try:
        names = server.fill_segments(3)

        status: dict[str, Any] = {}

        def in_trouble() -> bool:
            with contextlib.suppress(FileNotFoundError):
                status.update(server.status())
                return "is not being archived" in status["trouble"] and status["backlog"]["segments"] == 3 and bool(status["failure"])
            return False

        eventually(in_trouble, "the status file says what is wrong")
        assert status["backlog"]["bytes"] == 3 * 1024 * 1024
        assert status["backlog"]["oldest"] == names[0]
        assert status["failure"]["name"] in names
    finally:
        place.root.unlink()
        away.rename(place.root)
    names += server.fill_segments(1)  # the archiver pauses for a minute after three failures, or until there is something new
    server.wait_until_nothing_waits()
    eventually(lambda: server.status()["trouble"] == "", "the trouble is over")
    server.assert_all_archived(names)


def test_a_run_directory_of_somebody_else_acknowledges_nothing(by_hand: LaunchedServer) -> None:
    (name,) = by_hand.fill_segments(1)
    assert by_hand.push(name).returncode == 0
    by_hand.kill_worker()
    forged = by_hand.life / "ok" / "0000000100000000000000FF"
    forged.touch()
    own = by_hand.run_dir.with_name("own")
    by_hand.run_dir.rename(own)
    by_hand.run_dir.symlink_to(own)
    assert by_hand.push(forged.name).returncode != 0
    by_hand.run_dir.unlink()
    own.rename(by_hand.run_dir)


def test_a_credential_that_was_corrected_needs_no_new_worker(
    rclone_bucket: Bucket, keys: Identity, tmp_path: Path, no_ambient_aws: None
) -> None:
    require("postgresql:18")
    spec = rclone_bucket.spec()
    good = Path(spec["credentials_file"]).read_text()
    credentials = tmp_path / "credentials"
    credentials.write_text(re.sub(r"(secret_access_key\s*=\s*)\S+", r"\1wrong", good))
    credentials.chmod(0o600)
    with LaunchedServer(18, {"here": {**spec, "credentials_file": str(credentials)}}, keys, hand=True) as server:
        names = server.fill_segments(2)
        refused = server.push(names[0])
        assert 0 < refused.returncode <= 125, refused.stderr
        worker = server.worker()
        credentials.write_text(good)
        assert [server.push(name).returncode for name in names] == [0, 0]
        assert server.worker() == worker
        server.assert_all_archived(names)
