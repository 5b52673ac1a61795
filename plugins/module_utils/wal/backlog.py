# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits to be archived: how much, since when, and what comes next.

`pg_stat_archiver` counts no failure above 125, and none of an archiver that hangs; the age of the oldest `.ready` file
cannot be wrong (docs/wal-archive.md). Memory is bounded, however long the list.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["AHEAD", "STATUS_DIR", "WAL_DIR", "Backlog", "is_ready", "look"]

WAL_DIR = "pg_wal"
STATUS_DIR = "pg_wal/archive_status"
_READY = ".ready"

AHEAD = 512
"""So many names are held at a time; there may be a hundred thousand."""


@dataclass(frozen=True)
class Backlog:
    """`names` are the first `AHEAD` of them, in the archiver's own order. The age is that of the oldest among those."""

    count: int
    size_bytes: int
    oldest: str
    oldest_seconds: float
    names: tuple[str, ...]


def look(data_dir: Path) -> Backlog:
    """Raises `OSError` when the directory cannot be read."""
    counted = 0

    def waiting() -> Iterator[str]:
        nonlocal counted
        with os.scandir(data_dir / STATUS_DIR) as entries:
            for entry in entries:
                if entry.name.endswith(_READY):
                    counted += 1
                    yield entry.name[: -len(_READY)]

    names = tuple(heapq.nsmallest(AHEAD, waiting(), key=_turn))
    since, oldest = min((_modified(data_dir / STATUS_DIR / (name + _READY)), name) for name in names) if names else (0.0, "")
    age = max(0.0, time.time() - since) if oldest else 0.0
    return Backlog(counted, counted * _segment_bytes(data_dir, names), oldest, age, names)


def is_ready(data_dir: Path, name: str) -> bool:
    """Whether the archiver still has this file to hand over: until then the server neither changes nor reuses it."""
    return os.access(data_dir / STATUS_DIR / (name + _READY), os.F_OK)


def _turn(name: str) -> tuple[bool, str]:
    """As the archiver: histories before everything else (src/backend/postmaster/pgarch.c, ready_file_comparator)."""
    return not name.endswith(".history"), name


def _modified(path: Path) -> float:
    # Taken by the archiver meanwhile: then it is as young as can be.
    with contextlib.suppress(OSError):
        return os.stat(path).st_mtime
    return time.time()


def _segment_bytes(data_dir: Path, names: tuple[str, ...]) -> int:
    """All segments of a cluster have one size; histories and labels are too small to count."""
    for name in names:
        with contextlib.suppress(OSError):
            if "." not in name:
                return os.stat(data_dir / WAL_DIR / name).st_size
    return 0
