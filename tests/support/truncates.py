# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody who truncates a table while a backup is at work: the TRUNCATE waits for locks, and later locks wait for it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from support.clusters import Server
from support.leaks import eventually

__all__ = ["programs_with", "queued_truncate"]


def programs_with(bin_dir: Path, folder: Path, first: str) -> Path:
    """A directory with a pg_dump that runs `first`, lines of sh, before it becomes the real one; its pg_restore is the real one."""
    folder.mkdir()
    (folder / "pg_restore").symlink_to(bin_dir / "pg_restore")
    real = bin_dir / "pg_dump"
    script = f"#!/bin/sh\ncase $1 in --version | --help) exec '{real}' \"$@\" ;; esac\n{first}\nexec '{real}' \"$@\"\n"
    (folder / "pg_dump").write_text(script)
    (folder / "pg_dump").chmod(0o755)
    return folder


@contextlib.contextmanager
def queued_truncate(server: Server, table: str, dbname: str) -> Iterator[None]:
    """A TRUNCATE that waits for locks when the block begins; it has ended when the block has."""
    truncate = threading.Thread(target=server.execute, args=(f"TRUNCATE {table}", dbname))
    truncate.start()
    try:
        with server.connect(dbname) as connection:
            waiting = (
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            eventually(lambda: connection.execute(waiting).fetchone() == (1,), "the TRUNCATE waits for our locks")
        yield
    finally:
        truncate.join(300)
