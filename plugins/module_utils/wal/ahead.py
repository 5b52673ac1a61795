# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Segments brought before a recovery asks for them, by one process beside it that ends with it.

They lie in a hidden directory below `pg_wal`, on the same file system, so that delivering one is a rename; its name holds
the postmaster's life (wal/postmaster.py), so that nothing of an earlier recovery is ever delivered. Only whole files whose
digest was right get a name there. What cannot be brought is left for the recovery to ask for, which is then told why.

    pg_wal/.lifeboat-<process id>-<start>/
        want       the segment that was delivered last without us: what follows it is brought
        lock       held by the one process that brings
        0000…      brought, and not asked for yet
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.private_directory import is_held
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import SEGMENT, WalName, segment_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.postmaster import Postmaster, Watch

__all__ = ["PREFIX", "ahead_directory", "bring_what_follows", "is_segment", "main", "take"]

PREFIX = ".lifeboat-"
LARGEST_BYTES = 256 * 1024 * 1024
"""What may lie there, whatever number was asked for."""
IDLE_SECONDS = 30.0
SIGNALS = ("recovery.signal", "standby.signal")

_SEGMENT_TARGET = "RECOVERYXLOG"
_WANT, _LOCK = "want", "lock"
_TURN_SECONDS = 0.01
_WAIT_SECONDS = 10.0


def ahead_directory(target: str | os.PathLike[str]) -> Path | None:
    """Where segments for this recovery would lie, or None where no server recovers in the working directory."""
    path = Path(target)
    if path.name != _SEGMENT_TARGET or not any(os.path.exists(signal) for signal in SIGNALS):
        return None
    postmaster = Postmaster.of(Path())
    return None if postmaster is None else path.parent / f"{PREFIX}{postmaster.life}"


def take(directory: Path, name: str, target: str | os.PathLike[str]) -> bool:
    """Deliver a segment that was brought, or is being brought at this moment; False when it has to be fetched."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        waits = time.monotonic() < deadline and _on_its_way(directory, name)
        # After that look, because it may have arrived meanwhile.
        with contextlib.suppress(OSError):
            os.rename(directory / name, target)
            return True
        if not waits:
            return False
        time.sleep(_TURN_SECONDS / 2)


def bring_what_follows(directory: Path, name: WalName, config: str | os.PathLike[str]) -> None:
    """Say what was delivered, and start the process that brings what follows, unless it is there. Raises nothing: a
    recovery goes on without it."""
    with contextlib.suppress(OSError, LifeboatError):
        directory.mkdir(mode=0o700, exist_ok=True)
        temporary = directory / f".{_WANT}.{os.getpid()}"
        temporary.write_text(name.text, encoding="ascii")
        os.rename(temporary, directory / _WANT)
        if is_held(directory / _LOCK):
            return
        root = Path(os.path.abspath(__file__)).parents[6]
        program = f"import sys; sys.path.insert(0, sys.argv.pop(1)); from {__name__} import main; sys.exit(main())"
        arguments = [str(root), str(directory), os.path.abspath(config)]
        # pylint: disable-next=ansible-bad-function  # no module object exists here
        subprocess.Popen(
            [sys.executable, "-I", "-c", program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            close_fds=True,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Bring segments until the recovery is over; the working directory is the server's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("config")
    given = parser.parse_args(argv)
    descriptor = os.open(given.directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0  # somebody else does it
    postmaster = Postmaster.of(Path())
    if postmaster is None or given.directory.name != f"{PREFIX}{postmaster.life}":
        return 0
    watch = Watch(postmaster)
    try:
        _remove_leftovers(given.directory)
        _Bringer(given.directory, given.config, watch).run()
    finally:
        # Also after trouble or idleness: whoever comes next begins with an empty directory.
        shutil.rmtree(given.directory, ignore_errors=True)
        watch.close()
    return 0


class _Bringer:
    def __init__(self, directory: Path, config: str, watch: Watch) -> None:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.fetch import Fetcher
        from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import WalJob, read_job_file

        self._directory = directory
        self._watch = watch
        self._fetcher = Fetcher(WalJob.from_options(read_job_file(config)))
        self._threads = concurrent.futures.ThreadPoolExecutor(self._fetcher.job.jobs)
        self._running: dict[str, concurrent.futures.Future[bool]] = {}
        self._want = ""
        self._next: list[str] = []

    def run(self) -> None:
        """Until the server has gone, its recovery is over, or nobody has taken anything for a while."""
        busy_at, before = time.monotonic(), set[str]()
        while self._watch.alive(_TURN_SECONDS) and any(os.path.exists(signal) for signal in SIGNALS):
            there = self._there()
            if self._look() or there != before:
                busy_at, before = time.monotonic(), there
            if time.monotonic() - busy_at > IDLE_SECONDS:
                break
            self._fill(there)
        self._threads.shutdown(cancel_futures=True)

    def _look(self) -> bool:
        """Whether something was delivered without us: then what follows it is wanted, and nothing before it."""
        try:
            want = (self._directory / _WANT).read_text(encoding="ascii")
        except OSError:
            return False
        if want == self._want:
            return False
        self._want = want
        name, segment_bytes = WalName.parse(want), self._segment_bytes()
        count = max(1, min(self._fetcher.job.prefetch, LARGEST_BYTES // segment_bytes))
        number = name.number(segment_bytes)
        # Enough names for a while; when they are used up the recovery asks for one itself, and there is a new beginning.
        self._next = [segment_name(name.timeline, number + step, segment_bytes) for step in range(1, 10_000)]
        self._count = count
        for other in self._there() - set(self._next):
            with contextlib.suppress(OSError):
                os.unlink(self._directory / other)
        return True

    def _fill(self, there: set[str]) -> None:
        for name, future in list(self._running.items()):
            if future.done():
                del self._running[name]
                behind = name[:8] == self._want[:8] and name <= self._want
                if not behind and (future.exception() is not None or not future.result()):
                    # The end of the archive, or trouble: the recovery finds out by itself which, and is told. What the recovery
                    # has behind it by now says nothing of what follows.
                    self._next = []
        while self._next and len(there) + len(self._running) < self._count and len(self._running) < self._fetcher.job.jobs:
            name = self._next.pop(0)
            if name not in there and name not in self._running:
                self._running[name] = self._threads.submit(self._fetcher.fetch, WalName.parse(name), self._directory / name)

    def _there(self) -> set[str]:
        with contextlib.suppress(OSError):
            return {name for name in os.listdir(self._directory) if len(name) == 24}
        return set()

    def _segment_bytes(self) -> int:
        for archive in self._fetcher.archives:
            identity = archive.identity()
            if identity is not None:
                return identity.segment_bytes
        raise LifeboatError("there is no archive")


def _on_its_way(directory: Path, name: str) -> bool:
    """Whether the process that brings lives and has begun with this one."""
    try:
        begun = any(entry.startswith(f".{name}.") for entry in os.listdir(directory))
    except OSError:
        return False
    return begun and is_held(directory / _LOCK)


def is_segment(name: str) -> bool:
    """Whether a name is that of a whole segment: nothing else is brought ahead."""
    try:
        return WalName.parse(name).kind == SEGMENT
    except LifeboatError:
        return False


def _remove_leftovers(ours: Path) -> None:
    """What a killed process of an earlier life left."""
    for other in ours.parent.glob(f"{PREFIX}*"):
        if other.name != ours.name:
            shutil.rmtree(other, ignore_errors=True)
