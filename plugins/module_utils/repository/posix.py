# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory as a repository: local disk, or a mounted one (NFS, SMB, USB).

An object is written under a hidden name beside its place, synced, and gets its name without replacing another one;
then the directory is synced. Files are 0600, directories 0700, whatever the umask says.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import heapq
import io
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, cast

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    AccessDenied,
    ConfigurationError,
    ObjectExists,
    ObjectMissing,
    RepositoryError,
    UnsafeName,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import terms
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Capabilities, Leftover, ObjectInfo, Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.keys import check_prefix, is_foreign, probe_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix_paths import (
    directory,
    fault,
    link_inside,
    split_key,
    sync_directory,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix_upload import TEMPORARY_PREFIX, PosixUpload

__all__ = ["PosixRepository", "open_posix", "validate_posix"]

_READ_BUFFER_BYTES = 1024 * 1024
_NAMES_AT_ONCE = 100_000
_FACTS_AT_ONCE = 1000
"""Of one directory, so many names are held while it is listed, and the facts of so many."""


def validate_posix(name: str, spec: Mapping[str, Any]) -> str:
    """The root directory of a `{type: posix, path}`; raises `ConfigurationError`."""
    where = f"repository {name!r}"
    options.unknown_keys(spec, ("type", "path", *terms.KEYS), where)
    path: str = options.text(spec, "path", where)
    if not os.path.isabs(path):
        raise ConfigurationError(f"path {path!r} is not absolute", where, "Give the whole path, from the leading slash on.")
    if os.path.normpath(path) == "/":
        raise ConfigurationError("path '/' is the whole machine", where, "Name a directory that holds backups only.")
    return os.path.normpath(path)


def open_posix(name: str, spec: Mapping[str, Any], read_only: bool = False) -> Repository:
    return PosixRepository(name, validate_posix(name, spec), read_only)


class PosixRepository(Repository):
    """Holds no open files between calls, so that a disk can be unmounted and no call depends on another."""

    type = "posix"

    def __init__(self, name: str, root: str, read_only: bool = False) -> None:
        self.name = name
        self.root = root
        self.read_only = read_only

    def start_upload(self, key: str) -> PosixUpload:
        self._refuse_when_read_only(key)
        with self.faults("creating an object", key):
            return PosixUpload(self, key)

    def open(self, key: str) -> BinaryIO:
        directories, name = split_key(key)
        with self.faults("opening an object", key):
            try:
                with directory(self.root, directories) as parent:
                    # Without blocking: a FIFO of that name must not hang the reader before it is refused.
                    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
            except FileNotFoundError:
                raise self._missing(key) from None
            except OSError:
                self.stat(key)  # raises in its own words when a link lies there
                raise
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise self._missing(key)
        return cast(BinaryIO, io.BufferedReader(_WholeFile(self, key, descriptor, status.st_size), _READ_BUFFER_BYTES))

    def stat(self, key: str) -> ObjectInfo | None:
        directories, name = split_key(key)
        with self.faults("looking at an object", key):
            try:
                with directory(self.root, directories) as parent:
                    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                return None
            return self._info(key, status)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        inside, _slash, stem = check_prefix(prefix).rpartition("/")
        return self._list(tuple(inside.split("/")) if inside else (), stem)

    def delete(self, key: str) -> None:
        self._refuse_when_read_only(key)
        directories, name = split_key(key)
        with self.faults("deleting an object", key):
            try:
                with directory(self.root, directories) as parent:
                    os.unlink(name, dir_fd=parent)
                    sync_directory(parent)
            except (FileNotFoundError, IsADirectoryError):
                raise self._missing(key) from None
        self.remove_empty(directories)

    def overwrite(self, key: str, data: bytes) -> None:
        self._refuse_when_read_only(key)
        directories, name = split_key(key)
        with self.faults("replacing an object", key), directory(self.root, directories) as parent:
            descriptor = os.open(name, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)

    def settle(self, key: str) -> None:
        directories, name = split_key(key)
        with self.faults("syncing an object", key):
            try:
                with directory(self.root, directories) as parent:
                    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
            except FileNotFoundError:
                raise self._missing(key) from None
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            # From the inside out, so that nothing is named before it is there.
            for depth in range(len(directories), -1, -1):
                with directory(self.root, directories[:depth]) as opened:
                    sync_directory(opened)

    def capabilities(self, probe_prefix: str) -> Capabilities:
        if not self.can_write(probe_prefix):
            return Capabilities(False, False, False, True, (("no_clobber", "not tried: this repository cannot be written"),))
        key = probe_key(probe_prefix)
        first, second = self.start_upload(key), self.start_upload(key)
        try:
            first.publish()
            second.publish()
            refused, how = False, "a second object of the same name replaced the first"
        except ObjectExists:
            refused, how = first.way != "lock", f"a second object of the same name was refused, by {_WAYS[first.way]}"
        finally:
            second.abort()
            first.abort()
            with contextlib.suppress(ObjectMissing):
                self.delete(key)
        never = "a directory has none"
        return Capabilities(refused, False, False, False, (("no_clobber", how), ("versioning", never), ("object_lock", never)))

    def can_write(self, probe_prefix: str) -> bool:
        if self.read_only:
            return False
        try:
            self.start_upload(probe_key(probe_prefix)).rehearse()
        except AccessDenied:
            return False
        return True

    def leftovers(self, prefix: str) -> Iterator[Leftover]:
        inside = check_prefix(prefix).rpartition("/")[0]
        return self._leftovers(tuple(inside.split("/")) if inside else ())

    def discard(self, leftover: Leftover) -> None:
        self._refuse_when_read_only(leftover.key)
        *directories, name = leftover.key.split("/")
        if not name.startswith(TEMPORARY_PREFIX):
            raise UnsafeName(f"{leftover.key!r} is no remainder of an upload", next_step="Nothing was removed.")
        with self.faults("removing an unfinished upload", leftover.key):
            with contextlib.suppress(FileNotFoundError), directory(self.root, directories) as parent:
                os.unlink(name, dir_fd=parent)
        self.remove_empty(tuple(directories))

    def _leftovers(self, directories: tuple[str, ...]) -> Iterator[Leftover]:
        inside = "".join(f"{component}/" for component in directories)
        found, folders = [], []
        with self.faults("listing", inside), contextlib.suppress(FileNotFoundError), directory(self.root, directories) as descriptor:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    if entry.name.startswith(TEMPORARY_PREFIX) and entry.is_file(follow_symlinks=False):
                        written = entry.stat(follow_symlinks=False).st_mtime
                        found.append(Leftover(inside + entry.name, dt.datetime.fromtimestamp(written, dt.timezone.utc)))
                    elif entry.is_dir(follow_symlinks=False) and not is_foreign(entry.name):
                        folders.append(entry.name)
        yield from found
        for folder in sorted(folders):
            yield from self._leftovers((*directories, folder))

    def description(self) -> dict[str, str]:
        return {"type": self.type, "path": self.root}

    def close(self) -> None:
        """Nothing is held open."""

    @contextlib.contextmanager
    def faults(self, doing: str, key: str) -> Iterator[None]:
        """Turns what the operating system refuses into an error of this repository."""
        try:
            yield
        except OSError as error:
            raise fault(error, doing, self.name, f"{self.root}/{key}") from error

    def _list(self, directories: tuple[str, ...], stem: str) -> Iterator[ObjectInfo]:
        inside = "".join(f"{component}/" for component in directories)
        for name, status in self._entries(directories, stem):
            if stat.S_ISDIR(status.st_mode):
                yield from self._list((*directories, name), "")
                continue
            info = self._info(inside + name, status)
            if info is not None:
                yield info

    def _entries(self, directories: tuple[str, ...], stem: str) -> Iterator[tuple[str, os.stat_result]]:
        """Names and facts of what lies in one directory, in the order of the keys below it (a directory sorts as `name/`).

        A directory may hold a million names: it is read again for each `_NAMES_AT_ONCE` of them, which costs a second.
        """
        inside, after = "".join(f"{component}/" for component in directories), b""
        while True:
            with self.faults("listing", inside):
                names = self._names_after(directories, stem, after)
            for begin in range(0, len(names), _FACTS_AT_ONCE):
                with self.faults("listing", inside):
                    facts = self._facts(directories, names[begin : begin + _FACTS_AT_ONCE])
                yield from facts
            if len(names) < _NAMES_AT_ONCE:
                return
            after = names[-1]

    def _names_after(self, directories: tuple[str, ...], stem: str, after: bytes) -> Sequence[bytes]:
        """The first names behind `after`, as they sort."""
        with contextlib.suppress(FileNotFoundError), directory(self.root, directories) as descriptor:
            with os.scandir(descriptor) as entries:
                return heapq.nsmallest(_NAMES_AT_ONCE, (name for name in _sorting_names(entries, stem, not directories) if name > after))
        return []

    def _facts(self, directories: tuple[str, ...], names: Sequence[bytes]) -> Sequence[tuple[str, os.stat_result]]:
        found = []
        with contextlib.suppress(FileNotFoundError), directory(self.root, directories) as descriptor:
            for sorting in names:
                name = os.fsdecode(sorting.rstrip(b"/"))
                with contextlib.suppress(FileNotFoundError):
                    found.append((name, os.stat(name, dir_fd=descriptor, follow_symlinks=False)))
        return found

    def _info(self, key: str, status: os.stat_result) -> ObjectInfo | None:
        if stat.S_ISLNK(status.st_mode):
            raise link_inside(f"{self.root}/{key}")
        if not stat.S_ISREG(status.st_mode):
            return None
        modified = dt.datetime.fromtimestamp(status.st_mtime, dt.timezone.utc)
        # The change time, because no program can set it back.
        return ObjectInfo(key, status.st_size, modified, mark=f"{status.st_ino}-{status.st_ctime_ns}")

    def remove_empty(self, directories: tuple[str, ...]) -> None:
        """Remove directories that hold nothing any more, innermost first; one that holds something ends it."""
        with contextlib.suppress(OSError, RepositoryError):
            for depth in range(len(directories), 0, -1):
                with directory(self.root, directories[: depth - 1]) as parent:
                    os.rmdir(directories[depth - 1], dir_fd=parent)

    def _refuse_when_read_only(self, key: str) -> None:
        if self.read_only:
            raise AccessDenied(f"repository {self.name!r} was opened read-only", f"{self.root}/{key}", "Nothing was written.")

    def _missing(self, key: str) -> ObjectMissing:
        return ObjectMissing(f"repository {self.name!r} holds no object of that key", f"{self.root}/{key}")


def _sorting_names(entries: Iterator[os.DirEntry[str]], stem: str, is_root: bool) -> Iterator[bytes]:
    for entry in entries:
        # lost+found is the file system's own, and closed to everyone but root.
        if entry.name.startswith(stem) and not is_foreign(entry.name) and not (is_root and entry.name == "lost+found"):
            yield os.fsencode(entry.name) + (b"/" if entry.is_dir(follow_symlinks=False) else b"")


_WAYS = {
    "link": "a hard link",
    "renameat2": "a rename that does not replace",
    "lock": "a check under a lock, which holds against lifeboat only",
}


class _WholeFile(io.RawIOBase):
    """A file's bytes up to the size it had when it was opened; less than that is an error, never an early end."""

    def __init__(self, repository: PosixRepository, key: str, descriptor: int, size_bytes: int) -> None:
        self._repository = repository
        self._key = key
        self._descriptor = descriptor
        self._left_bytes = size_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._repository.faults("reading an object", self._key):
            count = os.readv(self._descriptor, [memoryview(buffer)[: self._left_bytes]]) if self._left_bytes else 0
        if count == 0 and self._left_bytes:
            raise RepositoryError(
                f"repository {self._repository.name!r}: an object ended {self._left_bytes} bytes early",
                f"{self._repository.root}/{self._key}",
                "It was cut while it was read: use another copy.",
            )
        self._left_bytes -= count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()
