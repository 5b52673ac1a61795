# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One WAL file into every repository: the one promise on which the server recycles its own copy.

`push` returns if and only if every repository that is not optional holds the file durably. What one of them has already
it keeps, so a repeated attempt sends the file only to those that still lack it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    ArchiveError,
    LifeboatError,
    RepositoryError,
    RepositoryStalled,
    WalConflict,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.archive import WalArchive
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.behind import Behind
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.catch_up import catch_up_one
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.identity import ClusterIdentity, identity_beside, identity_from
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import WalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.sealed import PlainWal, SealedWal, read_wal, seal

__all__ = ["OPTIONAL_GRACE_SECONDS", "PushResult", "Pusher", "push_file"]

OPTIONAL_GRACE_SECONDS = 2.0
"""How much longer than the slowest required repository an optional one may take before it is noted to be behind."""

CLOSING_SECONDS = 10.0
"""How long a pusher that is closed waits for what an optional repository is just being sent."""


@dataclass(frozen=True)
class PushResult:
    """`stored` maps a repository to whether it was sent the file now (False: it had it); `behind` maps an optional one
    that lacks it to the reason."""

    name: str
    sha256: str
    plain_bytes: int
    stored: Mapping[str, bool]
    behind: Mapping[str, str] = field(default_factory=dict)


def push_file(path: str | os.PathLike[str], job: WalJob) -> PushResult:
    """Archive one file; raises `ArchiveError`, `WalConflict`, `RepositoryError`, `SealError`, `ConfigurationError`."""
    with Pusher(job) as pusher:
        return pusher.push(path)


class Pusher:
    """The archives of a job, opened. Safe to use from several threads at once; close it, or use it as a context manager."""

    def __init__(self, job: WalJob) -> None:
        self.job = job
        self._sealer = job.sealing()
        # What is being sent waits for a disk or a network, and leaves the processors to the next ones.
        self._processors = threading.BoundedSemaphore(job.jobs)
        archives = [WalArchive(repository, job.system) for repository in job.open_repositories()]
        self.required = [archive for archive in archives if not job.is_optional(archive.repository.name)]
        self.optional = [archive for archive in archives if job.is_optional(archive.repository.name)]
        self.behind = Behind(job.run_dir, job.system)
        self._closing = threading.Event()
        self._catching_up: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def push(self, path: str | os.PathLike[str], after_reading: Callable[[], None] = lambda: None) -> PushResult:
        """Archive one file, as `push_file`. What `after_reading` raises keeps it from being sent."""
        with self._processors:
            plain = read_wal(path)
        after_reading()
        shared = _Shared(lambda: self._seal(plain))
        identity = self._identity_of(plain)
        sent = [_Sent(archive, plain, identity, shared) for archive in self.required]
        beside = [_Sent(archive, plain, identity, shared) for archive in self.optional if not self.behind.is_down(archive.repository.name)]
        for one in sent:
            one.wait(self.job.stall_timeout_seconds)
        behind = self._settle_optional(beside, plain)
        faults = {one.name: one.fault for one in sent if one.fault is not None}
        if faults:
            raise _together(plain.name.text, faults, [one.name for one in sent if one.fault is None])
        stored = {one.name: one.stored_now for one in (*sent, *beside) if one.name not in behind}
        return PushResult(plain.name.text, plain.sha256, plain.plain_bytes, stored, behind)

    def _seal(self, plain: PlainWal) -> SealedWal:
        with self._processors:
            return seal(plain, self._sealer, self.job.compression_level)

    def close(self) -> None:
        self._closing.set()
        for thread in self._catching_up.values():
            thread.join(CLOSING_SECONDS)
        for archive in (*self.required, *self.optional):
            archive.repository.close()

    def __enter__(self) -> Pusher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _identity_of(self, plain: PlainWal) -> ClusterIdentity | None:
        directory = self.job.server_dir
        if plain.header is not None:
            return identity_from(plain.header, directory)
        return identity_beside(plain.path, directory)

    def _settle_optional(self, sent: Sequence[_Sent], plain: PlainWal) -> dict[str, str]:
        """Give the optional ones a moment more; note those that lack the file."""
        behind = {}
        deadline = time.monotonic() + OPTIONAL_GRACE_SECONDS
        for archive in self.optional:
            name = archive.repository.name
            one = next((one for one in sent if one.name == name), None)
            if one is not None:
                one.wait(max(0.0, deadline - time.monotonic()))
                if one.fault is None:
                    self.behind.is_up(name)
                    self._catch_up(archive)
                    continue
                self.behind.down(name)
            reason = "it was down a moment ago" if one is None else str(one.fault)
            behind[name] = reason + self.behind.note(name, plain.name.text)
        return behind

    def _catch_up(self, archive: WalArchive) -> None:
        """It answers again: send it what it missed, beside everything else. A pusher that is closed sends one more file."""
        name = archive.repository.name
        with self._lock:
            running = self._catching_up.get(name)
            if not self.behind.names(name) or (running is not None and running.is_alive()):
                return
            send = partial(catch_up_one, archive, self.required, self.behind, stop=self._closing)
            self._catching_up[name] = threading.Thread(target=send, name=f"catching up {name}", daemon=True)
            self._catching_up[name].start()


