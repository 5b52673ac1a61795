# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker, the front and the postmaster are killed at every step that can be seen from outside; an archive is down for long.

Judged at the end: each segment that the server made is in the archive once, with the content that it has in pg_wal.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Callable, Iterator

import pytest
from support.launched import LaunchedServer, own, runs
from support.leaks import eventually
from support.logical import Identity
from support.parts import require
from support.s3proxy import BlackHole, Meanwhile, Reply, S3Proxy
from support.store_fixtures import Bucket
from support.wal import Place

pytestmark = pytest.mark.usefixtures("no_ambient_aws")

STEPS = {
    "while it asks whose archive it is": ("GetObject", False),
    "while it looks whether the segment is there": ("ListObjectsV2", False),
    "before the store has the segment": ("PutObject", False),
    "when the store has it, and nobody was told": ("PutObject", True),
    "while it looks whether the store shows it": ("ListObjectsV2", True),
}


@pytest.fixture
def proxy(versity_bucket: Bucket) -> Iterator[S3Proxy]:
    with S3Proxy(versity_bucket.store.endpoint) as running:
        yield running


@pytest.fixture
def far(proxy: S3Proxy, versity_bucket: Bucket, keys: Identity, request: pytest.FixtureRequest) -> Iterator[LaunchedServer]:
    """Archives into a store behind the proxy, and waits for an answer only for a short time, unless a test says for how long."""
    require("postgresql:18")
    patience: str = getattr(request, "param", "3s")
    spec = versity_bucket.spec(endpoint=proxy.endpoint, connect_timeout="2s", read_timeout=patience)
    with LaunchedServer(18, {"here": spec}, keys, hand=False, stall_timeout="5m") as server:
        yield server


@pytest.fixture
def near(place: Place, keys: Identity) -> Iterator[LaunchedServer]:
    """Archives into a directory."""
    require("postgresql:18")
    with LaunchedServer(18, {"here": place.spec}, keys) as server:
        yield server


@pytest.fixture
def by_hand(place: Place, keys: Identity) -> Iterator[LaunchedServer]:
    """The test calls the launcher."""
    require("postgresql:18")
    with LaunchedServer(18, {"here": place.spec}, keys, hand=True) as server:
        yield server


@pytest.mark.parametrize("step", STEPS)
def test_killed(step: str, far: LaunchedServer, proxy: S3Proxy) -> None:
    operation, after = STEPS[step]
    if operation != "GetObject":
        # A worker that is at work already; whose archive it is it asks only once.
        far.wait_archived(far.fill_segments(1)[0])
    killed: list[int] = []

    def kill() -> None:
        killed.extend(far.workers())
        far.kill_worker()

    proxy.on(operation, Meanwhile(kill, after), times=1)
    names = far.fill_segments(5)
    far.wait_until_nothing_waits()
    assert killed, "the step was not reached"
    far.assert_all_archived(names)


def test_killed_again_and_again_while_a_backlog_is_drained(near: LaunchedServer) -> None:
    chance = random.Random(4)
    names: list[str] = []
    kills = 0
    for _round in range(12):
        names += near.fill_segments(10, kilobytes=64)
        eventually(lambda: bool(near.workers()), "a worker is there for them")
        # Wherever it is: starting, reading, compressing, writing, acknowledging.
        for pid in near.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                kills += 1
        left = len(near.waiting()) * chance.random()
        eventually(lambda left=left: len(near.waiting()) <= left, "some more archived")  # type: ignore[misc]
    names += near.fill_segments(1)
    near.wait_until_nothing_waits()
    assert kills >= 6
    near.assert_all_archived(names)
    assert near.archiver()["failed_count"] == 0, "a worker's end is no failure of the archiver's"


def test_killed_when_it_has_acknowledged_what_nobody_took_note_of(by_hand: LaunchedServer) -> None:
    names = by_hand.fill_segments(4)
    assert by_hand.push(names[0]).returncode == 0
    eventually(lambda: set(names) <= by_hand.acknowledged(), "all shipped ahead")
    by_hand.kill_worker()
    # From a new worker on, the launcher believes only the new one.
    assert [by_hand.push(name).returncode for name in names] == [0] * 4
    later = by_hand.fill_segments(1)
    assert by_hand.push(later[0]).returncode == 0
    by_hand.assert_all_archived(names + later)


def test_killed_while_nothing_happens(near: LaunchedServer) -> None:
    near.wait_archived(near.fill_segments(1)[0])
    near.kill_worker()
    names = near.fill_segments(3)
    near.wait_until_nothing_waits()
    near.assert_all_archived(names)


