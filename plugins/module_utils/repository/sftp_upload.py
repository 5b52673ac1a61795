# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One file on its way to an SFTP server: hidden, sent many packets at once, synced or read back, then named without replacing another.

Every packet carries a checksum of SSH's that the server has checked (MAC), and is acknowledged when it was written. What
is left to prove is that the disk has it: `fsync@openssh.com` does. A server without it is made to show every byte again.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import secrets
import threading
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ObjectExists, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import ObjectInfo, Upload
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix_paths import DIRECTORY_MODE, FILE_MODE, split_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix_upload import TEMPORARY_PREFIX
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_faults import ConnectionLost, Refused
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_publish import SYNC, publish
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_reader import pieces
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_session import Session
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_wire import (
    CREATE,
    EXCLUSIVE,
    READ,
    WRITE,
    Kind,
    Status,
    attributes,
    number64,
    text,
)

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp import SftpRepository

__all__ = ["SftpUpload"]

_WINDOW_BYTES = 4 * 1024 * 1024
"""Sent and not yet acknowledged, in memory: what a line of 100 MB/s and 40 ms holds."""
_SYNC_EVERY_BYTES = 64 * 1024 * 1024
"""The server syncs as it goes, so that the sync at the end is short whatever the object's size."""
_SHOWN_AT_ONCE_BYTES = 16 * 1024 * 1024
"""A server that cannot sync shows so much again, before it gets more."""
_ABORT_WAIT_SECONDS = 10.0


