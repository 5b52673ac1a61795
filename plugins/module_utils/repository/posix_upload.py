# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One file on its way into a directory: hidden, synced, then named without replacing another."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import secrets
import threading
from typing import TYPE_CHECKING

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ObjectExists, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import ObjectInfo, Upload
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix_paths import (
    FILE_MODE,
    directory,
    set_mode,
    split_key,
    sync_directory,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix_place import place

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix import PosixRepository

__all__ = ["TEMPORARY_PREFIX", "PosixUpload"]

TEMPORARY_PREFIX = ".lifeboat-unfinished-"
"""What an upload is called until it is published; what a killed run leaves, and the pruner removes."""

_CREATE_ATTEMPTS = 100
_FLUSH_BYTES = 16 * 1024 * 1024


class PosixUpload(Upload):
    """A hidden file beside its place. Open only until `confirm`, so that many unpublished volumes need no open files."""

    def __init__(self, repository: PosixRepository, key: str) -> None:
        self.key = key
        self.way = ""
        self._repository = repository
        self._directories, self._name = split_key(key)
        self._temporary = TEMPORARY_PREFIX + secrets.token_hex(8)
        self._size_bytes = 0
        self._flushed_bytes = 0
        # `abort` may come from another thread while `write` hangs in the kernel: the descriptor must outlive that call.
        self._lock = threading.Lock()
        self._published = False
        self._descriptor: int | None = self._create()

    def write(self, data: bytes) -> None:
        with self._repository.faults("writing an object", self.key), self._lock:
            rest = memoryview(data)
            while rest:
                descriptor = self._open_descriptor()
                written = os.write(descriptor, rest)
                self._size_bytes += written
                rest = rest[written:]
                if self._size_bytes - self._flushed_bytes >= _FLUSH_BYTES:
                    self._flush(descriptor)

    def confirm(self) -> None:
        with self._repository.faults("syncing an object", self.key), self._lock:
            descriptor = self._open_descriptor()
            os.fsync(descriptor)
            stored = os.fstat(descriptor).st_size
            self._close()
        if stored != self._size_bytes:
            raise RepositoryError(
                f"repository {self._repository.name!r}: {self._size_bytes} bytes were written, {stored} are there",
                f"{self._repository.root}/{self.key}",
                "Something else writes there, or the file system is broken.",
            )

    def publish(self) -> ObjectInfo:
        if self._descriptor is not None:
            self.confirm()
        faults = self._repository.faults("publishing an object", self.key)
        with faults, directory(self._repository.root, self._directories) as parent:
            try:
                self.way = place(parent, self._temporary, self._name)
            except FileExistsError:
                raise ObjectExists(
                    f"repository {self._repository.name!r} already holds an object of that key",
                    f"{self._repository.root}/{self.key}",
                    "It was left as it is.",
                ) from None
            try:
                sync_directory(parent)
            except OSError:
                # A name that might not survive a power cut must not count as published.
                with contextlib.suppress(OSError):
                    os.unlink(self._name, dir_fd=parent)
                raise
        self._published = True
        return ObjectInfo(self.key, self._size_bytes, dt.datetime.now(dt.timezone.utc))

    def abort(self) -> None:
        if self._published:
            return
        with contextlib.suppress(OSError, RepositoryError), self._lock:
            self._close()
            with directory(self._repository.root, self._directories) as parent:
                os.unlink(self._temporary, dir_fd=parent)
            self._repository.remove_empty(self._directories)

    def _create(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        for attempt in range(1, _CREATE_ATTEMPTS + 1):
            try:
                with directory(self._repository.root, self._directories, create=True) as parent:
                    descriptor = os.open(self._temporary, flags, FILE_MODE, dir_fd=parent)
                set_mode(descriptor, FILE_MODE)
                return descriptor
            except FileNotFoundError:
                # A directory was empty, and another run removed it at this very moment.
                if attempt == _CREATE_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _flush(self, descriptor: int) -> None:
        """Have the kernel begin to write what came last and forget what came before.

        So the sync at the end is short, and a backup does not push the database's pages out of memory.
        """
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, max(0, self._flushed_bytes - _FLUSH_BYTES), 0, os.POSIX_FADV_DONTNEED)
        self._flushed_bytes = self._size_bytes

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise RepositoryError(f"the upload of {self.key!r} is over", self._repository.name, "It was confirmed or aborted before.")
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)
