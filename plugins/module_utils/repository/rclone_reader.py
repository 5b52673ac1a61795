# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading one object from a remote of rclone to its last byte: taken up again when the way to it broke."""

from __future__ import annotations

import contextlib
import http.client
import io
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ObjectMissing, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_daemon import Daemon
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_faults import fault
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_options import RcloneOptions

__all__ = ["RcloneBody"]

_MAX_BREAKS = 4
_PROGRESS_BYTES = 1024 * 1024
"""A connection that brought at least this much before it broke does not count against `_MAX_BREAKS`."""


class RcloneBody(io.RawIOBase):
    """The bytes of one object as it was when it was opened; raises `RepositoryError` instead of ending early."""

    def __init__(self, daemon: Daemon, given: RcloneOptions, key: str) -> None:
        self._daemon, self._given, self._key = daemon, given, key
        self._position = 0
        self._breaks = 0
        self._since_break = 0
        self._answer: Any = None
        self._answer = self._ask()
        length = self._answer.getheader("Content-Length")
        if length is None:
            self._answer.close()
            raise self._broken("has no size: the remote is not made for backups", "Use another remote.")
        self._size_bytes = int(length)
        self._changed = self._answer.getheader("Last-Modified")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        while view and self._position < self._size_bytes:
            count = 0
            with contextlib.suppress(OSError, http.client.HTTPException):
                count = int(self._answer.readinto(view[: self._size_bytes - self._position]))
            if count:
                self._position += count
                self._since_break += count
                return count
            self._resume()
        return 0

    def close(self) -> None:
        if not self.closed and self._answer is not None:
            self._answer.close()
        super().close()

    def _resume(self) -> None:
        """Ask for the rest, of the very same object."""
        self._answer.close()
        self._breaks = 1 if self._since_break >= _PROGRESS_BYTES else self._breaks + 1
        self._since_break = 0
        if self._breaks > _MAX_BREAKS:
            raise self._broken("ended early again and again", "Use another copy, or look at the remote.")
        self._answer = self._ask()
        expected = f"bytes {self._position}-{self._size_bytes - 1}/{self._size_bytes}"
        same = self._position == 0 or self._answer.getheader("Content-Range") == expected
        if not same or self._answer.getheader("Last-Modified") != self._changed:
            raise self._broken(
                "became another one while it was read, or the remote cannot continue in the middle", "Read it again from its start."
            )

    def _ask(self) -> http.client.HTTPResponse:
        headers = {"Range": f"bytes={self._position}-"} if self._position else {}
        answer = self._daemon.request("GET", self._daemon.url(self._key), "opening an object", self._key, headers=headers)
        if answer.status in (200, 206):
            return answer
        with contextlib.closing(answer), self._daemon.broken("opening an object", self._key):
            words = answer.read().decode(errors="replace")
        if answer.status == 404:
            raise ObjectMissing(f"repository {self._given.name!r} holds no object of that key", self._given.place(self._key))
        raise fault(self._given, "opening an object", self._key, words)

    def _broken(self, what: str, next_step: str) -> RepositoryError:
        return RepositoryError(
            f"repository {self._given.name!r}: an object {what}, at byte {self._position}", self._given.place(self._key), next_step
        )
