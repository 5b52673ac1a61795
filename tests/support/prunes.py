# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories with a history of backups, as time would have made them, for tests of what may go."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest, WalRange
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import segment_name
from support.shelf import Shelf

__all__ = ["DAY", "directory", "exists", "fill", "fill_bases", "ids", "name_keys", "put_wal", "set_stored"]

DAY = dt.timedelta(days=1)
SEGMENT_BYTES = 1024 * 1024


def directory(path: Path, **terms: Any) -> dict[str, Any]:
    path.mkdir(mode=0o700)
    return {"type": "posix", "path": str(path), **terms}


def fill(
    shelf: Shelf, count: int, *, place: str = "here", every: dt.timedelta = DAY, newest: dt.timedelta = DAY / 24, **more: Any
) -> list[Manifest]:
    """So many backups, the newest an hour ago, newest first; in a directory each is as old as it says."""
    made, latest = [], now() - newest  # asked once: all are of one time of the day, also around midnight
    for number in range(count):
        manifest = shelf.backup(at=latest - number * every, into=[place], **more)
        set_stored(shelf, place, manifest)
        made.append(manifest)
    return made


def set_stored(shelf: Shelf, place: str, manifest: Manifest, at: dt.datetime | None = None) -> None:
    """Give the files of a backup in a directory the time at which they would have been written."""
    if shelf.specs[place]["type"] != "posix":
        return
    root, stamp = Path(shelf.specs[place]["path"]), (at or manifest.finished_at).timestamp()
    for path in [root / layout.manifest_key(manifest.ref), *(root / layout.backup_prefix(manifest.ref)).glob("*")]:
        if path.exists():
            os.utime(path, (stamp, stamp))


def fill_bases(shelf: Shelf, parents: Sequence[int | None], segments: Sequence[int], place: str = "here") -> list[Manifest]:
    """Base backups, one a day, oldest first: each on the one of that number, from that segment on."""
    made: list[Manifest] = []
    latest = now() - dt.timedelta(hours=1)
    for number, (parent, segment) in enumerate(zip(parents, segments)):
        moment = latest - (len(segments) - 1 - number) * DAY
        plain = shelf.backup(at=moment, into=[place], kind="base", name="cluster")
        first, last = (segment_name(1, found, SEGMENT_BYTES) for found in (segment, segment + 1))
        wal = WalRange(1, f"0/{segment * SEGMENT_BYTES:X}", f"0/{(segment + 1) * SEGMENT_BYTES + 16:X}", first, last, SEGMENT_BYTES)
        manifest = dataclasses.replace(plain, parent="" if parent is None else made[parent].backup_id, wal=wal)
        shelf.overwrite(place, layout.manifest_key(manifest.ref), manifest.to_bytes())
        set_stored(shelf, place, manifest)
        made.append(manifest)
    return made


def put_wal(shelf: Shelf, segments: Iterable[int], place: str = "here") -> dict[Any, str]:
    """Files of an archive: segments of timeline 1, and a history that has to stay; their keys."""
    keys: dict[Any, str] = {"history": layout.wal_key("shop", "00000001.history", "0" * 64, ".zst.age")}
    keys.update({number: layout.wal_key("shop", segment_name(1, number, SEGMENT_BYTES), "0" * 64, ".zst.age") for number in segments})
    for key in keys.values():
        shelf.repositories[place].put(key, b"sealed")
    return keys


def name_keys(shelf: Shelf, place: str, manifest: Manifest, keys: dict[str, str]) -> None:
    """Have a backup's manifest say which keys it needs, or holds."""
    shelf.overwrite(place, layout.manifest_key(manifest.ref), dataclasses.replace(manifest, keys=keys).to_bytes())
    set_stored(shelf, place, manifest)


def exists(shelf: Shelf, manifest: Manifest, place: str = "here") -> bool:
    return shelf.repositories[place].stat(layout.manifest_key(manifest.ref)) is not None


def ids(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["backup_id"] for entry in entries]
