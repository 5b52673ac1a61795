# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The WAL archive of one system in one repository (docs/format.md).

The digest of the plain content stands in a file's key, so what is there can be compared without opening it, and two
contents of one name cannot overwrite each other.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils import compress, layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    ArchiveError,
    IntegrityError,
    ObjectExists,
    ObjectMissing,
    RepositoryError,
    UnsafeName,
    WalConflict,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import CHUNK_BYTES, run_through
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import ObjectInfo, Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import DamagedSeal, Opener
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.identity import ClusterIdentity
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import WalName
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.sealed import (
    IN_MEMORY_BYTES,
    PlainWal,
    SealedWal,
    read_wal,
    seal,
    seal_file,
)

__all__ = ["ClusterIdentity", "PlainWal", "SealedWal", "StoredWal", "WalArchive", "read_wal", "seal", "seal_file"]

LARGEST_BYTES = 1024 * 1024 * 1024
"""What a file of WAL can hold at most; more than this is not taken out of a compressed one."""

_NEVER = "Nothing was overwritten and nothing was acknowledged: the server keeps the file."


@dataclass(frozen=True)
class StoredWal:
    """A file as an archive shows it; `sha256` is that of its plain content, `size_bytes` what it takes there."""

    name: WalName
    sha256: str
    suffix: str
    key: str
    size_bytes: int
    modified: dt.datetime | None


