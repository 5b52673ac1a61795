# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One object on its way into a bucket: invisible until one last request, which never replaces another object."""

from __future__ import annotations

import contextlib
import datetime as dt
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import AccessDenied, ObjectExists, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import ObjectInfo, Upload
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_client import ATTEMPTS, Answer, in_utc, pauses
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_faults import Refusal
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_parts import (
    Parts,
    checked_body,
    composite_etag,
    md5,
    plain_etag,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_reader import S3Body

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3 import S3Repository

__all__ = ["S3Upload", "lock_parameters"]

_MARK = "lifeboat-upload"
"""Metadata key with a random value: tells our object from another's when the answer to the last request was lost."""

_ABORT_WAIT_SECONDS = 10.0
_ASSEMBLY_BYTES_PER_SECOND = 20 * 1024 * 1024
"""Some stores copy all parts when an upload is completed; they get time for it by this rate."""


def lock_parameters(mode: str, until: dt.datetime) -> dict[str, Any]:
    """Object lock for one object, or nothing for the mode "none"."""
    return {} if mode == "none" else {"ObjectLockMode": mode.upper(), "ObjectLockRetainUntilDate": until}


class S3Upload(Upload):
    """Up to one part: held in memory and sent by one PutObject in `publish`. More: a multipart upload, completed there."""

    def __init__(self, repository: S3Repository, key: str) -> None:
        self.key = key
        self._repository = repository
        self._client = repository.client
        self._pieces: list[bytes | memoryview] = []  # of the part that is being filled; joined once, when it is whole
        self._joined: tuple[bytes, bytes] | None = None
        self._held_bytes = 0
        self._size_bytes = 0
        self._parts: Parts | None = None
        self._list: list[dict[str, Any]] = []
        self._mark = secrets.token_hex(16)
        self._confirmed = False
        self._published = False
        self._given_up = threading.Event()

    def write(self, data: bytes) -> None:
        if self._confirmed or self._given_up.is_set():
            raise self._over()
        part_bytes = self._client.options.part_bytes
        rest = memoryview(data)
        while rest:
            # Only when more follows: an object of exactly one part is still a small one.
            if self._held_bytes == part_bytes:
                self._send_part()
            piece = rest[: part_bytes - self._held_bytes]
            self._pieces.append(data if len(piece) == len(data) else piece)
            self._held_bytes += len(piece)
            self._size_bytes += len(piece)
            rest = rest[len(piece) :]

    def confirm(self) -> None:
        """Every part is at the store and confirmed. A small object goes whole with `publish`, which confirms it."""
        if self._given_up.is_set():
            raise self._over()
        if self._parts is not None and not self._confirmed:
            if self._held_bytes:
                self._send_part()
            self._list = self._parts.finish()
        self._confirmed = True

    def publish(self) -> ObjectInfo:
        self.confirm()
        unseen: AccessDenied | None = None
        try:
            there = self._repository.stat(self.key) is not None
        except AccessDenied as denied:
            there, unseen = False, denied
        if there:
            raise self._exists()
        if unseen is not None:
            return self._published_unseen(unseen)
        return self._published_as(*self._commit(self._send_last()))

    def publish_listed(self) -> None:
        if self._parts is not None:
            self.publish()
            return
        self.confirm()
        answer = self._send_last()
        if not isinstance(answer, Refusal) and plain_etag(answer) == self._small()[1].hex():
            self._published = True
            self._forget()
            return
        self._published_as(*self._commit(answer))

    def _published_unseen(self, denied: AccessDenied) -> ObjectInfo:
        """For a credential that may only put, as that of reports: the store's condition keeps what is there, its ETag proves what came."""
        answer = denied if self._parts is not None or not self._repository.conditional else self._send_once(True)
        if isinstance(answer, Refusal):
            raise self._exists() if answer.exists else answer.error
        if isinstance(answer, AccessDenied) or plain_etag(answer) != self._small()[1].hex():
            raise denied
        self._published = True
        self._forget()
        return ObjectInfo(self.key, self._size_bytes)

    def _published_as(self, answer: dict[str, Any], head: dict[str, Any]) -> ObjectInfo:
        if not self._matches(answer, head):
            self._read_back()
        self._published = True
        self._forget()
        return ObjectInfo(self.key, self._size_bytes, in_utc(head.get("LastModified")))

    def abort(self) -> None:
        if self._published or self._given_up.is_set():
            return
        self._given_up.set()
        self._forget()
        parts = self._parts
        if parts is None:
            return

        def clean() -> None:
            with contextlib.suppress(Exception):
                # First the parts on their way: one that arrives after the abort would lie there for ever.
                parts.stop(_ABORT_WAIT_SECONDS / 2)
                self._client.ask("abort_multipart_upload", "aborting", self.key, attempts=2, UploadId=parts.upload_id)

        # A store that does not answer may keep this thread; the caller waits a bounded time only.
        thread = threading.Thread(target=clean, name=f"abort {self.key}", daemon=True)
        thread.start()
        thread.join(_ABORT_WAIT_SECONDS)

    def _send_part(self) -> None:
        if self._parts is None:
            answer = self._client.call("create_multipart_upload", "beginning an object", self.key, stop=self._given_up, **self._facts())
            self._parts = Parts(self._client, self.key, answer["UploadId"], self._repository.md5_check)
            if self._given_up.is_set():
                self._given_up.clear()
                self.abort()
        data = b"".join(self._pieces)
        self._forget()
        self._parts.add(data)

    def _small(self) -> tuple[bytes, bytes]:
        """An object of one part, whole, and its MD5."""
        if self._joined is None:
            data = b"".join(self._pieces)
            self._joined = data, md5(data)
        return self._joined

    def _forget(self) -> None:
        self._pieces, self._joined, self._held_bytes = [], None, 0

    def _facts(self) -> dict[str, Any]:
        """What the object carries: our mark, and its lock."""
        options = self._client.options
        until = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=options.object_lock_days)
        return {"Metadata": {_MARK: self._mark}, "ContentType": "application/octet-stream", **lock_parameters(options.object_lock, until)}

    def _commit(self, answer: Answer) -> tuple[dict[str, Any], dict[str, Any]]:
        """Send the one request that makes the object visible until it is known whether it did; the answer, and HEAD's.

        It was sent once, and this is what came back.
        """
        between = pauses(self._client.options.deadline_seconds + self._size_bytes / _ASSEMBLY_BYTES_PER_SECOND)
        failures = 0
        while True:
            if isinstance(answer, Refusal):
                # Taken, or gone: perhaps by an earlier attempt whose answer was lost.
                late = failures > 0 and (answer.exists or answer.code == "NoSuchUpload")
                if not answer.transient and not late:
                    raise self._exists() if answer.exists else answer.error
            head = self._ours()
            if head is not None:
                return ({} if isinstance(answer, Refusal) else answer), head
            if not isinstance(answer, Refusal):
                answer = Refusal("NotThere", 200, self._fault("the store said that it stored an object, but it is not there"), True)
            if answer.exists:
                raise self._exists()
            failures += answer.transient
            pause = next(between, None)
            if pause is None or failures >= ATTEMPTS:
                raise answer.error
            time.sleep(pause)
            answer = self._send_last()

    def _send_last(self) -> Answer:
        """One attempt, with the condition that the key is free unless the store said that it knows no conditions."""
        refused = self._send_once(self._repository.conditional)
        if not self._repository.conditional or not isinstance(refused, Refusal) or not refused.not_implemented:
            return refused
        answer = self._send_once(False)
        self._repository.conditional = isinstance(answer, Refusal)  # refused all the same: it was not the condition
        return answer

    def _send_once(self, conditional: bool) -> Answer:
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if conditional else {}
        if self._parts is None:
            request = {**checked_body(*self._small()), **self._facts(), **condition}
            return self._client.ask("put_object", "publishing", self.key, attempts=1, **request)
        request = {"UploadId": self._parts.upload_id, "MultipartUpload": {"Parts": self._list}, **condition}
        return self._client.ask("complete_multipart_upload", "publishing", self.key, attempts=1, **request)

    def _ours(self) -> dict[str, Any] | None:
        """HEAD's answer when the object there is the one of this upload, whole; raises `ObjectExists` when it is another's."""
        head = self._repository.head(self.key)
        if head is None:
            return None
        # rclone gives metadata keys back in another case.
        marks = {name.lower(): value for name, value in (head.get("Metadata") or {}).items()}
        if _MARK in marks and marks[_MARK] != self._mark:
            raise self._exists()
        if int(head.get("ContentLength") or 0) != self._size_bytes:
            if _MARK not in marks:
                raise self._exists()
            raise self._fault(f"{self._size_bytes} bytes were sent, the store holds {head.get('ContentLength')}")
        if _MARK not in marks:
            # A store that drops metadata: only the bytes can tell.
            self._read_back()
        return head

    def _matches(self, answer: dict[str, Any], head: dict[str, Any]) -> bool:
        """Whether checksums of the store's own say that it holds what was sent; where they cannot, it has to be read back."""
        etags = {plain_etag(answer), plain_etag(head)}
        if self._parts is None:
            return self._small()[1].hex() in etags
        if self._parts.unconfirmed:
            return False
        # Every part is confirmed, and was named by its ETag. A composite ETag of another value speaks against that.
        return composite_etag(self._parts.digests) in etags or not plain_etag(answer).endswith(f"-{len(self._list)}")

    def _read_back(self) -> None:
        part_bytes = self._client.options.part_bytes
        digests = self._parts.digests if self._parts is not None else [self._small()[1]]
        with S3Body(self._client, self.key) as body:
            for number, digest in enumerate(digests, 1):
                if md5(_exactly(body, part_bytes)) != digest:
                    raise self._fault(f"part {number} came back with other bytes than were sent")

    def _over(self) -> RepositoryError:
        where = f"repository {self._repository.name!r}"
        return RepositoryError(f"the upload of {self.key!r} is over", where, "It was confirmed or aborted before.")

    def _exists(self) -> ObjectExists:
        where = self._client.options.place(self.key)
        return ObjectExists(f"repository {self._repository.name!r} already holds an object of that key", where, "It was left as it is.")

    def _fault(self, what: str) -> RepositoryError:
        next_step = "The store or something before it damages data: do not trust it before that is found."
        return RepositoryError(f"repository {self._repository.name!r}: {what}", self._client.options.place(self.key), next_step)


def _exactly(body: S3Body, size: int) -> bytes:
    """Up to `size` bytes, fewer only at the end."""
    pieces = []
    while size:
        piece = body.read(min(size, 1024 * 1024))
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