class _Shared:
    """The sealed file, made once by whoever needs it first, and not at all when nobody does."""

    def __init__(self, make: Any) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._sealed: SealedWal | None = None
        self.busy = False
        self.ended = 0.0
        """When it was no longer busy, by the monotonic clock; set before `busy` is."""

    def get(self) -> SealedWal:
        with self._lock:
            if self._sealed is None:
                self.busy = True
                try:
                    self._sealed = self._make()
                finally:
                    self.ended = time.monotonic()
                    self.busy = False
            return self._sealed


class _Sent:
    """One file on its way to one archive, in a thread of its own: a store that hangs holds nobody else up."""

    def __init__(self, archive: WalArchive, plain: PlainWal, identity: ClusterIdentity | None, shared: _Shared) -> None:
        self.name = archive.repository.name
        self.stored_now = False
        self.fault: LifeboatError | None = None
        self._archive, self._plain, self._identity, self._shared = archive, plain, identity, shared
        self._progress = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"{self.name}: {plain.name.text}", daemon=True)
        self._thread.start()

    def wait(self, stall_timeout_seconds: float) -> None:
        """Until it has ended, or stands still for so long: then `fault` says so, and the thread is left to itself."""
        while self._thread.is_alive():
            # In this order: sealing is nobody's stall, nor is the moment after it in which no thread has gone on yet.
            busy = self._shared.busy
            patience = max(self._progress, self._shared.ended) + stall_timeout_seconds - time.monotonic()
            if patience <= 0 and not busy:
                self.fault = self.fault or RepositoryStalled(
                    f"repository {self.name!r} took nothing for {stall_timeout_seconds:g} seconds",
                    self._plain.name.text,
                    "Look at the store and at the way there.",
                )
                return
            self._thread.join(max(0.05, patience))

    def _run(self) -> None:
        try:
            if self._identity is not None:
                self._archive.claim(self._identity)
            elif self._archive.identity() is None:
                raise ArchiveError(
                    f"nothing says whose {self._plain.name.text} is: no segment lies beside it and the archive is empty",
                    str(self._plain.path),
                    "Push a segment first.",
                )
            self._tick()
            if not self._archive.holds(self._plain.name, self._plain.sha256):
                sealed = self._shared.get()
                self._tick()
                self.stored_now = self._archive.add(sealed, self._tick)
        except LifeboatError as error:
            self.fault = error
        except BaseException as error:  # noqa: BLE001 - a thread has nobody else to tell
            self.fault = RepositoryError(
                f"archiving {self._plain.name.text} failed: {type(error).__name__}: {clean_line(str(error))}", f"repository {self.name!r}"
            )

    def _tick(self) -> None:
        self._progress = time.monotonic()


def _together(name: str, faults: Mapping[str, LifeboatError], kept: Iterable[str]) -> LifeboatError:
    """One error of several: of the gravest class, with what every repository says."""
    gravest = next((fault for fault in faults.values() if isinstance(fault, WalConflict)), next(iter(faults.values())))
    result = {"name": name, "stored": sorted(kept), "failed": {repository: str(fault) for repository, fault in faults.items()}}
    if len(faults) == 1:
        gravest.result.update(result)
        return gravest
    others = "; ".join(f"{repository}: {fault.what}" for repository, fault in faults.items() if fault is not gravest)
    return type(gravest)(f"{gravest.what}; {others}", gravest.where, gravest.next_step, result)