class WalArchive:
    """Safe to use from several threads, as its repository is."""

    def __init__(self, repository: Repository, system: str) -> None:
        self.repository = repository
        self.system = system
        self._identity: ClusterIdentity | None = None
        self._settled: set[str] = set()

    @property
    def where(self) -> str:
        return f"repository {self.repository.name!r}"

    def identity(self) -> ClusterIdentity | None:
        """Whose archive it is, or None when nobody has written to it yet; raises `ArchiveError`, `RepositoryError`."""
        if self._identity is None:
            with contextlib.suppress(ObjectMissing):
                data = self.repository.read(layout.cluster_key(self.system), 64 * 1024)
                self._identity = ClusterIdentity.from_bytes(data, self.where)
        return self._identity

    def claim(self, identity: ClusterIdentity) -> None:
        """Make it this cluster's archive, or see that it is; raises `WalConflict` when it is another's."""
        if self.identity() is None:
            with contextlib.suppress(ObjectExists):
                self.repository.put(layout.cluster_key(self.system), identity.to_bytes())
            # Read back: where a store overwrites in silence, the last one to write is the one that counts.
            if self.identity() is None:
                raise RepositoryError("the store does not show what it took", self.where, "Nothing was acknowledged.")
        found = self.identity()
        if found == identity:
            self._settle(layout.cluster_key(self.system))
            return
        raise WalConflict(
            f"the WAL archive of system {self.system!r} belongs to cluster {found}, this is {identity}",
            self.where,
            "Give each cluster a system of its own, a new one also after pg_upgrade or a restored dump. " + _NEVER,
        )

    def find(self, name: str) -> list[StoredWal]:
        """What is stored under this name: nothing, or one; more than one content is a conflict."""
        return [stored for info in self.repository.list(layout.wal_file_prefix(self.system, name)) if (stored := self._stored(info))]

    def names(self, timeline: int | None = None) -> Iterator[StoredWal]:
        """Everything that is stored, in the order of keys: segments of a timeline come in their order."""
        for info in self.repository.list(layout.wal_prefix(self.system, timeline)):
            stored = self._stored(info)
            if stored is not None:
                yield stored

    def holds(self, name: WalName, sha256: str) -> bool:
        """Whether this very content is stored; then it is made to last. Raises `WalConflict` when another one is."""
        for stored in self._all_of(name, sha256):
            self.repository.settle(stored.key)
            return True
        return False

    def put(self, sealed: SealedWal, progress: Callable[[], None] = lambda: None) -> bool:
        """Store a file durably: True when it was stored now, False when this very content was there already.

        Looked for before, so that no second content is ever added, and after, so that of two writers at the same moment
        both are told. `progress` is called whenever bytes were taken. Raises `WalConflict`, `RepositoryError`.
        """
        return not self.holds(sealed.name, sealed.sha256) and self.add(sealed, progress)

    def add(self, sealed: SealedWal, progress: Callable[[], None] = lambda: None) -> bool:
        """The same for one that was just found to be missing."""
        key = layout.wal_key(self.system, sealed.name.text, sealed.sha256, sealed.suffix)
        stored_now = True
        upload = self.repository.start_upload(key)
        try:
            for chunk in sealed.chunks():
                upload.write(chunk)
                progress()
            upload.confirm()
            progress()
            upload.publish_listed()
        except ObjectExists:
            upload.abort()
            self.repository.settle(key)
            stored_now = False
        except BaseException:
            upload.abort()
            raise
        self._settle(key)
        if not self._all_of(sealed.name, sealed.sha256):
            raise RepositoryError(
                f"the store took {sealed.name.text} and does not list it", self.where, "It is sent again; look at the store if it stays so."
            )
        return stored_now

    def fetch(
        self,
        stored: StoredWal,
        opener: Opener,
        target: Path,
        durable: bool = True,
        check: Callable[[Path], None] = lambda path: None,
    ) -> None:
        """Write the plain file to `target`, by a temporary name beside it; only bytes of the digest in its name get there.

        `durable`: synced before it has its name. `check` may refuse the whole file under its temporary name. Raises
        `IntegrityError`, `SealError` for a wrong identity, `ObjectMissing`, `RepositoryError`, `ArchiveError` when it
        cannot be written.
        """
        if not stored.suffix.startswith(compress.SUFFIX):
            raise ArchiveError(f"{stored.name.text} is stored as {stored.suffix!r}, which this version cannot read", self.where)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ArchiveError(f"{stored.name.text} cannot be written: {error.strerror}", str(target)) from None
        try:
            with open(descriptor, "wb", buffering=0) as file:
                self._write_opened(stored, opener, file.fileno())
                if durable:
                    os.fsync(file.fileno())
            check(temporary)
            os.rename(temporary, target)
            if durable:
                _sync(target.parent)
        except OSError as error:
            _remove(temporary)
            raise ArchiveError(f"{stored.name.text} cannot be written: {error.strerror}", str(target)) from None
        except BaseException:
            _remove(temporary)
            raise

    def _write_opened(self, stored: StoredWal, opener: Opener, descriptor: int) -> None:
        digest = hashlib.sha256()
        room = LARGEST_BYTES

        def write(chunk: bytes) -> None:
            nonlocal room
            room -= len(chunk)
            if room < 0:
                raise IntegrityError(f"{stored.name.text} holds more than {LARGEST_BYTES} bytes", self.where, _OTHER_COPY)
            digest.update(chunk)
            view = memoryview(chunk)
            while view:
                view = view[os.write(descriptor, view) :]

        try:
            if stored.size_bytes <= IN_MEMORY_BYTES:
                data = opener.open(self.repository.read(stored.key, IN_MEMORY_BYTES))
                if 0 <= compress.unpacked_bytes(data) <= IN_MEMORY_BYTES:
                    write(compress.unpacked(data, IN_MEMORY_BYTES))
                else:
                    run_through([compress.decompressor()], [data], write)
            else:
                run_through([opener.stage(), compress.decompressor()], self._stream(stored.key), write)
        except DamagedSeal as error:
            raise IntegrityError(f"{stored.name.text} is damaged: {error.what}", self.where, _OTHER_COPY) from None
        except IntegrityError as error:
            raise IntegrityError(f"{stored.name.text} is damaged: {error.what}", self.where, _OTHER_COPY) from None
        if digest.hexdigest() != stored.sha256:
            raise IntegrityError(f"{stored.name.text} is not what was archived: its content has another digest", self.where, _OTHER_COPY)

    def _stream(self, key: str) -> Iterator[bytes]:
        with self.repository.open(key) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk

    def _settle(self, key: str) -> None:
        """What leads to an object may have been made by a run that was killed before it synced it: once per room is enough."""
        room = key.rpartition("/")[0]
        if room not in self._settled:
            self.repository.settle(key)
            self._settled.add(room)

    def _all_of(self, name: WalName, sha256: str) -> list[StoredWal]:
        """What is stored of this content; raises `WalConflict` when another content of this name is."""
        found = self.find(name.text)
        others = sorted({stored.sha256 for stored in found} - {sha256})
        if others:
            raise WalConflict(
                f"CONFLICT: the archive holds {name.text} with another content (SHA-256 {others[0][:16]}…, this one has {sha256[:16]}…)",
                self.where,
                f"Two servers write the same timeline, or a server was put back without a new one: stop one of them. {_NEVER}",
            )
        if any(not stored.size_bytes for stored in found):
            raise RepositoryError(f"the archived copy of {name.text} is empty", self.where, "Something else wrote there: remove that copy.")
        return found

    def _stored(self, info: ObjectInfo) -> StoredWal | None:
        parsed = layout.parse_wal_key(info.key)
        if parsed is None:
            return None
        try:
            name = WalName.parse(parsed[0])
        except UnsafeName:
            return None
        return StoredWal(name, parsed[1], parsed[2], info.key, info.size_bytes, info.modified)


_OTHER_COPY = "Use another repository's copy."


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
