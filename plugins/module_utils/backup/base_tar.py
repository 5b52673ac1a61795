# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A base backup's tar while it goes by: its members are counted, the few that say what it is are caught, nothing is held."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Mapping

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.tar_walk import TarWalk
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import BackupGuardError

__all__ = ["CONTROL", "LABEL", "MANIFEST", "TABLESPACES", "BaseTar"]

LABEL, MANIFEST, TABLESPACES, CONTROL = "backup_label", "backup_manifest", "tablespace_map", "global/pg_control"

_KNOWN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE)
_INCREMENTAL = "INCREMENTAL."


class BaseTar(TarWalk):
    """Looks at a tar. `caught` are called with the bytes of the members of these names, piece by piece.

    `seen` is called with the name of each member when it begins. Afterwards: `size_bytes` of the tar, `file_bytes` and `files`
    of what it holds, how many of them are `incremental`. Raises `BackupGuardError` for a stream that is no whole tar.
    """

    def __init__(self, caught: Mapping[str, Callable[[bytes], object]], seen: Callable[[str], None] = lambda name: None) -> None:
        super().__init__()
        self._caught = caught
        self._catch: Callable[[bytes], object] | None = None
        self._seen = seen
        self.file_bytes = self.files = self.incremental = 0

    def begin(self, member: tarfile.TarInfo) -> None:
        if member.type not in _KNOWN:
            raise self.wrong(f"{member.name!r} in it is of kind {member.type!r}")
        self._seen(member.name)
        self._catch = self._caught.get(member.name)
        if member.isreg():
            self.files += 1
            self.file_bytes += member.size
            self.incremental += member.name.rpartition("/")[2].startswith(_INCREMENTAL)

    def piece(self, data: memoryview) -> None:
        if self._catch is not None:
            self._catch(bytes(data))

    def end(self) -> None:
        """Nothing of it is kept."""

    def wrong(self, what: str) -> BackupGuardError:
        return BackupGuardError(f"what pg_basebackup wrote is not a whole tar: {what}", "base backup", "Nothing was kept; run again.")
