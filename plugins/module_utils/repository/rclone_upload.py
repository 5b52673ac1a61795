# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One object on its way to a remote of rclone: streamed under a hidden name, compared, then moved to its own.

Most remotes have no way to write without replacing, and rclone's `--immutable` replaces a single file all the same. So the name is
looked at before the move and after it; runs of one process go one after the other.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import http.client
import json
import secrets
import threading
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ObjectExists, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import ObjectInfo, Upload
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix_upload import TEMPORARY_PREFIX
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_daemon import query
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_faults import fault, plain

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone import RcloneRepository

__all__ = ["SERVER_BYTES_PER_SECOND", "RcloneUpload"]

SERVER_BYTES_PER_SECOND = 20 * 1024 * 1024
"""Remotes that copy or read a whole object to move or to digest it get time for it by this rate."""
_ABORT_WAIT_SECONDS = 10.0
_READ_BYTES = 1024 * 1024


class RcloneUpload(Upload):
    """A request whose body is the object, open until `confirm`."""

    def __init__(self, repository: RcloneRepository, key: str) -> None:
        self.key = key
        self._repository = repository
        self._folder, _slash, _name = key.rpartition("/")
        self._temporary_name = TEMPORARY_PREFIX + secrets.token_hex(8)
        self._temporary = f"{self._folder}/{self._temporary_name}".lstrip("/")
        self._kind = repository.digest_kind()
        # Without a digest that the remote knows, the bytes are read back and compared by one of ours.
        self._digest = hashlib.new(self._kind or "sha256")
        self._size_bytes = 0
        self._confirmed = False
        self._published = False
        self._given_up = threading.Event()
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = self._begin()

    def write(self, data: bytes) -> None:
        with self._lock:
            connection = self._open_connection()
            if not data:
                return
            self._digest.update(data)
            self._send(connection, data)
            self._size_bytes += len(data)

    def confirm(self) -> None:
        with self._lock:
            connection = self._open_connection()
            self._send(connection, f"\r\n--{self._boundary}--\r\n".encode(), last=True)
            self._finish(connection)
            self._connection = None
        found = self._look(self._temporary)
        if found is None or found[0] != self._size_bytes:
            there = "nothing is" if found is None else f"{found[0]} are"
            raise self._differs(f"{self._size_bytes} bytes were written, {there} there")
        if (found[1] or self._read_back()) != self._digest.hexdigest():
            raise self._differs("other bytes are there than were written")
        self._confirmed = True

    def publish(self) -> ObjectInfo:
        if not self._confirmed:
            self.confirm()
        if self._given_up.is_set() or self._published:
            raise self._over()
        with self._repository.publishing:
            if self._repository.stat(self.key) is not None:
                raise self._exists()
            remote = self._repository.given.remote
            self._repository.daemon.call(
                "/operations/movefile", "publishing", self.key, seconds=self._patience(),
                srcFs=remote, srcRemote=self._temporary, dstFs=remote, dstRemote=self.key,
            )  # fmt: skip
            found = self._look(self.key)
        if found is None or found[0] != self._size_bytes or (found[1] or self._digest.hexdigest()) != self._digest.hexdigest():
            raise self._differs("another object has this name: somebody else wrote it at the same moment")
        self._published = True
        return ObjectInfo(self.key, self._size_bytes, dt.datetime.now(dt.timezone.utc))

    def abort(self) -> None:
        if self._published or self._given_up.is_set():
            return
        self._given_up.set()
        connection, self._connection = self._connection, None

        def clean() -> None:
            if connection is not None:
                # The body ends in its middle, so that rclone gives the upload up.
                _cut(connection)
            with contextlib.suppress(RepositoryError):
                self._repository.remove_quietly(self._temporary)

        thread = threading.Thread(target=clean, name=f"abort {self.key}", daemon=True)
        thread.start()
        thread.join(_ABORT_WAIT_SECONDS)

    def _begin(self) -> http.client.HTTPConnection:
        daemon = self._repository.daemon
        connection = daemon.connect()
        self._boundary = secrets.token_hex(16)
        head = (
            f'--{self._boundary}\r\nContent-Disposition: form-data; name="file0"; filename="{self._temporary_name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        with daemon.broken("beginning an object", self.key):
            connection.putrequest("POST", query("/operations/uploadfile", fs=self._repository.given.remote, remote=self._folder))
            connection.putheader("Content-Type", f"multipart/form-data; boundary={self._boundary}")
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            connection.send(_chunk(head.encode()))
        return connection

    def _send(self, connection: http.client.HTTPConnection, data: bytes, last: bool = False) -> None:
        try:
            connection.send(_chunk(data) + (b"0\r\n\r\n" if last else b""))
        except TimeoutError:
            self._let_go(connection)
            with self._repository.daemon.broken("writing an object", self.key):
                raise
        except OSError:
            # rclone answers before it has read all of it when it cannot go on.
            with contextlib.suppress(RepositoryError):
                self._finish(connection)
                raise self._differs("rclone did not take all of it") from None
            self._finish(connection)

    def _finish(self, connection: http.client.HTTPConnection) -> None:
        """Take rclone's answer to the whole upload; raises what it says went wrong."""
        if connection.sock is not None:
            connection.sock.settimeout(self._repository.given.read_timeout_seconds + self._patience())
        try:
            with self._repository.daemon.broken("writing an object", self.key), contextlib.closing(connection):
                response = connection.getresponse()
                body = response.read()
        finally:
            self._connection = None
        if self._given_up.is_set():
            raise self._over()
        if response.status != 200:
            try:
                words = str(json.loads(body).get("error"))
            except (ValueError, AttributeError):
                words = plain(body.decode(errors="replace"))
            raise fault(self._repository.given, "writing an object", self.key, words)

    def _look(self, key: str) -> tuple[int, str] | None:
        """Size and digest ("" where the remote has none) of what lies there, or None."""
        item = self._repository.item(key, self._kind, seconds=self._patience())
        if item is None:
            return None
        hashes: dict[str, Any] = item.get("Hashes") or {}
        return int(item["Size"]), str(hashes.get(self._kind) or "")

    def _read_back(self) -> str:
        again = hashlib.new(self._digest.name)
        with self._repository.open_any(self._temporary) as stream:
            while True:
                data = stream.read(_READ_BYTES)
                if not data:
                    return again.hexdigest()
                again.update(data)

    def _patience(self) -> float:
        return self._size_bytes / SERVER_BYTES_PER_SECOND

    def _open_connection(self) -> http.client.HTTPConnection:
        if self._connection is None or self._given_up.is_set():
            raise self._over()
        return self._connection

    def _let_go(self, connection: http.client.HTTPConnection) -> None:
        self._connection = None
        connection.close()

    def _over(self) -> RepositoryError:
        where = f"repository {self._repository.name!r}"
        return RepositoryError(f"the upload of {self.key!r} is over", where, "It was confirmed or aborted before.")

    def _exists(self) -> ObjectExists:
        where = self._repository.given.place(self.key)
        return ObjectExists(f"repository {self._repository.name!r} already holds an object of that key", where, "It was left as it is.")

    def _differs(self, what: str) -> RepositoryError:
        next_step = "Something else writes there, or the remote damages data: do not trust it before that is found."
        return RepositoryError(f"repository {self._repository.name!r}: {what}", self._repository.given.place(self.key), next_step)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _cut(connection: http.client.HTTPConnection) -> None:
    with contextlib.suppress(OSError):
        if connection.sock is not None:
            connection.sock.shutdown(2)
    connection.close()
