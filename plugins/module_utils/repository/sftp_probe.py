# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an account behind SFTP can do, found by doing it with small files."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import AccessDenied, ObjectExists, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Capabilities
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.keys import probe_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_faults import Refused
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_publish import HARD_LINK
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_upload import SftpUpload
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_wire import Kind, text

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp import SftpRepository

__all__ = ["can_write", "capabilities"]


def capabilities(repository: SftpRepository, probe_prefix: str) -> Capabilities:
    """All of it, each with what was seen; what was tried with is removed where that is allowed."""
    if not can_write(repository, probe_prefix):
        seen = "not tried: this account cannot write"
        return Capabilities(False, False, False, True, tuple((name, seen) for name in ("no_clobber", "versioning", "object_lock")))
    key = probe_key(probe_prefix)
    first, second = SftpUpload(repository, key), SftpUpload(repository, key)
    try:
        first.write(b"first")
        second.write(b"second")
        first.publish()
        second.publish()
        refused, how = False, "a second object of the same name replaced the first"
    except ObjectExists:
        refused = True
        how = "a second object of the same name was refused, by " + (
            "a hard link (hardlink@openssh.com)" if first.way == HARD_LINK else "the server's rename"
        )
        if first.way != HARD_LINK:
            refused = _rename_refuses(repository, key)
            how += "" if refused else " after a look only: the rename itself replaces"
    finally:
        second.abort()
        first.abort()
        with contextlib.suppress(RepositoryError):
            repository.remove(key)
    never = "SFTP has none"
    return Capabilities(refused, False, False, False, (("no_clobber", how), ("versioning", never), ("object_lock", never)))


def can_write(repository: SftpRepository, probe_prefix: str) -> bool:
    """Whether a hidden file can be made and written. Raises where the account is not let in at all."""
    key = probe_key(probe_prefix)
    try:
        upload = SftpUpload(repository, key)
    except AccessDenied as denied:
        # Not being let in at all is no answer to whether one could write.
        if denied.where == repository.given.place():
            raise
        return False
    upload.rehearse()
    return True


def _rename_refuses(repository: SftpRepository, key: str) -> bool:
    """Whether the server's own rename leaves a name alone that is taken, tried on an object that is there."""
    upload = SftpUpload(repository, key)
    try:
        upload.confirm()
        with repository.connections.session() as session:
            session.call(Kind.RENAME, text(upload.temporary), text(upload.path))
    except Refused:
        return True
    finally:
        upload.abort()
    return False
