# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers whose WAL goes by way of a spool, and the words of a job that ships it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.archive import WalArchive
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.spool import spool_command
from support.clusters import Server, _run, account, private_directory
from support.leaks import eventually
from support.logical import Identity

__all__ = ["SpoolingServer", "archived", "fill", "wal_job"]


def wal_job(repositories: Mapping[str, Any], identity: Identity, run_dir: Path, **more: Any) -> dict[str, Any]:
    """The options of a WAL job, as its file holds them."""
    return {
        "system": "shop",
        "repositories": dict(repositories),
        "encryption": {"recipients": [identity.recipient]},
        "compression_level": 1,
        "run_dir": str(run_dir),
        **more,
    }


def new_spool() -> Path:
    """A directory that the server's user may write."""
    spool = private_directory("lb-spool")
    entry = account()
    if entry is not None:
        os.chown(spool, entry.pw_uid, entry.pw_gid)
    return spool


class SpoolingServer(Server):
    """A server whose archive_command writes into `spool`, as one inside an image does."""

    def __init__(self, major: int = 18, settings: Mapping[str, str] | None = None, segment_megabytes: int = 16) -> None:
        self.spool = new_spool()
        self._segment_megabytes = segment_megabytes
        super().__init__(major, {"archive_mode": "on", "archive_command": spool_command(str(self.spool)), **(settings or {})})

    def start(self, wait: bool = True) -> None:
        if self.process is None and self._segment_megabytes != 16:
            resize(self, self._segment_megabytes)
        super().start(wait)

    def __enter__(self) -> SpoolingServer:
        return self


def resize(server: Server, segment_megabytes: int) -> None:
    """Give a server that was never started segments of another size: a copy of one that was initialised is quicker to make so."""
    _run([str(server.bin_dir / "pg_resetwal"), f"--wal-segsize={segment_megabytes}", "-D", str(server.data)])


def fill(server: Server, count: int = 1) -> list[str]:
    """Finish so many segments, each with something in it; their names."""
    names = []
    with server.connect() as connection:
        for _time in range(count):
            connection.execute("SELECT pg_create_restore_point('fill')")
            row = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
            names.append(str(row[0]) if row else "")
    return names


def archived(spec: Mapping[str, Any], system: str = "shop") -> list[str]:
    """The names in an archive, in their order."""
    with open_repository("reader", spec, read_only=True) as repository:
        return [stored.name.text for stored in WalArchive(repository, system).names()]


def spooled(server: SpoolingServer, names: list[str]) -> None:
    """Wait until the server has put these files into the spool and was told so."""

    log = server.data / "pg_wal"

    def done() -> bool:
        # A checkpoint removes what it needs no more, and the note that it was archived with it.
        return all((log / "archive_status" / f"{name}.done").exists() or not (log / name).exists() for name in names)

    eventually(done, f"{names} in the spool")
