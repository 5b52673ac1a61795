# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of one multipart upload: a few threads, a bounded number of bytes in memory, every part confirmed by checksum.

A part is confirmed when the store's ETag is the MD5 of what was sent. Stores with ETags of another kind (encryption
with managed keys) confirm it too when they are proven to refuse a wrong Content-MD5. What neither confirms is counted
in `unconfirmed`, and has to be read back.
"""

from __future__ import annotations

import base64
import hashlib
import queue
import threading
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_client import S3Client
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_faults import Refusal
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_options import MAX_PARTS

__all__ = ["Md5Check", "Parts", "checked_body", "composite_etag", "md5", "plain_etag"]

_LOOK_SECONDS = 0.5
"""How often a waiting writer looks whether the upload has failed or was given up."""


def md5(data: bytes) -> bytes:
    """Content-MD5 is a checksum against damage here, not against an attacker: the manifest's SHA-256 is that."""
    return hashlib.md5(data, usedforsecurity=False).digest()


def checked_body(data: bytes, digest: bytes) -> dict[str, Any]:
    """Parameters of a request whose bytes the store shall check."""
    return {"Body": data, "ContentMD5": base64.b64encode(digest).decode()}


def plain_etag(answer: dict[str, Any]) -> str:
    """The ETag without its quotes."""
    return str(answer.get("ETag") or "").strip('"').lower()


def composite_etag(digests: list[bytes]) -> str:
    """The ETag that S3 gives an object of these parts: the MD5 of their MD5s, and their number."""
    return f"{md5(b''.join(digests)).hex()}-{len(digests)}"


class Md5Check:
    """Whether a store refuses a part whose Content-MD5 is wrong: tried once per repository, in an upload of its own.

    Of its own, because rclone gives up a whole upload of which it refused one part.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refuses: bool | None = None

    def refuses_wrong(self, client: S3Client, key: str) -> bool:
        with self._lock:
            if self._refuses is None:
                upload_id = client.call("create_multipart_upload", "trying checksums", key)["UploadId"]
                body = checked_body(b"lifeboat", md5(b"something else"))
                answer = client.ask("upload_part", "trying checksums", key, attempts=1, UploadId=upload_id, PartNumber=1, **body)
                client.ask("abort_multipart_upload", "aborting", key, UploadId=upload_id)
                self._refuses = isinstance(answer, Refusal) and answer.code in ("BadDigest", "InvalidDigest")
            return self._refuses


class Parts:
    """Sends parts of `upload_id` in the order of `add`. After the first fault every call raises it."""

    def __init__(self, client: S3Client, key: str, upload_id: str, md5_check: Md5Check) -> None:
        self.upload_id = upload_id
        self.digests: list[bytes] = []
        self.unconfirmed = 0
        self._client = client
        self._key = key
        self._md5_check = md5_check
        self._etags: dict[int, str] = {}
        self._fault: BaseException | None = None
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._pending = 0
        self._queue: queue.SimpleQueue[tuple[int, bytes] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def add(self, data: bytes) -> None:
        """Take the next part; blocks while `max_threads` parts are on their way."""
        number = len(self.digests) + 1
        if number > MAX_PARTS:
            raise RepositoryError(
                f"repository {self._client.options.name!r}: an object needs more than {MAX_PARTS} parts",
                self._client.options.place(self._key),
                "Set a smaller volume_size, or a larger part_size.",
            )
        limit = self._client.options.max_threads
        with self._changed:
            while self._pending >= limit:
                self._check()
                self._changed.wait(_LOOK_SECONDS)
            self._check()
            self._pending += 1
        self.digests.append(md5(data))
        if len(self._threads) < min(limit, number):
            # Daemons: a store that never answers must not keep the process from ending.
            thread = threading.Thread(target=self._work, name=f"upload {self._key}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._queue.put((number, data))

    def finish(self) -> list[dict[str, Any]]:
        """Wait for all parts; the list that completes the upload."""
        with self._changed:
            while self._pending:
                self._check()
                self._changed.wait(_LOOK_SECONDS)
            self._check()
        self._end_threads()
        return [{"PartNumber": number, "ETag": self._etags[number]} for number in sorted(self._etags)]

    def stop(self, wait_seconds: float) -> None:
        """Send nothing more; requests that are on their way get `wait_seconds` to end."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        self._end_threads()
        for thread in self._threads:
            thread.join(wait_seconds / len(self._threads))

    def _end_threads(self) -> None:
        for _thread in self._threads:
            self._queue.put(None)

    def _check(self) -> None:
        if self._fault is not None:
            raise self._fault
        if self._stop.is_set():
            raise RepositoryError(f"the upload of {self._key!r} was given up", f"repository {self._client.options.name!r}")

    def _work(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                return
            fault: BaseException | None = None
            try:
                if self._fault is None and not self._stop.is_set():
                    self._send(*item)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the writer gets it
                fault = error
            del item
            with self._changed:
                self._fault = self._fault or fault
                self._pending -= 1
                self._changed.notify_all()

    def _send(self, number: int, data: bytes) -> None:
        digest = self.digests[number - 1]
        answer = self._client.call(
            "upload_part",
            f"uploading part {number}",
            self._key,
            stop=self._stop,
            UploadId=self.upload_id,
            PartNumber=number,
            **checked_body(data, digest),
        )
        confirmed = plain_etag(answer) == digest.hex() or self._md5_check.refuses_wrong(self._client, self._key)
        with self._changed:
            self._etags[number] = str(answer.get("ETag") or "")
            self.unconfirmed += not confirmed
