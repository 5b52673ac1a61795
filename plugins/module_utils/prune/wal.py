# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The write-ahead log that no kept base backup can need: what lies before the first segment of the oldest one, and nothing else.

Replay only goes forward, on whatever timeline, so one number of a segment divides the archive. Histories stay: they are small, and
without them no timeline can be followed. A listing is read up to that number only, and nothing of it is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import UnsafeName
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository, StoredVersion
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import HISTORY, WalName, segment_name

__all__ = ["Cut", "OldWal", "cut_of", "old_wal"]

_TIMELINES_ASKED = 100
"""Up to so many timelines are listed one by one, each only as far as it is needed."""
_AT_ONCE = 1000


@dataclass(frozen=True)
class Cut:
    """Segments before number `before` can go, on timelines up to `timeline`; `backup_id` is the base backup that needs what follows."""

    before: int
    timeline: int
    segment_bytes: int
    backup_id: str

    @property
    def first_kept(self) -> str:
        return segment_name(self.timeline, self.before, self.segment_bytes)


@dataclass
class OldWal:
    """What went, or would go: files with their bytes; `first` and `last` are names. What a lock keeps is in `locked` only."""

    files: int = 0
    size_bytes: int = 0
    first: str = ""
    last: str = ""
    hidden: int = 0
    locked: int = 0

    def count(self, name: str, version: StoredVersion) -> None:
        if version.latest and not version.marker:
            self.files += 1
            self.size_bytes += version.size_bytes
            self.first, self.last = self.first or name, name


def cut_of(bases: Iterable[Manifest]) -> Cut | str:
    """Where to cut by the base backups that stay, or why not at all."""
    oldest: Cut | None = None
    timeline = 0
    for manifest in bases:
        wal = manifest.wal
        if wal is None:
            return f"base backup {manifest.backup_id} does not say which log it needs"
        if oldest is not None and wal.segment_bytes != oldest.segment_bytes:
            return "the base backups have segments of different sizes"
        timeline = max(timeline, wal.timeline)
        try:
            first = WalName.parse(wal.first).number(wal.segment_bytes)
        except UnsafeName:
            return f"base backup {manifest.backup_id} names no segment that it begins with"
        if oldest is None or first < oldest.before:
            oldest = Cut(first, wal.timeline, wal.segment_bytes, manifest.backup_id)
    if oldest is None:
        return "no base backup is kept here"
    return Cut(oldest.before, timeline, oldest.segment_bytes, oldest.backup_id)


def old_wal(repository: Repository, system: str, cut: Cut, remove: bool) -> OldWal:
    """Remove what lies before the cut, the oldest first, or only count it."""
    found = OldWal()
    batch: list[tuple[str, StoredVersion]] = []
    for name, version in _before(repository, system, cut, remove):
        if not remove:
            found.count(name, version)
            continue
        batch.append((name, version))
        if len(batch) >= _AT_ONCE:
            _erase(repository, batch, found)
    if batch:
        _erase(repository, batch, found)
    return found


def _erase(repository: Repository, batch: list[tuple[str, StoredVersion]], found: OldWal) -> None:
    erased = repository.erase([version for _name, version in batch])
    found.hidden += erased.hidden
    found.locked += len(erased.locked)
    locked = set(erased.locked)
    for name, version in batch:
        if version.key not in locked:
            found.count(name, version)
    batch.clear()


def _before(repository: Repository, system: str, cut: Cut, remove: bool) -> Iterator[tuple[str, StoredVersion]]:
    one_by_one = cut.timeline <= _TIMELINES_ASKED
    prefixes = [layout.wal_prefix(system, number) for number in range(1, cut.timeline + 1)] if one_by_one else [layout.wal_prefix(system)]
    for prefix in prefixes:
        for version in _listed(repository, prefix, remove):
            parts = layout.parse_wal_key(version.key)
            found = None if parts is None else _parsed(parts[0], cut.segment_bytes)
            if parts is None or found is None or found[0] > cut.timeline:
                continue
            if found[1] < cut.before:
                yield parts[0], version
            elif one_by_one:
                break  # names of a timeline sort by their place in the log


def _listed(repository: Repository, prefix: str, remove: bool) -> Iterator[StoredVersion]:
    if remove:
        return repository.everything(prefix)
    return (StoredVersion(info.key, info.size_bytes, info.modified) for info in repository.list(prefix))


def _parsed(name: str, segment_bytes: int) -> tuple[int, int] | None:
    """The timeline and the segment's number; None for a history, and for what is no name of the log."""
    try:
        found = WalName.parse(name)
        return None if found.kind == HISTORY else (found.timeline, found.number(segment_bytes))
    except UnsafeName:
        return None