class SftpUpload(Upload):
    """A hidden file beside its place. Holds a connection until `confirm`, so that many unpublished volumes need none."""

    def __init__(self, repository: SftpRepository, key: str) -> None:
        self.key = key
        self.way = ""
        self._repository = repository
        self._directories, name = split_key(key)
        given = repository.given
        self.path = given.path_of(*self._directories, name)
        self.temporary = b""
        self.size_bytes = 0
        self._waiting: deque[tuple[int, int]] = deque()  # requests and how many bytes each carries
        self._waiting_bytes = 0
        self._synced_bytes = 0
        self._shown_bytes = 0
        self._unshown = hashlib.sha256()
        self._confirmed = False
        self._published = False
        self._given_up = threading.Event()
        self._lock = threading.Lock()
        self._session: Session | None = None
        session, self._handle = self._begin()
        self._session = session
        self._syncs = SYNC in session.extensions

    def write(self, data: bytes) -> None:
        with self._lock:
            session = self._open_session()
            with self._faults("writing an object", session):
                rest = memoryview(data)
                while rest:
                    piece, rest = rest[: session.write_bytes], rest[session.write_bytes :]
                    head = text(self._handle) + number64(self.size_bytes)
                    self._expect(session.send_data(head, piece), len(piece))
                    self.size_bytes += len(piece)
                    if not self._syncs:
                        self._unshown.update(piece)
                    self._collect(session, _WINDOW_BYTES)
                if self._syncs and self.size_bytes - self._synced_bytes >= _SYNC_EVERY_BYTES:
                    self._synced_bytes = self.size_bytes
                    self._expect(session.extended(SYNC, text(self._handle)), 0)
                elif not self._syncs and self.size_bytes - self._shown_bytes >= _SHOWN_AT_ONCE_BYTES:
                    self._collect(session, 0)
                    self._look_again(session)
                session.push()

    def confirm(self) -> None:
        with self._lock:
            session = self._open_session()
            with self._faults("syncing an object", session):
                self._collect(session, 0)
                if self._syncs:
                    self._expect(session.extended(SYNC, text(self._handle)), 0)
                else:
                    self._look_again(session)
                facts = session.send(Kind.FSTAT, text(self._handle))
                session.forget(session.send(Kind.CLOSE, text(self._handle)))
                self._collect(session, 0)
                stored = session.attributes_of(facts)
            if stored is None or stored.size_bytes != self.size_bytes:
                found = "nothing" if stored is None else f"{stored.size_bytes}"
                raise self._differs(f"{self.size_bytes} bytes were written, {found} are there")
            self._session = None
            self._confirmed = True
        self._repository.connections.give_back(session, whole=True)

    def publish(self) -> ObjectInfo:
        if not self._confirmed:
            self.confirm()
        if self._given_up.is_set() or self._published:
            raise self._over()
        try:
            self.way = publish(self._repository, self.key, self.temporary, self.path, self.size_bytes)
        except ObjectExists:
            self.abort()
            raise
        self._published = True
        return ObjectInfo(self.key, self.size_bytes, dt.datetime.now(dt.timezone.utc))

    def abort(self) -> None:
        if self._published or self._given_up.is_set():
            return
        self._given_up.set()
        free = self._lock.acquire(blocking=False)
        session, self._session = self._session, None
        if not free and session is not None:
            # Another thread stands still in `write`: it gives the connection back, and ends.
            session.kill()

        def clean() -> None:
            with contextlib.suppress(RepositoryError, Refused):
                usable = session if free else None
                if usable is not None:
                    for number, _size in self._waiting:
                        usable.forget(number)
                    usable.forget(usable.send(Kind.CLOSE, text(self._handle)))
                    self._repository.connections.give_back(usable, whole=True)
                self._repository.remove_quietly(self.temporary, self._directories)

        # A server that does not answer may keep this thread; the caller waits a bounded time only.
        thread = threading.Thread(target=clean, name=f"abort {self.key}", daemon=True)
        thread.start()
        thread.join(_ABORT_WAIT_SECONDS)
        if free:
            self._lock.release()

    def _begin(self) -> tuple[Session, bytes]:
        """A connection, and the handle of the new hidden file; a connection that ended while nobody used it is made again."""
        with self._repository.faults("creating an object", self.key):
            return self._repository.connections.begin(self._create)

    def _create(self, session: Session) -> bytes:
        """The handle of the new hidden file; directories are made where they are missing."""
        self.temporary = self._repository.given.path_of(*self._directories, TEMPORARY_PREFIX + secrets.token_hex(8))
        self._repository.check_parent(session, self._directories)
        flags, mode = (READ | WRITE | CREATE | EXCLUSIVE), attributes(permissions=FILE_MODE)
        if SYNC in session.extensions:
            flags &= ~READ
        for attempt in range(3):
            try:
                return session.open_file(self.temporary, flags, mode)
            except Refused as refused:
                # Another run may remove a directory that is empty at this very moment: then it is made again.
                if refused.code not in (Status.NO_SUCH_FILE, Status.FAILURE) or not self._directories or attempt == 2:
                    raise
                self._make_directories(session)
                self._repository.check_parent(session, self._directories)
        raise AssertionError("unreachable")

    def _make_directories(self, session: Session) -> None:
        numbers = [
            session.send(
                Kind.MKDIR,
                text(self._repository.given.path_of(*self._directories[:depth])),
                attributes(permissions=DIRECTORY_MODE),
            )
            for depth in range(1, len(self._directories) + 1)
        ]
        denied: Refused | None = None
        for number in numbers:
            try:
                session.answer(number)
            except Refused as refused:
                # Most are there already, which servers call a failure, or a thing they do not permit.
                if refused.code == Status.PERMISSION_DENIED:
                    denied = denied or refused
        if denied is not None and session.lstat(self._repository.given.path_of(*self._directories)) is None:
            raise denied

    def _expect(self, number: int, size: int) -> None:
        self._waiting.append((number, size))
        self._waiting_bytes += size

    def _collect(self, session: Session, at_most_bytes: int) -> None:
        """Take answers until no more than so many bytes are unacknowledged; 0: until everything is."""
        while self._waiting and (self._waiting_bytes > at_most_bytes or at_most_bytes == 0):
            number, size = self._waiting.popleft()
            self._waiting_bytes -= size
            session.answer(number)

    def _look_again(self, session: Session) -> None:
        """Read what was written since the last time, and compare."""
        shown = hashlib.sha256()
        for piece in pieces(session, self._handle, self._shown_bytes, self.size_bytes):
            shown.update(piece)
        if shown.digest() != self._unshown.digest():
            raise self._differs("other bytes came back than were written")
        self._shown_bytes, self._unshown = self.size_bytes, hashlib.sha256()

    def _open_session(self) -> Session:
        if self._session is None or self._given_up.is_set():
            raise self._over()
        return self._session

    @contextlib.contextmanager
    def _faults(self, doing: str, session: Session) -> Iterator[None]:
        """Refusals in words; a connection that broke is let go."""
        try:
            yield
        except Refused as refused:
            raise self._repository.fault(doing, self.key, refused, session) from None
        except ConnectionLost:
            self._let_go(session)
            if self._given_up.is_set():
                raise self._over() from None
            raise
        except RepositoryError:
            self._let_go(session)
            raise

    def _let_go(self, session: Session) -> None:
        self._session = None
        self._repository.connections.give_back(session, whole=False)

    def _over(self) -> RepositoryError:
        where = f"repository {self._repository.name!r}"
        return RepositoryError(f"the upload of {self.key!r} is over", where, "It was confirmed or aborted before.")

    def _differs(self, what: str) -> RepositoryError:
        next_step = "Something else writes there, or the server or its disk damages data: do not trust it before that is found."
        return RepositoryError(f"repository {self._repository.name!r}: {what}", self._repository.given.place(self.key), next_step)
