# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is brought before a recovery asks for it: bounded, whole or not at all, of this life only, and gone with it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal import ahead
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import WalName
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.postmaster import Postmaster, Watch
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.push import Pusher
from support.leaks import eventually
from support.logical import Identity
from support.ports import end_with_parent
from support.wal import Place, RealWal, job_options, run_wal, write_job


class Recovery:
    """A directory in which a server seems to recover: its process is one that sleeps."""

    def __init__(self, wal: RealWal, place: Place, keys: Identity, work: Path, **job: object) -> None:
        self.wal, self.data = wal, work / "data"
        (self.data / "pg_wal").mkdir(parents=True)
        self.signal = self.data / "recovery.signal"
        self.signal.touch()
        self.process = subprocess.Popen(["sleep", "86400"], preexec_fn=end_with_parent(signal.SIGKILL))
        (self.data / "postmaster.pid").write_text(f"{self.process.pid}\n{self.data}\n1700000000\n")
        self.ahead = self.data / "pg_wal" / f"{ahead.PREFIX}{self.process.pid}-1700000000"
        given = job_options({"here": place.spec}, keys, work / "run", identity_file=str(keys.file), **job)
        self.job_file = write_job(work / "wal.json", given)
        with Pusher(wal.job({"here": place.spec}, keys, work / "run")) as pusher:
            for name in wal.segments:
                pusher.push(wal.path(name))

    @property
    def target(self) -> Path:
        return self.data / "pg_wal" / "RECOVERYXLOG"

    def fetch(self, name: str) -> int:
        return run_wal(self.job_file, "fetch", name, "pg_wal/RECOVERYXLOG", cwd=self.data).returncode

    def brought(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(name for name in os.listdir(self.ahead) if len(name) == 24)
        return []

    def brings(self, names: list[str]) -> bool:
        return self.brought() == names

    def bringing(self) -> list[int]:
        """The processes that do it."""
        found = []
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                if ahead.__name__.encode() in b"".join(words) and any(word.endswith(self.ahead.name.encode()) for word in words):
                    found.append(int(process.name))
        return found

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def recovery(request: pytest.FixtureRequest, wal18: RealWal, place: Place, keys: Identity, tmp_path: Path) -> Iterator[Recovery]:
    """One that brings two; its parameter are more options of the job."""
    found = Recovery(wal18, place, keys, tmp_path, prefetch=2, **getattr(request, "param", {}))
    yield found
    found.end()
    eventually(lambda: not found.ahead.exists(), "nothing is left when the server is gone")


def test_what_follows_lies_there_when_it_is_asked_for_and_never_more_than_was_said(wal18: RealWal, recovery: Recovery) -> None:
    first = [name for name in wal18.segments if name.startswith("00000001")]
    leftover = recovery.ahead.with_name(f"{ahead.PREFIX}1-1600000000")
    leftover.mkdir()
    assert recovery.fetch(first[0]) == 0
    for number, name in enumerate(first[1:], 1):
        following = first[number : number + 2]
        eventually(partial(recovery.brings, following), f"{following} are there")
        assert (recovery.ahead / name).read_bytes() == wal18.read(name)
        # Not one more comes before one is taken.
        assert recovery.fetch(name) == 0
        assert recovery.target.read_bytes() == wal18.read(name)
    assert recovery.brought() == []
    assert not leftover.exists()
    assert recovery.fetch("000000010000000000000099") == 1


def test_only_one_brings(wal18: RealWal, recovery: Recovery) -> None:
    assert recovery.fetch(wal18.segments[0]) == 0
    eventually(lambda: len(recovery.brought()) == 2, "two are there")
    for name in (wal18.segments[3], wal18.segments[0]):
        assert recovery.fetch(name) == 0
        eventually(lambda: len(recovery.bringing()) == 1, "one brings, and who came second has seen it and ended")


@pytest.mark.parametrize("recovery", [{"jobs": 1}], indirect=True, ids=["one at a time"])
def test_a_damaged_one_is_not_brought_and_is_trouble_when_it_is_asked_for(wal18: RealWal, place: Place, recovery: Recovery) -> None:
    # One at a time: else the one behind it could be on its way before this one has turned out to be damaged.
    (path,) = place.files()[wal18.segments[2]]
    os.truncate(path, 1000)
    assert recovery.fetch(wal18.segments[0]) == 0
    eventually(lambda: recovery.brought() == [wal18.segments[1]], "the one before it is there")
    assert recovery.fetch(wal18.segments[1]) == 0
    assert recovery.fetch(wal18.segments[2]) == 126
    assert recovery.brought() == []
    assert recovery.fetch(wal18.segments[3]) == 0
    eventually(lambda: recovery.brought() == [wal18.segments[4]], "it goes on behind it")


def test_trouble_with_one_that_the_recovery_has_behind_it_ends_nothing(
    wal18: RealWal, recovery: Recovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the store answers for one so late that the recovery has fetched it, and the next one, by itself."""
    monkeypatch.chdir(recovery.data)
    recovery.ahead.mkdir()
    postmaster = Postmaster.of(Path())
    assert postmaster is not None
    answer, asked = threading.Event(), list[str]()

    def fetch(name: WalName, _target: Path) -> bool:
        asked.append(name.text)
        answer.wait(300)
        return False

    with contextlib.closing(Watch(postmaster)) as watch:
        bringer = ahead._Bringer(recovery.ahead, str(recovery.job_file), watch)
        monkeypatch.setattr(bringer._fetcher, "fetch", fetch)
        for name in (wal18.segments[0], wal18.segments[3]):
            (recovery.ahead / ahead._WANT).write_text(name)
            assert bringer._look()
            bringer._fill(set())
        answer.set()
        bringer._threads.shutdown(wait=True)
        assert sorted(asked) == list(wal18.segments[1:3])
        bringer._threads = concurrent.futures.ThreadPoolExecutor(1)
        bringer._fill(set())
        bringer._threads.shutdown(wait=True)
    assert bringer._next, "what follows the last one is still brought"
    shutil.rmtree(recovery.ahead)


def test_killed_it_is_replaced_and_nothing_half_brought_is_delivered(wal18: RealWal, recovery: Recovery) -> None:
    assert recovery.fetch(wal18.segments[0]) == 0
    eventually(lambda: len(recovery.brought()) == 2, "two are there")
    for pid in recovery.bringing():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not recovery.bringing(), "it is gone")
    # As if it had been killed in the middle of a third one.
    (recovery.ahead / f".{wal18.segments[3]}.0a1b2c3d").write_bytes(b"half of it")
    for name in wal18.segments[1:4]:
        assert recovery.fetch(name) == 0
        assert recovery.target.read_bytes() == wal18.read(name)
    eventually(lambda: len(recovery.bringing()) == 1, "one brings, and who came second has seen it and ended")


def test_it_ends_with_the_recovery(wal18: RealWal, recovery: Recovery) -> None:
    assert recovery.fetch(wal18.segments[0]) == 0
    eventually(lambda: len(recovery.brought()) == 2, "two are there")
    recovery.signal.unlink()
    eventually(lambda: not recovery.ahead.exists(), "all of it is gone")


def test_where_no_server_recovers_nothing_is_brought(wal18: RealWal, place: Place, keys: Identity, tmp_path: Path) -> None:
    recovery = Recovery(wal18, place, keys, tmp_path, prefetch=2)
    try:
        recovery.signal.unlink()
        assert recovery.fetch(wal18.segments[0]) == 0
        assert os.listdir(recovery.target.parent) == ["RECOVERYXLOG"]
    finally:
        recovery.end()


def test_it_can_be_left_out(wal18: RealWal, place: Place, keys: Identity, tmp_path: Path) -> None:
    recovery = Recovery(wal18, place, keys, tmp_path, prefetch=0)
    try:
        assert recovery.fetch(wal18.segments[0]) == 0
        assert os.listdir(recovery.target.parent) == ["RECOVERYXLOG"]
    finally:
        recovery.end()
