# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad days of a directory while WAL is archived: a power cut, a kill at every step, a full disk, a mount that hangs."""

from __future__ import annotations

import itertools
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError, RepositoryStalled
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import posix_upload
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.push import push_file
from support.kill_backups import PLACES
from support.leaks import eventually
from support.logical import Identity, posix
from support.wal import LIBRARY, Place, RealWal, job_options, write_job

CALLS = ("open", "write", "fsync", "link", "rename", "unlink", "mkdir", "fchmod")


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory where that can be, since a sweep syncs some thousand times."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as path:
        yield Path(path)


class Disk:
    """What would be left of a directory after a power cut: only what was synced, content by content and name by name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._sync(str(root))

    def install(self, patch: pytest.MonkeyPatch) -> None:
        real = os.fsync

        def fsync(descriptor: int) -> None:
            real(descriptor)
            self._sync(f"/proc/self/fd/{descriptor}")

        patch.setattr(os, "fsync", fsync)

    def survivors(self) -> dict[str, bytes]:
        """Every file that has a name and a content after the cut, by its path."""
        return dict(self._below(os.stat(self.root).st_ino, ""))

    def _sync(self, path: str) -> None:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            self._names[status.st_ino] = {entry.name: entry.inode() for entry in os.scandir(path)}
        else:
            self._contents[status.st_ino] = Path(path).read_bytes()

    def _below(self, directory: int, inside: str) -> Iterator[tuple[str, bytes]]:
        for name, inode in self._names.get(directory, {}).items():
            if inode in self._contents:
                yield inside + name, self._contents[inode]
            else:
                yield from self._below(inode, f"{inside}{name}/")


class Death(BaseException):
    """The process is gone: from here on it does nothing any more."""


def die_at(patch: pytest.MonkeyPatch, step: int, before: bool) -> Callable[[], int]:
    """Let the N-th call to the operating system be the last one, done or not done; returns a count of the calls until now."""
    lock, calls = threading.Lock(), itertools.count()
    seen = 0

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal seen
            if not threading.current_thread().name.startswith("here:"):
                return real(*arguments, **named)  # not the one that writes
            with lock:
                seen = next(calls)
            if seen > step or (seen == step and before):
                raise Death
            answer = real(*arguments, **named)
            if seen == step:
                raise Death
            return answer

        return call

    for name in CALLS:
        patch.setattr(os, name, dying(getattr(os, name)))
    return lambda: seen


@pytest.mark.parametrize("way", ["link", "renameat2"])
@pytest.mark.parametrize("before", [True, False], ids=["not done", "done"])
def test_killed_at_every_step_and_tried_again_it_survives_a_power_cut(
    wal18: RealWal, keys: Identity, memory: Path, before: bool, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt finds what the first one wrote and never synced, and acknowledges it."""
    monkeypatch.setattr(posix_upload, "place", PLACES[way])
    name, deaths = wal18.backup, 0
    for step in itertools.count():
        root = memory / str(step)
        job = wal18.job({"here": posix(root)}, keys, memory / "run")
        disk = Disk(root)
        with pytest.MonkeyPatch.context() as patch:
            disk.install(patch)
            with pytest.MonkeyPatch.context() as dying:
                seen = die_at(dying, step, before)
                try:
                    push_file(wal18.path(name), job)
                except LifeboatError:
                    deaths += 1
                else:
                    check_survivors(disk, name, keys, wal18, memory)
                    if seen() < step:
                        break
            assert len(Place(root).files().get(name, [])) <= 1
            push_file(wal18.path(name), job)
        check_survivors(disk, name, keys, wal18, memory)
        assert len(Place(root).files()[name]) == 1
    assert deaths > 20


def check_survivors(disk: Disk, name: str, keys: Identity, wal: RealWal, work: Path) -> None:
    """After a success and a power cut: the file, whole, and whose archive it is."""
    left = disk.survivors()
    assert "shop/wal/cluster.json" in left
    (sealed,) = (data for path, data in left.items() if path.rpartition("/")[2].startswith(f"{name}-"))
    packed = subprocess.run(["age", "-d", "-i", str(keys.file)], input=sealed, capture_output=True, check=True).stdout
    assert subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, check=True).stdout == wal.read(name)


