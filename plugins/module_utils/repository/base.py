# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where backups live: the one small interface that every kind of repository implements.

Keys are relative, `/`-separated, and already encoded (`layout.py`). Nothing outside this package knows boto3, an SSH
library or a path below a repository's root.
"""

from __future__ import annotations

import builtins
import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.harm import Harm, Rules

__all__ = ["Capabilities", "Erased", "Leftover", "ObjectInfo", "Repository", "StoredVersion", "Upload"]


@dataclass(frozen=True)
class ObjectInfo:
    """One object as a repository tells of it. `sha256` only where the store itself confirmed it.

    `mark` is another text when the object is another one, in a listing; "" where that cannot be told.
    """

    key: str
    size_bytes: int
    modified: dt.datetime | None = None
    sha256: str | None = None
    mark: str = ""


@dataclass(frozen=True)
class StoredVersion:
    """One version of an object, as who prunes sees it. `version` is "" where the store keeps none; `latest` is the one that readers
    see, unless it is a `marker` that hides the others."""

    key: str
    size_bytes: int
    modified: dt.datetime | None = None
    version: str = ""
    latest: bool = True
    marker: bool = False


@dataclass(frozen=True)
class Erased:
    """How many were removed for good, how many only hidden, because the credential may not remove versions, and the keys of those
    that a lock keeps."""

    removed: int = 0
    hidden: int = 0
    locked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Leftover:
    """Something that a killed run left and no reader sees: an upload that was never completed. `mark` is the store's own."""

    key: str
    modified: dt.datetime
    mark: str = ""


@dataclass(frozen=True)
class Capabilities:
    """What a repository was found to do by trying it, never by asking for its name.

    `read_only`: this credential could not write (None: not tried). `detail` says, per capability, what was seen.
    """

    no_clobber: bool
    versioning: bool
    object_lock: bool
    read_only: bool | None = None
    detail: tuple[tuple[str, str], ...] = ()


