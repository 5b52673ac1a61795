# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only a pruner asks of a directory behind SFTP: the remains of killed uploads, and the server's own time."""

from __future__ import annotations

import contextlib
import datetime as dt
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import UnsafeName
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Leftover
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix_paths import FILE_MODE
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix_upload import TEMPORARY_PREFIX
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_faults import Refused
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_wire import (
    CREATE,
    EXCLUSIVE,
    WRITE,
    Kind,
    Status,
    attributes,
    text,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.walk import Folder, hidden_files

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp import SftpRepository

__all__ = ["clock", "discard", "leftovers"]

_FOLDERS_AT_ONCE = 16


def leftovers(repository: SftpRepository, directories: Folder) -> Iterator[Leftover]:
    """The hidden files of uploads that were never published, in this directory and below it."""
    found = hidden_files(lambda some: repository.read_folders(some, TEMPORARY_PREFIX), directories, TEMPORARY_PREFIX, _FOLDERS_AT_ONCE)
    for key, _sort, _size, modified in found:
        yield Leftover(key, dt.datetime.fromtimestamp(modified, dt.timezone.utc))


def discard(repository: SftpRepository, leftover: Leftover) -> None:
    """Remove one; one that is gone already is no fault. Directories that are empty without it go, too."""
    *directories, name = leftover.key.split("/")
    if not name.startswith(TEMPORARY_PREFIX) or any(component in ("", ".", "..") for component in directories):
        raise UnsafeName(f"{leftover.key!r} is no remainder of an upload", next_step="Nothing was removed.")
    with repository.faults("removing an unfinished upload", leftover.key), repository.connections.session() as session:
        repository.check_parent(session, directories)
        try:
            session.call(Kind.REMOVE, text(repository.given.path_of(*directories, name)))
        except Refused as refused:
            if refused.code != Status.NO_SUCH_FILE:
                raise
        repository.remove_empty(session, directories)


def clock(repository: SftpRepository) -> dt.datetime | None:
    """The server's present moment, as it stamps a new, hidden file; None where this account cannot make one."""
    path = repository.given.path_of(TEMPORARY_PREFIX + secrets.token_hex(8))
    with contextlib.suppress(Refused), repository.connections.session() as session:
        handle = session.open_file(path, WRITE | CREATE | EXCLUSIVE, attributes(permissions=FILE_MODE))
        facts = session.attributes_of(session.send(Kind.FSTAT, text(handle)))
        session.forget(session.send(Kind.CLOSE, text(handle)))
        session.forget(session.send(Kind.REMOVE, text(path)))
        if facts is not None and facts.modified is not None:
            return dt.datetime.fromtimestamp(facts.modified, dt.timezone.utc)
    return None
