# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading one object from S3 to its last byte: a cut connection is taken up again where it broke, a short body is an error."""

from __future__ import annotations

import io
import time
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_client import S3Client, pauses
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_faults import Refusal

__all__ = ["S3Body"]

_MAX_BREAKS = 6
_PROGRESS_BYTES = 1024 * 1024
"""A connection that brought at least this much before it broke does not count against `_MAX_BREAKS`."""


class S3Body(io.RawIOBase):
    """The bytes of one object as it was when it was opened; raises `RepositoryError` instead of ending early."""

    def __init__(self, client: S3Client, key: str) -> None:
        self._client = client
        self._key = key
        self._body: Any = None
        self._position = 0
        self._breaks = 0
        self._since_break = 0
        answer = client.call("get_object", "opening", key)
        self._body = answer["Body"]
        self._size_bytes = int(answer["ContentLength"])
        self._etag = str(answer.get("ETag") or "")
        self._version = answer.get("VersionId")
        self._pauses = pauses(client.options.deadline_seconds)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        while self._position < self._size_bytes and view:
            data = self._client.read_chunk(self._body, min(len(view), self._size_bytes - self._position), self._key)
            if data and not isinstance(data, Refusal):
                view[: len(data)] = data
                self._position += len(data)
                self._since_break += len(data)
                return len(data)
            self._resume(data if isinstance(data, Refusal) else None)
        return 0

    def close(self) -> None:
        if not self.closed and self._body is not None:
            self._body.close()
        super().close()

    def _resume(self, refusal: Refusal | None) -> None:
        """Ask for the rest, of the very same object."""
        self._body.close()
        if self._since_break >= _PROGRESS_BYTES:
            self._breaks, self._pauses = 0, pauses(self._client.options.deadline_seconds)
        self._breaks, self._since_break = self._breaks + 1, 0
        pause = next(self._pauses, None)
        if self._breaks > _MAX_BREAKS or pause is None:
            raise (
                refusal.error
                if refusal is not None
                else self._broken("ended early again and again", "Use another copy, or look at the network.")
            )
        time.sleep(pause)
        parameters: dict[str, Any] = {"Range": f"bytes={self._position}-{self._size_bytes - 1}"}
        if self._version:
            parameters["VersionId"] = self._version
        answer = self._client.call("get_object", "taking up the reading again", self._key, **parameters)
        self._body = answer["Body"]
        expected = f"bytes {self._position}-{self._size_bytes - 1}/{self._size_bytes}"
        if answer.get("ContentRange") != expected or str(answer.get("ETag") or "") != self._etag:
            raise self._broken(
                "became another one while it was read, or the store cannot continue in the middle", "Read it again from its start."
            )

    def _broken(self, what: str, next_step: str) -> RepositoryError:
        return RepositoryError(
            f"repository {self._client.options.name!r}: an object {what}, at byte {self._position} of {self._size_bytes}",
            self._client.options.place(self._key),
            next_step,
        )