def test_killed_while_it_starts(by_hand: LaunchedServer) -> None:
    (name,) = by_hand.fill_segments(1)
    push = by_hand.start_push(name)
    eventually(lambda: bool(by_hand.workers()), "a worker starts")
    by_hand.kill_worker()
    output = push.communicate(timeout=300)
    assert push.returncode == 0, output
    by_hand.assert_all_archived([name])


def test_a_worker_that_hangs_is_replaced_within_seconds_and_the_segment_arrives(near: LaunchedServer) -> None:
    near.wait_archived(near.fill_segments(1)[0])
    pid = near.worker()
    os.kill(pid, signal.SIGSTOP)
    names = near.fill_segments(3)
    near.wait_until_nothing_waits()
    assert not runs(pid)
    assert "it has been silent for 15 seconds and was killed" in near.log.read_text()
    near.assert_all_archived(names)


@pytest.mark.parametrize("why", ["is not a directory of our own", "the run directory is a symlink"])
def test_where_no_worker_can_start_the_front_does_it(why: str, by_hand: LaunchedServer) -> None:
    if "symlink" in why:
        by_hand.run_dir.mkdir(mode=0o700)
        own(by_hand.run_dir)
        by_hand.life.mkdir(mode=0o700)
        own(by_hand.life)
        (by_hand.life / "ok").symlink_to(by_hand.wal_dir)
    else:
        by_hand.run_dir.write_text("no directory")
    (name,) = by_hand.fill_segments(1)
    done = by_hand.push(name)
    assert done.returncode == 0, done.stderr
    assert "the worker cannot be used" in done.stderr
    assert why in done.stderr
    eventually(lambda: not by_hand.workers(), "no worker is left")
    by_hand.assert_all_archived([name])


@pytest.mark.parametrize("far", ["5m"], indirect=True, ids=["a patient one"])  # it is still at it when the front is killed
def test_a_front_that_is_killed_is_a_failure_that_the_archiver_counts(far: LaunchedServer, proxy: S3Proxy) -> None:
    far.wait_archived(far.fill_segments(1)[0])
    proxy.on("PutObject", BlackHole(), times=1)
    names = far.fill_segments(1)
    eventually(lambda: bool(far.fronts()), "a front waits")
    for pid in far.fronts():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: far.archiver()["failed_count"] >= 1, "the archiver counts it")
    # The file was on its way all the while; the second front is told the same as the first would have been.
    proxy.clear()
    far.kill_worker()
    names += far.fill_segments(1)
    far.wait_until_nothing_waits()
    far.assert_all_archived(names)


@pytest.mark.parametrize("moment", ["while a segment is on its way", "between two segments"])
def test_a_killed_postmaster_starts_again_at_once(moment: str, far: LaunchedServer, proxy: S3Proxy) -> None:
    far.wait_archived(far.fill_segments(1)[0])
    before = far.worker()
    if moment.startswith("while"):
        proxy.on("PutObject", BlackHole(), times=2)
    names = far.fill_segments(3)
    if moment.startswith("while"):
        eventually(lambda: "PutObject" in proxy.operations()[-3:], "a segment is on its way")
    assert far.process is not None
    os.kill(far.postmaster, signal.SIGKILL)
    far.process.wait()
    far.start()
    proxy.clear()
    names += far.fill_segments(1)
    far.wait_until_nothing_waits()
    eventually(lambda: not runs(before), "the worker of the life before has ended")
    far.assert_all_archived(names)


@pytest.mark.parametrize("how", ["refused", "unreachable"])
def test_an_archive_that_is_down_for_two_hundred_segments_has_all_of_them_in_the_end(
    how: str, far: LaunchedServer, proxy: S3Proxy, full: bool
) -> None:
    how_many = 40 if how == "unreachable" and not full else 200
    names = far.fill_segments(2)
    far.wait_until_nothing_waits()
    down: Callable[[], object] = {"refused": lambda: Reply(503, "SlowDown"), "unreachable": lambda: Meanwhile(lambda: None, False)}[how]
    proxy.on("*", down())
    names += far.fill_segments(how_many, kilobytes=32)
    eventually(lambda: far.archiver()["failed_count"] >= 1, "the archiver has failed", 600)
    assert len(far.waiting()) == how_many
    assert not far.acknowledged() & set(names[2:])
    proxy.clear()
    names += far.fill_segments(1)
    far.wait_until_nothing_waits(900)
    far.assert_all_archived(names)
    assert len(far.contents("here")) == len(names)
