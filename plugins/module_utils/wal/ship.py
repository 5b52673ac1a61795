# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`lifeboat wal ship DIR`: what waits in a spool goes into the repositories, and leaves the spool only then.

A file is removed when every repository that is not optional has confirmed it, so a kill at any moment costs nothing but a
second look at a file that is stored already. What lies only in the spool is not archived off the host: it is counted, and
said (`spool_status.py`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    ArchiveError,
    ConfigurationError,
    LifeboatError,
    Locked,
    UnsafeName,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.private_directory import private_directory
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import WalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import HISTORY, PARTIAL, SEGMENT, WalName
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.push import Pusher
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.spool import MARKER
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.spool_status import SpoolStatus, spool_status_file

__all__ = ["Shipped", "Shipper", "Waiting", "alert_after", "ship", "the_only_one"]

PASS_FILES = 64
POLL_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
ALERT_AFTER_SECONDS = 300.0


@dataclass(frozen=True)
class Waiting:
    """What lies only in the spool: finished files that not every required repository has. `oldest_seconds` is since it was finished."""

    files: int = 0
    size_bytes: int = 0
    oldest: str = ""
    oldest_seconds: float = 0.0


@dataclass(frozen=True)
class Shipped:
    """One pass: names that are safe now, and of those that are not the reason. `more`: files that were not tried yet."""

    names: tuple[str, ...] = ()
    faults: Mapping[str, LifeboatError] = field(default_factory=dict)
    more: bool = False


class Shipper:
    """The files of one spool and where they go. With `keep_newest`, the newest segment stays: a receiver goes on after it."""

    def __init__(self, pusher: Pusher, spool: Path, keep_newest: bool = False) -> None:
        self._pusher = pusher
        self._spool = spool
        self._keep_newest = keep_newest
        self._safe: dict[str, tuple[int, ...]] = {}
        self._failed: set[str] = set()
        self.archived: set[str] = set()
        """Names that were shipped, for whoever wants to know; they may be taken out."""

    def ship(self) -> Shipped:
        """One pass over what is finished now (`PASS_FILES` at most), several at a time; a repository that is down ends it early."""
        names = [name for name in self.finished() if self._stamp(name.text) != self._safe.get(name.text, ())]
        # Not all at once: between two passes it is written down how it stands. What failed comes after what was not tried yet.
        names = sorted(names, key=lambda name: name.text in self._failed)
        names, rest = names[:PASS_FILES], names[PASS_FILES:]
        if not names:
            self._remove()
            return Shipped()
        faults: dict[str, LifeboatError] = {}
        shipped: list[str] = []
        stop = False

        def one(name: WalName) -> None:
            nonlocal stop
            if stop:
                return
            stamp = self._stamp(name.text)
            try:
                if not stat.S_ISREG(os.lstat(self._spool / name.text).st_mode):
                    raise ArchiveError(f"{name.text} is not a regular file", str(self._spool), "Look who can write there.")
                self._pusher.push(self._spool / name.text)
            except OSError as error:
                faults[name.text] = ArchiveError(f"{name.text} cannot be looked at: {error.strerror}", str(self._spool))
                return
            except LifeboatError as error:
                faults[name.text] = error
                # One bad file holds up nobody else; a store that is gone would make each of them wait.
                stop = not isinstance(error, ArchiveError)
                return
            self._safe[name.text] = stamp
            shipped.append(name.text)
            self.archived.add(name.text)

        with ThreadPoolExecutor(max_workers=self._pusher.job.jobs) as pool:
            try:
                list(pool.map(one, names))
            except BaseException:
                stop = True
                raise
        self._failed = (self._failed | set(faults)) - set(shipped)
        self._remove()
        more = not stop and any(name.text not in self._failed for name in rest)
        return Shipped(tuple(sorted(shipped)), faults, more)

    def holds(self, name: str) -> bool:
        """Whether every required repository has a file of this name, whatever its content; raises `RepositoryError`."""
        return all(archive.find(name) for archive in self._pusher.required)

    def finished(self) -> list[WalName]:
        """Finished files in the spool, histories first, then in their order. What has another name is nobody's business here."""
        found = []
        try:
            entries = os.listdir(self._spool)
        except OSError as error:
            raise ConfigurationError(f"the spool cannot be read: {error.strerror}", str(self._spool), "Is it mounted?") from None
        for entry in entries:
            with contextlib.suppress(UnsafeName):
                name = WalName.parse(entry)
                if name.kind != PARTIAL:
                    found.append(name)
        return sorted(found, key=lambda name: (name.kind != HISTORY, name.text))

    def waiting(self) -> Waiting:
        """What lies only here."""
        count = size = 0
        oldest, since = "", 0.0
        for name in self.finished():
            if self._stamp(name.text) == self._safe.get(name.text, ()):
                continue
            with contextlib.suppress(OSError):
                status = os.stat(self._spool / name.text)
                count, size = count + 1, size + status.st_size
                if not oldest or status.st_mtime < since:
                    oldest, since = name.text, status.st_mtime
        return Waiting(count, size, oldest, max(0.0, time.time() - since) if oldest else 0.0)

    def _stamp(self, name: str) -> tuple[int, ...]:
        """Which file lies under the name: another one is shipped again, even if it was shipped before."""
        try:
            status = os.lstat(self._spool / name)
        except OSError:
            return (0,)
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _remove(self) -> None:
        """Take what is safe out of the spool; the names of what is gone are forgotten."""
        segments = [name.text for name in self.finished() if name.kind == SEGMENT]
        # By position and not by name: after a promotion the newest one is of the new timeline.
        newest = max(segments, key=lambda name: (name[8:], name[:8])) if segments and self._keep_newest else ""
        for name, stamp in list(self._safe.items()):
            if name == newest:
                continue
            if self._stamp(name) == stamp:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._spool / name)
            self._safe.pop(name, None)
        if self._keep_newest and newest in self._safe:
            self._remove_left_behind(newest)

    def _remove_left_behind(self, newest: str) -> None:
        """The unfinished segment of a timeline that was left: the newer timeline's segment of that number holds all of it."""
        for entry in os.listdir(self._spool):
            with contextlib.suppress(UnsafeName, FileNotFoundError):
                name = WalName.parse(entry)
                if name.kind == PARTIAL and entry[:8] < newest[:8] and entry[8:24] <= newest[8:24]:
                    os.unlink(self._spool / entry)


