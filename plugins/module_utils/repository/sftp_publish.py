# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Giving a finished file on an SFTP server its name without ever replacing another one, also when the answer is lost.

`hardlink@openssh.com`, then the removal of the hidden name, is the way that cannot replace (link(2)). Where there are no
hard links, SFTP's own RENAME, which by its definition replaces nothing; what a server really does, `capabilities` tries.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ObjectExists
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_faults import ConnectionLost, Refused
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_session import Session
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_wire import READ, Kind, attributes, text

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp import SftpRepository

__all__ = ["HARD_LINK", "RENAME", "SYNC", "publish", "sync"]

SYNC = "fsync@openssh.com"
_LINK = "hardlink@openssh.com"

HARD_LINK, RENAME = "hard link", "rename"
"""The two ways, as `publish` names the one that worked."""


def publish(repository: SftpRepository, key: str, temporary: bytes, path: bytes, size_bytes: int) -> str:
    """Name the file; returns the way that worked. Raises `ObjectExists`, and leaves both alone, when the name is taken."""
    way, lost = "", False
    for attempt in range(3):
        try:
            with repository.connections.session() as session:
                if lost and _is_ours(session, temporary, path, size_bytes):
                    way = way or HARD_LINK
                    _forget_name(session, temporary)
                else:
                    way = _name(repository, session, key, temporary, path)
                try:
                    sync(session, path)
                except Refused:
                    # A name that might not survive a power cut must not count as published.
                    _forget_name(session, path)
                    raise
                return way
        except Refused as refused:
            raise repository.fault("publishing an object", key, refused) from None
        except ConnectionLost:
            # Whether it came to be is found out by the next connection.
            lost = True
            if attempt == 2:
                raise
    raise AssertionError("unreachable")


def sync(session: Session, path: bytes) -> None:
    """Have the server sync a file that has its name: a journal that holds the file's last change holds its name, too."""
    if SYNC not in session.extensions:
        return
    handle = session.open_file(path, READ, attributes())
    try:
        session.call(Kind.EXTENDED, text(SYNC.encode()), text(handle))
    finally:
        session.forget(session.send(Kind.CLOSE, text(handle)))


def _name(repository: SftpRepository, session: Session, key: str, temporary: bytes, path: bytes) -> str:
    if _LINK in session.extensions:
        try:
            session.call(Kind.EXTENDED, text(_LINK.encode()), text(temporary), text(path))
        except Refused as refused:
            # A name that is taken and a disk without hard links are both called a failure.
            _refuse_when_taken(repository, session, key, path)
            unlinkable = refused
        else:
            _forget_name(session, temporary)
            return HARD_LINK
    else:
        unlinkable = None
    _refuse_when_taken(repository, session, key, path)
    try:
        session.call(Kind.RENAME, text(temporary), text(path))
    except Refused as refused:
        _refuse_when_taken(repository, session, key, path)
        raise unlinkable or refused from None
    return RENAME


def _forget_name(session: Session, temporary: bytes) -> None:
    # A second, hidden name that stays behind (an account that may not remove) is no fault of the object.
    with contextlib.suppress(Refused):
        session.call(Kind.REMOVE, text(temporary))


def _refuse_when_taken(repository: SftpRepository, session: Session, key: str, path: bytes) -> None:
    if session.lstat(path) is not None:
        raise ObjectExists(
            f"repository {repository.name!r} already holds an object of that key", repository.given.place(key), "It was left as it is."
        )


def _is_ours(session: Session, temporary: bytes, path: bytes, size_bytes: int) -> bool:
    """Whether the name that is there is our file's: the hidden name is gone, or both show one moment that is set through one."""
    there = session.lstat(path)
    if there is None or there.size_bytes != size_bytes:
        return False
    hidden = session.lstat(temporary)
    if hidden is None:
        return True
    moment = 1_000_000_000 + secrets.randbelow(500_000_000)
    before = hidden.modified or moment
    with contextlib.suppress(Refused):
        session.call(Kind.SETSTAT, text(temporary), attributes(times=(moment, moment)))
        there = session.lstat(path)
        session.call(Kind.SETSTAT, text(temporary), attributes(times=(before, before)))
    return there is not None and there.modified == moment
