# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory behind SFTP as a repository: any account that OpenSSH's `internal-sftp` lets in, chrooted and without a shell too."""

from __future__ import annotations

import builtins
import contextlib
import datetime as dt
import io
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, TypeVar, cast

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import AccessDenied, ObjectMissing, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import sftp_faults
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Capabilities, Leftover, ObjectInfo, Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.keys import check_object_key, check_prefix
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix_paths import link_inside, split_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_faults import Refused
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_listing import read_directories
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_options import SftpOptions, parse_sftp
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_pool import Connections
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_publish import sync
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_reader import SftpBody
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_session import Session
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_upload import SftpUpload
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_wire import Attributes, Kind, Status, text
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.walk import FILE, LINK, Folder, walk

__all__ = ["SftpRepository", "open_sftp"]

Result = TypeVar("Result")

_READ_BUFFER_BYTES = 1024 * 1024
FOLDERS_AT_ONCE = 16
"""Directories that are read together."""
_STATVFS = "statvfs@openssh.com"


def open_sftp(name: str, spec: Mapping[str, Any], read_only: bool = False) -> Repository:
    return SftpRepository(parse_sftp(name, spec), read_only)


class SftpRepository(Repository):
    """Connects with the first request; connections that nobody uses wait for the next one. `read_only` refuses to write here."""

    type = "sftp"

    def __init__(self, given: SftpOptions, read_only: bool = False) -> None:
        self.name = given.name
        self.given = given
        self.read_only = read_only
        self.connections = Connections(given)

    def start_upload(self, key: str) -> SftpUpload:
        self._refuse_when_read_only(key)
        return SftpUpload(self, check_object_key(key))

    def open(self, key: str) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(SftpBody(self, check_object_key(key)), _READ_BUFFER_BYTES))

    def stat(self, key: str) -> ObjectInfo | None:
        check_object_key(key)
        facts = self.ask("looking at an object", key, lambda session: self.look(session, key))
        return None if facts is None else _info(key, facts.size_bytes or 0, facts.modified or 0)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        inside, _slash, stem = check_prefix(prefix).rpartition("/")
        return self._list(tuple(inside.split("/")) if inside else (), stem)

    def delete(self, key: str) -> None:
        self._refuse_when_read_only(key)
        # Not tried again when the connection breaks: what the first attempt did would be taken for a missing object.
        self.remove(key)

    def settle(self, key: str) -> None:
        path = self.given.path_of(*check_object_key(key).split("/"))

        def settle(session: Session) -> None:
            if self.look(session, key) is None:
                raise ObjectMissing(f"repository {self.name!r} holds no object of that key", self.given.place(key))
            sync(session, path)

        self.ask("syncing an object", key, settle)

    def capabilities(self, probe_prefix: str) -> Capabilities:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import sftp_probe

        return sftp_probe.capabilities(self, probe_prefix)

    def can_write(self, probe_prefix: str) -> bool:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import sftp_probe

        return sftp_probe.can_write(self, probe_prefix)

    def leftovers(self, prefix: str) -> Iterator[Leftover]:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import sftp_prune

        inside = check_prefix(prefix).rpartition("/")[0]
        return sftp_prune.leftovers(self, tuple(inside.split("/")) if inside else ())

    def discard(self, leftover: Leftover) -> None:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import sftp_prune

        self._refuse_when_read_only(leftover.key)
        sftp_prune.discard(self, leftover)

    def clock(self) -> dt.datetime | None:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import sftp_prune

        return sftp_prune.clock(self)

    def description(self) -> dict[str, str]:
        port = {} if self.given.port == 22 else {"port": str(self.given.port)}
        return {"type": self.type, "host": self.given.host, **port, "user": self.given.user, "path": self.given.path}

    def close(self) -> None:
        self.connections.close()

    def fault(self, doing: str, key: str, refused: Refused, session: Session | None = None) -> RepositoryError:
        """A refusal in words; for a general failure the server is asked whether its disk is full."""
        free = None
        if refused.code == Status.FAILURE:
            with contextlib.suppress(RepositoryError, Refused):
                if session is not None:
                    free = self._free_bytes(session)
                else:
                    with self.connections.session() as other:
                        free = self._free_bytes(other)
        return sftp_faults.fault(self.given, doing, key, refused, free)

    def ask(self, doing: str, key: str, function: Callable[[Session], Result]) -> Result:
        """The function's result; it only looks, so that it is done again when the connection breaks. Refusals come in words."""
        with self.faults(doing, key):
            return self.connections.ask(function)

    @contextlib.contextmanager
    def faults(self, doing: str, key: str) -> Iterator[None]:
        """Turns what the server refuses into an error of this repository."""
        try:
            yield
        except Refused as refused:
            raise self.fault(doing, key, refused) from None

    def look(self, session: Session, key: str) -> Attributes | None:
        """The facts of an object, or None; raises `UnsafeName` where a link lies on the way to it."""
        path = self.given.path_of(*key.split("/"))
        real, facts = session.send(Kind.REALPATH, text(path)), session.send(Kind.LSTAT, text(path))
        found_at, found = session.path_of(real), session.attributes_of(facts)
        if found is None:
            return None
        if found.permissions is not None and stat.S_ISLNK(found.permissions):
            raise link_inside(self.given.place(key))
        self._check_real(session, found_at, key)
        return found if found.permissions is None or stat.S_ISREG(found.permissions) else None

    def check_parent(self, session: Session, directories: Sequence[str]) -> None:
        """Raises `UnsafeName` where a link lies on the way to a directory, if it is there."""
        path = self.given.path_of(*directories)
        self._check_real(session, session.path_of(session.send(Kind.REALPATH, text(path))), "/".join(directories))

    def remove_quietly(self, path: bytes, directories: Sequence[str]) -> None:
        """Remove a hidden file, and the directories that are empty without it; raises only when there is no connection."""
        with self.connections.session() as session:
            with contextlib.suppress(Refused):
                session.call(Kind.REMOVE, text(path))
            self.remove_empty(session, directories)

    def _list(self, directories: tuple[str, ...], stem: str) -> Iterator[ObjectInfo]:
        if directories:
            self.ask("listing", "/".join(directories), lambda session: self.check_parent(session, directories))
        for found, sort, size_bytes, modified in walk(self.read_folders, directories, stem, FOLDERS_AT_ONCE):
            if sort == LINK:
                raise link_inside(self.given.place(found))
            if sort == FILE:
                yield _info(found, size_bytes, modified)

    def read_folders(self, folders: Sequence[Folder], hidden: str = "") -> builtins.list[builtins.list[bytes]]:
        """What lies in each of these directories, as `read_directories` gives it."""
        paths = [self.given.path_of(*folder) for folder in folders]
        return self.ask("listing", "/".join(folders[0]), lambda session: read_directories(session, paths, hidden))

    def _check_real(self, session: Session, real: bytes | None, key: str) -> None:
        expected = (session.root or b"").rstrip(b"/") + (b"/" + os.fsencode(key) if key else b"")
        if real is not None and real != (expected or b"/"):
            raise link_inside(self.given.place(key))

    def remove(self, key: str) -> None:
        """Remove an object, whatever this repository was opened for."""
        directories, name = split_key(key)
        with self.faults("deleting an object", key), self.connections.session() as session:
            if self.look(session, key) is None:
                raise ObjectMissing(f"repository {self.name!r} holds no object of that key", self.given.place(key))
            session.call(Kind.REMOVE, text(self.given.path_of(*directories, name)))
            self.remove_empty(session, directories)

    def remove_empty(self, session: Session, directories: Sequence[str]) -> None:
        """Remove directories that hold nothing any more, innermost first; one that holds something ends it."""
        with contextlib.suppress(Refused):
            for depth in range(len(directories), 0, -1):
                session.call(Kind.RMDIR, text(self.given.path_of(*directories[:depth])))

    def _free_bytes(self, session: Session) -> int | None:
        if _STATVFS not in session.extensions:
            return None
        answer = session.answer(session.extended(_STATVFS, text(self.given.path_of())))[1]
        _block, fragment, _blocks, _free, available = (answer.number64() for _field in range(5))
        return fragment * available

    def _refuse_when_read_only(self, key: str) -> None:
        if self.read_only:
            raise AccessDenied(f"repository {self.name!r} was opened read-only", self.given.place(key), "Nothing was written.")


def _info(key: str, size_bytes: int, modified: int) -> ObjectInfo:
    # Objects are never replaced, so the second in which one was written tells it from another; a server shows nothing better.
    return ObjectInfo(key, size_bytes, dt.datetime.fromtimestamp(modified, dt.timezone.utc), mark=f"at {modified}")
