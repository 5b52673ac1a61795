# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading one file from an SFTP server to its last byte: asked for ahead, taken up again when the connection broke."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ObjectMissing, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_faults import ConnectionLost, Refused
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_session import Session
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_wire import (
    READ,
    Attributes,
    Kind,
    Status,
    attributes,
    number32,
    number64,
    text,
)

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp import SftpRepository

__all__ = ["SftpBody", "pieces"]

_AHEAD_BYTES = 4 * 1024 * 1024
"""Asked for and not yet here: what a line of 100 MB/s and 40 ms holds."""
_MAX_BREAKS = 4
_PROGRESS_BYTES = 1024 * 1024
"""A connection that brought at least this much before it broke does not count against `_MAX_BREAKS`."""


def pieces(session: Session, handle: bytes, begin: int, end: int) -> Iterator[bytes]:
    """The bytes from `begin` to `end` of an open file, in order; raises `Refused` (EOF) where it ends before."""
    asked: deque[tuple[int, int, int]] = deque()
    position, asked_bytes = begin, 0
    try:
        while True:
            while position < end and asked_bytes < _AHEAD_BYTES:
                size = min(session.read_bytes, end - position)
                asked.append((_ask(session, handle, position, size), position, size))
                position, asked_bytes = position + size, asked_bytes + size
            if not asked:
                return
            number, at, size = asked.popleft()
            data = session.answer(number)[1].text()
            if not data or len(data) > size:
                raise Refused(Status.EOF, "")
            if len(data) < size:
                # A server may give less than was asked for: the rest comes before all that was asked for after it.
                asked.appendleft((_ask(session, handle, at + len(data), size - len(data)), at + len(data), size - len(data)))
            asked_bytes -= len(data)
            yield data
    finally:
        for number, _at, _size in asked:
            session.forget(number)


def _ask(session: Session, handle: bytes, at: int, size: int) -> int:
    return session.send(Kind.READ, text(handle), number64(at), number32(size))


class SftpBody(io.RawIOBase):
    """The bytes of one object as it was when it was opened; raises `RepositoryError` instead of ending early."""

    def __init__(self, repository: SftpRepository, key: str) -> None:
        self._repository = repository
        self._key = key
        self._path = repository.given.path_of(*key.split("/"))
        self._session: Session | None = None
        self._handle = b""
        self._pieces: Iterator[bytes] = iter(())
        self._piece = memoryview(b"")
        self._position = 0
        self._breaks = 0
        self._since_break = 0
        self._facts = self._open()
        self._size_bytes = self._facts.size_bytes or 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        while view and self._position < self._size_bytes:
            if self._piece:
                count = min(len(view), len(self._piece))
                view[:count], self._piece = self._piece[:count], self._piece[count:]
                self._position += count
                return count
            self._next()
        return 0

    def close(self) -> None:
        if not self.closed:
            self._release(whole=True)
        super().close()

    def _next(self) -> None:
        try:
            self._piece = memoryview(next(self._pieces, b""))
            self._since_break += len(self._piece)
            if self._piece:
                return
        except Refused as refused:
            if refused.code != Status.EOF:
                raise self._repository.fault("reading an object", self._key, refused) from None
        except ConnectionLost:
            self._resume()
            return
        except RepositoryError:
            self._release(whole=False)
            raise
        raise self._broken("ended early", "It was cut while it was read: use another copy.")

    def _resume(self) -> None:
        """Ask for the rest, of the very same object."""
        self._release(whole=False)
        self._breaks = 1 if self._since_break >= _PROGRESS_BYTES else self._breaks + 1
        self._since_break = 0
        if self._breaks > _MAX_BREAKS:
            raise self._broken("could not be read, the connection breaks again and again", "Look at the network.")
        if self._open() != self._facts:
            raise self._broken("became another one while it was read", "Read it again from its start.")

    def _open(self) -> Attributes:
        """Open the file where we are in it; its size and time of change."""
        try:
            self._session, (facts, self._handle) = self._repository.connections.begin(self._look_and_open)
        except Refused as refused:
            if refused.code == Status.NO_SUCH_FILE:
                raise self._missing() from None
            raise self._repository.fault("opening an object", self._key, refused) from None
        self._pieces = pieces(self._session, self._handle, self._position, facts.size_bytes or 0)
        return facts

    def _look_and_open(self, session: Session) -> tuple[Attributes, bytes]:
        facts = self._repository.look(session, self._key)
        if facts is None:
            raise self._missing()
        return facts, session.open_file(self._path, READ, attributes())

    def _missing(self) -> ObjectMissing:
        return ObjectMissing(f"repository {self._repository.name!r} holds no object of that key", self._repository.given.place(self._key))

    def _release(self, whole: bool) -> None:
        session, self._session = self._session, None
        self._pieces, self._piece = iter(()), memoryview(b"")
        if session is None:
            return
        if whole:
            session.forget(session.send(Kind.CLOSE, text(self._handle)))
        self._repository.connections.give_back(session, whole)

    def _broken(self, what: str, next_step: str) -> RepositoryError:
        return RepositoryError(
            f"repository {self._repository.name!r}: an object {what}, at byte {self._position} of {self._size_bytes}",
            self._repository.given.place(self._key),
            next_step,
        )