@pytest.mark.needs("program:unshare")
def test_a_full_disk_is_no_success_leaves_nothing_and_is_forgotten_once_it_is_freed(wal18: RealWal, keys: Identity, tmp_path: Path) -> None:
    """One that holds so many files and not one more; between the attempts somebody makes room."""
    root = tmp_path / "disk"
    job = write_job(tmp_path / "wal.json", job_options({"here": posix(root)}, keys, tmp_path / "run"))
    program = f"""
import os, subprocess, sys
from ansible_collections.lifeboat.postgres.plugins.module_utils.cli import main
from support.logical import Identity
from support.wal import Place
from pathlib import Path
root, wal = {str(root)!r}, Path({str(wal18.data)!r})
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", root], check=True)
os.chdir(wal)
place, keys = Place(Path(root)), Identity(Path({str(keys.file)!r}), "")
ballast = Path(root, "ballast")
ballast.write_bytes(bytes(1_800_000))
large, small = {wal18.segments[-1]!r}, {wal18.segments[0]!r}
push = lambda name: main(["wal", "-c", {str(job)!r}, "push", "pg_wal/" + name])
assert push(small) == 0
for attempt in range(3):
    assert push(large) == 5
    assert place.names() == [small], place.names()
    assert place.remains() == []
ballast.unlink()
assert push(large) == 0
assert sorted(place.names()) == sorted([small, large])
assert place.opened(large, keys) == (wal / "pg_wal" / large).read_bytes()
"""
    apart = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    done = subprocess.run(
        [*apart, sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": LIBRARY}
    )
    assert done.returncode == 0, done.stderr
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mount_that_hangs_holds_nobody_up_for_longer_than_was_said(
    wal18: RealWal, keys: Identity, memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a dead NFS server does: the call does not come back. The other repository gets its copy all the same."""
    place = Place(memory / "here")  # where nobody waits for a busy disk for as long as for a dead one
    goes_on, real = threading.Event(), os.write

    def write(descriptor: int, data: Any) -> int:
        if threading.current_thread().name.startswith("dead:"):
            goes_on.wait(600)
        return real(descriptor, data)

    both = {"dead": posix(memory / "dead"), "here": posix(place.root)}
    job = wal18.job(both, keys, tmp_path / "run", stall_timeout="6s")
    monkeypatch.setattr(os, "write", write)
    began = time.monotonic()
    with pytest.raises(RepositoryStalled, match="'dead' took nothing for 6 seconds"):
        push_file(wal18.path(wal18.segments[0]), job)
    assert time.monotonic() - began < 120
    monkeypatch.undo()
    goes_on.set()
    assert place.opened(wal18.segments[0], keys) == wal18.read(wal18.segments[0])
    assert push_file(wal18.path(wal18.segments[0]), job).stored["here"] is False
    assert Place(memory / "dead").opened(wal18.segments[0], keys) == wal18.read(wal18.segments[0])
    hanging = [thread for thread in threading.enumerate() if thread.name.startswith("dead:")]
    eventually(lambda: not any(thread.is_alive() for thread in hanging), "what hung has ended")


def test_a_store_that_is_slow_is_not_one_that_stands_still(
    wal18: RealWal, keys: Identity, memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sealing takes its time, too, and is nobody's stall."""
    job = wal18.job({"here": posix(memory / "here")}, keys, tmp_path / "run", stall_timeout="5s")
    real = type(job.sealing()).seal

    def seal(self: Any, data: bytes) -> bytes:
        time.sleep(6)
        return real(self, data)

    monkeypatch.setattr(type(job.sealing()), "seal", seal)
    assert push_file(wal18.path(wal18.segments[0]), job).stored == {"here": True}


def test_where_nothing_can_be_noted_an_optional_repository_still_costs_no_push(
    wal18: RealWal, place: Place, keys: Identity, tmp_path: Path
) -> None:
    (tmp_path / "run").touch()
    both = {"attic": {"type": "posix", "path": str(tmp_path / "attic"), "optional": True}, "here": place.spec}
    result = push_file(wal18.path(wal18.segments[0]), wal18.job(both, keys, tmp_path / "run"))
    assert result.stored == {"here": True}
    assert "could not be noted" in result.behind["attic"]
