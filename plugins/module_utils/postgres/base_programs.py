# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL's programs for base backups: taken, put together, verified. As with all of its programs, of the server's own major."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import Program

__all__ = ["COMBINES_FROM", "PgBaseBackup", "PgCombineBackup", "PgVerifyBackup"]

COMBINES_FROM = 17
"""The first major version with incremental backups."""


class PgBaseBackup(Program):
    """`pg_basebackup`: as one tar to standard output, or as tars in a directory where there are several tablespaces."""

    name = "pg_basebackup"

    def argv(
        self,
        conninfo: str,
        *,
        target: str | os.PathLike[str] | None = None,
        include_wal: bool = False,
        checkpoint: str = "fast",
        label: str = "",
        max_rate_bytes: int | None = None,
        incremental: str | os.PathLike[str] | None = None,
    ) -> list[str]:
        """A backup to standard output, or into the new directory `target`. `incremental` is the manifest of its parent.

        Log is included by fetching it at the end (streaming it needs a second connection, which standard output rules out); without
        it the server waits until its archiver has the last segment. The manifest is left in: what is restored is compared with it.
        """
        argv = [
            str(self.path),
            f"--dbname={conninfo}",
            "--no-password",
            "--format=tar",
            f"--pgdata={'-' if target is None else os.fspath(target)}",
            f"--wal-method={'fetch' if include_wal else 'none'}",
            f"--checkpoint={checkpoint}",
        ]
        if target is not None:
            argv.append("--no-sync")  # it lives for as long as the run does: nothing of it has to survive a crash
        if label:
            argv.append(f"--label={label}")
        if max_rate_bytes is not None:
            argv.append(f"--max-rate={max_rate_bytes // 1024}k")
        if incremental is not None:
            argv.append(f"--incremental={os.fspath(incremental)}")
        return argv


class PgVerifyBackup(Program):
    """`pg_verifybackup`: compares what was unpacked with the manifest that the server wrote."""

    name = "pg_verifybackup"

    def argv(self, directory: str | os.PathLike[str], *, ignore: Sequence[str] = ()) -> list[str]:
        """Every file, its size and checksum. The log is left to recovery, which reads it anyhow."""
        return [str(self.path), "--no-parse-wal", "--quiet", *(f"--ignore={path}" for path in ignore), "--", os.fspath(directory)]


class PgCombineBackup(Program):
    """`pg_combinebackup` (17 and newer): a full backup and the incremental ones after it, put together."""

    name = "pg_combinebackup"

    def argv(
        self, chain: Sequence[str | os.PathLike[str]], target: str | os.PathLike[str], tablespaces: Mapping[str, str] | None = None
    ) -> list[str]:
        """`chain` oldest first, into `target`. `tablespaces` maps where one lies in the last of the chain to where it is to lie.

        Files that need no change are linked where this version can: what they are linked to is thrown away.
        """
        argv = [str(self.path), "--no-sync", f"--output={os.fspath(target)}"]
        if self.knows("--link"):
            argv.append("--link")
        for old, new in (tablespaces or {}).items():
            argv.append(f"--tablespace-mapping={_escaped(old)}={_escaped(new)}")
        return [*argv, "--", *(os.fspath(link) for link in chain)]


def _escaped(path: str) -> str:
    """An equals sign divides the two paths, unless a backslash stands before it."""
    return path.replace("=", "\\=")