class Upload(ABC):
    """One object on its way into a repository; no reader sees any of it before `publish`.

    Order of calls: `write` any number of times, `confirm`, `publish`. `abort` at any moment before `publish` has
    succeeded. All raise `RepositoryError` (or a subclass) and nothing else for faults of the store.
    """

    key: str

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Take the next bytes. May block while the store is slow; the caller keeps the deadline."""

    @abstractmethod
    def confirm(self) -> None:
        """Return once the destination holds every byte, durably and confirmed by checksum or sync; still invisible."""

    @abstractmethod
    def publish(self) -> ObjectInfo:
        """Make the object visible, whole, atomically and without overwriting; raises `ObjectExists`."""

    def publish_listed(self) -> None:
        """As `publish`, for one who has just seen in a listing that the key is free, and afterwards sees it in another one.

        A store need not be asked for both a second time. What it took has to be confirmed by checksum all the same.
        """
        self.publish()

    @abstractmethod
    def abort(self) -> None:
        """Remove what was sent so far. Idempotent; never raises: a remainder is invisible anyhow."""

    def rehearse(self) -> None:
        """Take a few bytes, have them confirmed, and drop them: who gets through this can write here. Raises as those steps do."""
        try:
            self.write(b"lifeboat probe\n")
            self.confirm()
        finally:
            self.abort()


class Repository(ABC):
    """A place that holds backups. Safe to use from several threads, one `Upload` per thread."""

    name: str
    type: str
    max_object_bytes: int | None = None
    """The largest object this place takes, where it has a limit of its own (S3: 10,000 parts): a writer splits before it."""

    @abstractmethod
    def start_upload(self, key: str) -> Upload:
        """Begin an object. Raises `UnsafeName`, `AccessDenied`, `RepositoryError`."""

    @abstractmethod
    def open(self, key: str) -> BinaryIO:
        """A readable binary stream (context manager) of a whole object; a short transfer raises, never ends early.

        Raises `ObjectMissing`.
        """

    @abstractmethod
    def stat(self, key: str) -> ObjectInfo | None:
        """The object's facts, or None where there is none."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every published object whose key starts with `prefix`, in key order; remains of killed runs are not listed."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; raises `ObjectMissing`, `AccessDenied`."""

    def settle(self, key: str) -> None:  # noqa: B027 - most stores have nothing to do for it
        """Return once an object that is there already would outlast a power cut, whoever wrote it and however far they came.

        What a store shows, it keeps; a directory has to be synced. May raise `ObjectMissing`.
        """

    def everything(self, prefix: str) -> Iterator[StoredVersion]:
        """Every version of every object below `prefix`, in key order; where a credential may not see versions, what `list` gives."""
        for info in self.list(prefix):
            yield StoredVersion(info.key, info.size_bytes, info.modified)

    def erase(self, versions: Iterable[StoredVersion]) -> Erased:
        """Remove these for good. One that is gone already is no fault; of each key the one that readers see goes last.

        Raises `AccessDenied` when nothing of one can be removed or hidden, `RepositoryError`.
        """
        from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ObjectMissing

        removed = 0
        for version in versions:
            try:
                self.delete(version.key)
                removed += 1
            except ObjectMissing:
                continue
        return Erased(removed)

    def leftovers(self, prefix: str) -> Iterator[Leftover]:
        """What killed runs left below `prefix` and no listing shows."""
        return iter(())

    def discard(self, leftover: Leftover) -> None:  # noqa: B027 - where there are none, there is nothing to do
        """Remove one of them; one that is gone already is no fault. Raises `AccessDenied`, `RepositoryError`."""

    def clock(self) -> dt.datetime | None:
        """The store's own present moment, or None where it has no clock but ours."""
        return None

    def locked_until(self, key: str) -> dt.datetime | None:
        """Until when the store lets nobody remove this object, as far as this credential may know; None for not at all."""
        return None

    def lengthen_lock(self, key: str, until: dt.datetime) -> None:  # noqa: B027 - where there are no locks, there is nothing to do
        """Keep an object that is locked locked until then. Raises `AccessDenied`, `RepositoryError`."""

    @abstractmethod
    def capabilities(self, probe_prefix: str) -> Capabilities:
        """Try what this place can do, with small objects below `probe_prefix`, which are removed where that is allowed."""

    @abstractmethod
    def can_write(self, probe_prefix: str) -> bool:
        """Whether this credential can write, found by trying (law 3: tried, not assumed).

        A repository opened read-only on the local machine answers False without trying.
        """

    def unguarded(self, key: str) -> str:
        """Why what lies under `key` could be destroyed by who may write here, or "" where a lock or versions keep it (law 5).

        Looked at, not tried. Raises `RepositoryError`.
        """
        return "a directory keeps neither versions nor locks"

    def try_harm(self, probe_prefix: str) -> tuple[Harm, ...]:
        """What this credential can do to what rests here, tried on a canary below `probe_prefix` (law 5).

        Raises `RepositoryError` when it cannot be tried.
        """
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.harm import on_canary

        return on_canary(self, probe_prefix)

    def overwrite(self, key: str, data: bytes) -> None:
        """Replace an object as somebody would who means harm, whatever our own way of writing refuses. For canaries only.

        Raises `NotImplementedError` where that is not tried, `AccessDenied`, `RepositoryError`.
        """
        raise NotImplementedError

    def rules(self) -> Rules | None:
        """What the place does to objects by itself (lifecycle, default lock), or None where it does nothing by itself."""
        return None

    @abstractmethod
    def description(self) -> dict[str, str]:
        """Type and place for results, logs and reports; never a credential."""

    @abstractmethod
    def close(self) -> None:
        """Release connections."""

    def put(self, key: str, data: bytes) -> ObjectInfo:
        """Store a small object: written, confirmed, published without overwriting."""
        upload = self.start_upload(key)
        try:
            upload.write(data)
            upload.confirm()
            return upload.publish()
        except BaseException:
            upload.abort()
            raise

    def read(self, key: str, limit_bytes: int = 64 * 1024 * 1024) -> bytes:
        """A small object's bytes; raises `ObjectDamaged` when it is larger than `limit_bytes`."""
        from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ObjectDamaged

        with self.open(key) as stream:
            data = stream.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise ObjectDamaged(f"object {key!r} is larger than {limit_bytes} bytes", self.name)
        return data

    def __enter__(self) -> Repository:
        return self

    def __exit__(self, kind: builtins.type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