def ship(given: Mapping[str, Any], spool: Path, once: bool = False, say: Callable[[str], None] = lambda words: None) -> Shipped:
    """Empty a spool, again and again until told to stop, or once; the last pass is the answer.

    Raises `ConfigurationError` for options or a spool that cannot be used, `Locked` when another process ships it.
    """
    job = WalJob.from_options(given, ("spool",))
    inner = options.mapping(given, "spool", "job file", {})
    options.unknown_keys(inner, ("alert_after",), "spool")
    limit = alert_after(inner, "spool")
    with the_only_one(spool), Pusher(job) as pusher:
        shipper = Shipper(pusher, spool)
        private_directory(job.run_dir, "run", "run_dir")
        status = SpoolStatus(spool_status_file(job.run_dir, job.system), job.system, str(spool), limit, say)
        pause = POLL_SECONDS
        shipped: list[str] = []
        while True:
            answer = shipper.ship()
            status.passed(answer.names, answer.faults)
            status.write(shipper.waiting())
            shipped += answer.names
            # What failed is tried again beside something that went: a history goes only after a segment has said whose it is.
            if once and (answer.names or answer.more):
                continue
            if once:
                return Shipped(tuple(shipped), answer.faults)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS) if answer.faults else POLL_SECONDS
            time.sleep(pause)


def alert_after(given: Mapping[str, Any], where: str) -> float:
    """For how long a file may lie only in the spool before that is trouble, in seconds."""
    seconds: float = options.duration_seconds(given, "alert_after", where, ALERT_AFTER_SECONDS, minimum=1)
    return seconds


@contextlib.contextmanager
def the_only_one(spool: Path) -> Iterator[None]:
    """Hold the spool's marker, which is made when it is not there; raises `Locked`, `ConfigurationError`."""
    if not spool.is_absolute() or not spool.is_dir():
        raise ConfigurationError("the spool is not a directory", str(spool), "Give its absolute path; mount it first.")
    try:
        descriptor = os.open(spool / MARKER, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigurationError(f"the spool cannot be written: {error.strerror}", str(spool), "Run as its owner, or as root.") from None
    try:
        # The server's user must see it, whatever our umask is.
        if os.fstat(descriptor).st_uid == os.geteuid():
            os.fchmod(descriptor, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked("this spool is being shipped already", str(spool), "One process is enough: look for it with fuser.") from None
        yield
    finally:
        os.close(descriptor)
