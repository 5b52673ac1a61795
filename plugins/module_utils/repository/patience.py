# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deadline for standing still, whatever stands still: a hung NFS mount blocks in the kernel, a black hole in TCP."""

from __future__ import annotations

import datetime as dt
import io
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, TypeVar, cast

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError, RepositoryError, RepositoryStalled
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import (
    Capabilities,
    Erased,
    Leftover,
    ObjectInfo,
    Repository,
    StoredVersion,
    Upload,
)

__all__ = ["as_repository_error", "impatient", "stalled", "within"]

Result = TypeVar("Result")
Entry = TypeVar("Entry")

_LISTED_AT_ONCE = 1000
"""Entries of a listing that share a deadline: what an S3 store gives with one answer."""


def within(seconds: float, function: Callable[[], Result], repository: Repository, what: str) -> Result:
    """The function's result, or `RepositoryStalled` when it takes longer; any fault of it comes back as `RepositoryError`.

    The thread of a call that never returns is left behind as a daemon: nothing in Python can end it.
    """
    outcome: list[Result] = []
    fault: list[BaseException] = []

    def call() -> None:
        try:
            outcome.append(function())
        except BaseException as error:  # noqa: BLE001 - handed over to the caller's thread
            fault.append(error)

    thread = threading.Thread(target=call, name=f"{repository.name}: {what}", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise stalled(repository, what, seconds)
    if fault:
        raise as_repository_error(fault[0], repository, what)
    return outcome[0]


def impatient(repository: Repository, seconds: float) -> Repository:
    """The same repository, whose reading raises `RepositoryStalled` when it makes no progress for so long.

    Listings, looks and reads are watched; writing has a deadline of its own (backup/feed.py).
    """
    return repository if isinstance(repository, _Impatient) else _Impatient(repository, seconds)


class _Impatient(Repository):
    def __init__(self, repository: Repository, seconds: float) -> None:
        self._of, self._seconds = repository, seconds
        self.name, self.type, self.max_object_bytes = repository.name, repository.type, repository.max_object_bytes

    def _within(self, function: Callable[[], Result], what: str) -> Result:
        return within(self._seconds, function, self._of, what)

    def start_upload(self, key: str) -> Upload:
        return self._of.start_upload(key)

    def open(self, key: str) -> BinaryIO:
        stream = self._within(lambda: self._of.open(key), f"opening {key}")
        return cast(BinaryIO, _ImpatientStream(stream, lambda size: self._within(lambda: stream.read(size), f"reading {key}")))

    def stat(self, key: str) -> ObjectInfo | None:
        return self._within(lambda: self._of.stat(key), f"looking at {key}")

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._watched(self._of.list(prefix))

    def _watched(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        while True:
            some = self._within(lambda: list(itertools.islice(entries, _LISTED_AT_ONCE)), "listing")
            if not some:
                return
            yield from some

    def delete(self, key: str) -> None:
        self._of.delete(key)

    def settle(self, key: str) -> None:
        self._within(lambda: self._of.settle(key), f"settling {key}")

    def everything(self, prefix: str) -> Iterator[StoredVersion]:
        return self._watched(self._of.everything(prefix))

    def erase(self, versions: Iterable[StoredVersion]) -> Erased:
        return self._of.erase(versions)

    def leftovers(self, prefix: str) -> Iterator[Leftover]:
        return self._watched(self._of.leftovers(prefix))

    def discard(self, leftover: Leftover) -> None:
        self._of.discard(leftover)

    def clock(self) -> dt.datetime | None:
        return self._within(self._of.clock, "asking for the time")

    def locked_until(self, key: str) -> dt.datetime | None:
        return self._within(lambda: self._of.locked_until(key), f"looking at {key}")

    def lengthen_lock(self, key: str, until: dt.datetime) -> None:
        self._of.lengthen_lock(key, until)

    def capabilities(self, probe_prefix: str) -> Capabilities:
        return self._of.capabilities(probe_prefix)

    def can_write(self, probe_prefix: str) -> bool:
        return self._of.can_write(probe_prefix)

    def unguarded(self, key: str) -> str:
        return self._within(lambda: self._of.unguarded(key), f"looking at {key}")

    def description(self) -> dict[str, str]:
        return self._of.description()

    def close(self) -> None:
        self._of.close()


class _ImpatientStream(io.RawIOBase):
    """A stream whose every `read` is watched. One that stood still is left to its thread: closing would wait for it."""

    def __init__(self, stream: BinaryIO, read: Callable[[int], bytes]) -> None:
        self._stream, self._read = stream, read
        self._stands_still = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            return self._read(size)
        except RepositoryStalled:
            self._stands_still = True
            raise

    def close(self) -> None:
        if not self.closed and not self._stands_still:
            self._stream.close()
        super().close()


def stalled(repository: Repository, what: str, seconds: float) -> RepositoryStalled:
    """The fault of a repository that stood still while it was doing this."""
    return RepositoryStalled(
        f"repository {repository.name!r} made no progress for {seconds:.0f} s while {what}",
        ", ".join(f"{key} {value}" for key, value in sorted(repository.description().items())),
        "Look at its network, disk or mount; stall_timeout sets the deadline.",
    )


def as_repository_error(error: BaseException, repository: Repository, what: str) -> RepositoryError:
    """Whatever a thread ended with, as a fault of its repository."""
    if isinstance(error, RepositoryError):
        return error
    if isinstance(error, LifeboatError):
        return RepositoryError(error.what, error.where, error.next_step)
    return RepositoryError(f"{what} failed: {type(error).__name__}: {error}", f"repository {repository.name!r}")
