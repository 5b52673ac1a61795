# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One repository's end of the stream: a bounded queue, a thread, and a deadline for standing still.

The producer never waits longer than the deadline for one repository, whatever that repository does (a hung NFS mount
blocks in the kernel, a black hole in TCP): a feed that stands still is dropped and the others go on.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterable

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ObjectDamaged, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository, Upload
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.patience import (
    as_repository_error,
    impatient,
    stalled,
    within,
)

__all__ = ["Feed", "copy_object", "healthy"]

_PUBLISHED_BYTES_PER_SECOND = 32 * 1024 * 1024
"""Half of what the slowest store that was measured did when it completed a multipart upload."""
_QUEUE_CHUNKS = 8
"""Chunks are at most 1 MiB (pipeline.py): what one repository may lag behind, in memory."""


class Feed:
    """Writes a sequence of objects into one repository, in a thread of its own.

    `begin(key)`, `write(chunk)` and `end()` come from the producer and return at once while the queue has room;
    `settle()` waits until everything so far is confirmed. The first fault is kept in `fault`; after it every call is a
    no-op, so that the producer need not look after each chunk. `uploads` are the confirmed, unpublished objects.
    """

    def __init__(self, repository: Repository, stall_timeout_seconds: float) -> None:
        self.repository = repository
        self.fault: RepositoryError | None = None
        self.uploads: list[Upload] = []
        self._deadline = stall_timeout_seconds
        self._queue: queue.Queue[Callable[[], None]] = queue.Queue(_QUEUE_CHUNKS)
        self._current: Upload | None = None
        self._current_bytes = 0
        self._largest_bytes = 0
        self._progress = time.monotonic()
        self._idle = False
        self._thread = threading.Thread(target=self._work, name=f"feed {repository.name}", daemon=True)
        self._thread.start()

    def begin(self, key: str) -> None:
        def start() -> None:
            self._current = self.repository.start_upload(key)
            self._current_bytes = 0

        self._enqueue(start)

    def write(self, chunk: bytes) -> None:
        def send() -> None:
            self._open_upload().write(chunk)
            self._current_bytes += len(chunk)
            self._largest_bytes = max(self._largest_bytes, self._current_bytes)

        self._enqueue(send)

    def end(self) -> None:
        def confirm() -> None:
            upload = self._open_upload()
            upload.confirm()
            self.uploads.append(upload)
            self._current = None

        self._enqueue(confirm)

    def settle(self) -> None:
        """Wait until all that was asked for is confirmed, or the feed has failed or stands still: then `fault` says so."""
        done = threading.Event()
        self._enqueue(done.set)
        while self.fault is None and not done.wait(0.2):
            self._watch()

    def publish(self) -> None:
        """Make the confirmed objects visible, in order; a fault ends it."""
        # Some stores put an object's parts together only now, so a large one may take its time.
        deadline = self._deadline + self._largest_bytes / _PUBLISHED_BYTES_PER_SECOND
        while self.uploads and self.fault is None:
            upload = self.uploads[0]
            try:
                within(deadline, upload.publish, self.repository, f"publishing {upload.key}")
            except RepositoryError as error:
                self.fault = error
                break
            self.uploads.pop(0)

    def drop(self, fault: RepositoryError | None = None) -> None:
        """Give this repository up: nothing more is sent, what was sent is removed in the background."""
        if fault is not None and self.fault is None:
            self.fault = fault
        left = [*self.uploads, *([self._current] if self._current is not None else [])]
        self.uploads, self._current = [], None

        def clean() -> None:
            for upload in left:
                upload.abort()

        cleaner = threading.Thread(target=clean, name=f"abort {self.repository.name}", daemon=True)
        cleaner.start()
        cleaner.join(self._deadline)

    def close(self) -> None:
        """End the thread; it may be stuck in a dead repository, then it is left to end with the process."""
        patience = 1.0 if self.fault is not None else self._deadline  # without a fault it is only a busy machine that is slow
        try:
            self._queue.put(_stop, timeout=patience)
        except queue.Full:
            return
        self._thread.join(patience)

    def _open_upload(self) -> Upload:
        if self._current is None:
            raise RepositoryError("the upload was given up", f"repository {self.repository.name!r}")
        return self._current

    def _enqueue(self, action: Callable[[], None]) -> None:
        while self.fault is None:
            try:
                self._queue.put(action, timeout=0.5)
                return
            except queue.Full:
                self._watch()

    def _watch(self) -> None:
        if time.monotonic() - self._progress > self._deadline and not self._idle and self.fault is None:
            self.fault = stalled(self.repository, "taking bytes", self._deadline)

    def _work(self) -> None:
        while True:
            self._idle = True
            action = self._queue.get()
            self._progress = time.monotonic()
            self._idle = False
            if action is _stop:
                return
            if self.fault is None:
                try:
                    action()
                except BaseException as error:  # noqa: BLE001 - handed over to the producer's thread
                    self.fault = as_repository_error(error, self.repository, "writing")
            self._progress = time.monotonic()


def copy_object(
    source: Repository, target: Repository, key: str, sha256: str, stall_timeout_seconds: float, stop: threading.Event | None = None
) -> None:
    """Copy one published object, sealed as it is, when its bytes have this digest.

    Raises `ObjectDamaged` for another digest, `RepositoryError`, also soon after `stop` was set and for a source or a target
    that stands still; leaves nothing visible then.
    """
    digest = hashlib.sha256()
    feed = Feed(target, stall_timeout_seconds)
    try:
        feed.begin(key)
        with impatient(source, stall_timeout_seconds).open(key) as stream:
            for chunk in iter(lambda: stream.read(1024 * 1024), b""):
                digest.update(chunk)
                feed.write(chunk)
                if feed.fault is not None:
                    raise feed.fault
                if stop is not None and stop.is_set():
                    raise RepositoryError(f"the copy of {key} was given up", f"repository {target.name!r}")
        if digest.hexdigest() != sha256:
            raise ObjectDamaged(f"{key} came back with another digest than was written", f"repository {source.name!r}")
        feed.end()
        feed.settle()
        feed.publish()
        if feed.fault is not None:
            raise feed.fault
    finally:
        feed.drop()
        feed.close()


def healthy(feeds: Iterable[Feed]) -> list[Feed]:
    """The feeds without a fault."""
    return [feed for feed in feeds if feed.fault is None]


def _stop() -> None:
    """A marker in the queue: the end. Never called."""
