# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any remote of rclone as a repository: what rclone can reach, this can fill and read."""

from __future__ import annotations

import builtins
import contextlib
import datetime as dt
import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, cast

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    AccessDenied,
    ObjectExists,
    ObjectMissing,
    RepositoryError,
    UnsafeName,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Capabilities, Leftover, ObjectInfo, Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.keys import check_object_key, check_prefix, probe_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix_upload import TEMPORARY_PREFIX
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_daemon import Daemon
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_faults import root_missing
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_listing import read_entries, seconds_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_options import RcloneOptions, parse_rclone
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_reader import RcloneBody
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_upload import RcloneUpload
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.walk import FILE, Folder, hidden_files, walk

__all__ = ["RcloneRepository", "open_rclone"]

_READ_BUFFER_BYTES = 1024 * 1024
_DIGESTS = ("sha256", "sha1", "md5")
"""Digests that remotes know and Python too, the best first."""


def open_rclone(name: str, spec: Mapping[str, Any], read_only: bool = False) -> Repository:
    return RcloneRepository(parse_rclone(name, spec), read_only)


class RcloneRepository(Repository):
    """Starts rclone with the first request. `read_only` refuses to write here; what the credential may is another question."""

    type = "rclone"

    def __init__(self, given: RcloneOptions, read_only: bool = False) -> None:
        self.name = given.name
        self.given = given
        self.read_only = read_only
        self.daemon = Daemon(given)
        self.publishing = threading.Lock()
        """Held from the look at a name until it is taken, so that no two threads take one."""
        self._facts: dict[str, Any] | None = None
        self._facts_lock = threading.Lock()

    def start_upload(self, key: str) -> RcloneUpload:
        self._refuse_when_read_only(key)
        return RcloneUpload(self, check_object_key(key))

    def open(self, key: str) -> BinaryIO:
        return self.open_any(check_object_key(key))

    def open_any(self, key: str) -> BinaryIO:
        """As `open`, for hidden files too."""
        self._know()
        return cast(BinaryIO, io.BufferedReader(RcloneBody(self.daemon, self.given, key), _READ_BUFFER_BYTES))

    def stat(self, key: str) -> ObjectInfo | None:
        item = self.item(check_object_key(key))
        return None if item is None else _info(key, int(item["Size"]), seconds_of(item))

    def item(self, key: str, digest: str = "", seconds: float = 0.0) -> dict[str, Any] | None:
        """What rclone says of a file, with a digest of this kind where the remote has one; None where there is no file."""
        self._know()
        wanted: dict[str, Any] = {"noMimeType": True, **({"showHash": True, "hashTypes": [digest]} if digest else {})}
        answer = self.daemon.call(
            "/operations/stat", "looking at an object", key, seconds=seconds, fs=self.given.remote, remote=key, opt=wanted
        )
        found: dict[str, Any] | None = answer.get("item")
        return None if found is None or found.get("IsDir") else found

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        inside, _slash, stem = check_prefix(prefix).rpartition("/")
        return self._list(tuple(inside.split("/")) if inside else (), stem)

    def delete(self, key: str) -> None:
        self._refuse_when_read_only(key)
        if self.stat(key) is None:
            raise ObjectMissing(f"repository {self.name!r} holds no object of that key", self.given.place(key))
        self._remove(key)

    def capabilities(self, probe_prefix: str) -> Capabilities:
        if not self.can_write(probe_prefix):
            seen = "not tried: this credential cannot write"
            return Capabilities(False, False, False, True, tuple((name, seen) for name in ("no_clobber", "versioning", "object_lock")))
        key = probe_key(probe_prefix)
        first, second = RcloneUpload(self, key), RcloneUpload(self, key)
        how = "a second object of the same name was not refused"
        try:
            first.publish()
            second.publish()
        except ObjectExists:
            how = "by a look before and after only: rclone replaces, and two runs on two hosts in one moment could defeat that"
        finally:
            second.abort()
            first.abort()
            with contextlib.suppress(RepositoryError):
                self._remove(key)
        never = "rclone does not show whether the place behind the remote has them"
        confirmed = f"by the remote's own {self.digest_kind()}" if self.digest_kind() else "by reading back: the remote has no digest"
        detail = (("no_clobber", how), ("versioning", never), ("object_lock", never), ("confirmed", confirmed))
        return Capabilities(False, False, False, False, detail)

    def can_write(self, probe_prefix: str) -> bool:
        self._know()
        upload = RcloneUpload(self, probe_key(probe_prefix))
        try:
            upload.rehearse()
        except AccessDenied:
            return False
        return True

    def unguarded(self, key: str) -> str:
        return "rclone does not show whether the place behind it keeps versions or locks"

    def leftovers(self, prefix: str) -> Iterator[Leftover]:
        inside = check_prefix(prefix).rpartition("/")[0]
        start = tuple(inside.split("/")) if inside else ()
        for key, _sort, _size, modified in hidden_files(lambda some: self._read(some, TEMPORARY_PREFIX), start, TEMPORARY_PREFIX, 1):
            yield Leftover(key, dt.datetime.fromtimestamp(modified, dt.timezone.utc))

    def discard(self, leftover: Leftover) -> None:
        self._refuse_when_read_only(leftover.key)
        if not leftover.key.rpartition("/")[2].startswith(TEMPORARY_PREFIX):
            raise UnsafeName(f"{leftover.key!r} is no remainder of an upload", next_step="Nothing was removed.")
        if self.item(leftover.key) is not None:
            self._remove(leftover.key)

    def description(self) -> dict[str, str]:
        return {"type": self.type, "remote": self.given.remote}

    def close(self) -> None:
        self.daemon.close()

    def digest_kind(self) -> str:
        """The digest by which what arrived is compared; "" where the remote has none that Python knows."""
        known = self._know().get("Hashes") or ()
        return next((kind for kind in _DIGESTS if kind in known), "")

    def remove_quietly(self, key: str) -> None:
        """Remove a hidden file if it is there, and the directories that are empty without it."""
        if self.item(key) is not None:
            self._remove(key)
        else:
            self._remove_empty(key)

    def _remove(self, key: str) -> None:
        self.daemon.call("/operations/deletefile", "deleting an object", key, fs=self.given.remote, remote=key)
        self._remove_empty(key)

    def _remove_empty(self, key: str) -> None:
        """Where a place has directories, those that hold nothing any more go, innermost first; one that holds something ends it."""
        if self._know().get("Features", {}).get("BucketBased"):
            return
        with contextlib.suppress(RepositoryError):
            folder = key.rpartition("/")[0]
            while folder:
                self.daemon.call("/operations/rmdir", "removing a directory", folder, fs=self.given.remote, remote=folder)
                folder = folder.rpartition("/")[0]

    def _list(self, start: Folder, stem: str) -> Iterator[ObjectInfo]:
        for key, sort, size_bytes, modified in walk(self._read, start, stem, 1):
            if sort == FILE:
                yield _info(key, size_bytes, modified)

    def _read(self, folders: Sequence[Folder], hidden: str = "") -> builtins.list[builtins.list[bytes]]:
        self._know()
        return [read_entries(self.daemon, self.given, "/".join(folder), hidden) for folder in folders]

    def _know(self) -> dict[str, Any]:
        """What rclone says of the remote; asked once. Raises where the repository's directory or bucket does not exist."""
        with self._facts_lock:
            if self._facts is None:
                facts = self.daemon.call("/operations/fsinfo", "looking at the remote", fs=self.given.remote)
                try:
                    self.daemon.call("/operations/list", "listing", fs=self.given.remote, remote="", opt={"dirsOnly": True})
                except AccessDenied:
                    raise
                except RepositoryError as error:
                    if "does not exist" in error.what:
                        raise root_missing(self.given) from None
                    raise
                self._facts = facts
            return self._facts

    def _refuse_when_read_only(self, key: str) -> None:
        if self.read_only:
            raise AccessDenied(f"repository {self.name!r} was opened read-only", self.given.place(key), "Nothing was written.")


def _info(key: str, size_bytes: int, modified: int) -> ObjectInfo:
    return ObjectInfo(key, size_bytes, dt.datetime.fromtimestamp(modified, dt.timezone.utc), mark=f"at {modified}")
