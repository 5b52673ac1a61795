# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a base backup says of itself: where in the log it begins and ends. Pure.

`backup_label` says where recovery begins, and what an incremental one builds on (xlogbackup.c). `backup_manifest` closes with the
range of log that is needed, and with a checksum over all of itself (backup_manifest.c); its many lines of files are not read here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import BackupGuardError
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import WalRange
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn, segment_name

__all__ = ["Label", "LogRange", "read_label", "read_ranges", "segments_of", "wal_range"]

_LIMIT_BYTES = 1024 * 1024
_CHECKSUM = re.compile(rb'^"Manifest-Checksum": "([0-9a-f]{64})"\}\n$')
_RANGES = re.compile(rb'"WAL-Ranges": (\[.*?\]),\n$', re.DOTALL)


@dataclass(frozen=True)
class Label:
    """Where recovery begins. `builds_on` is where the parent of an incremental backup began, None for a full one."""

    start: Lsn
    timeline: int
    from_standby: bool
    builds_on: Lsn | None


@dataclass(frozen=True)
class LogRange:
    """Log of one timeline, from `start` to `end`."""

    timeline: int
    start: Lsn
    end: Lsn


def read_label(text: str) -> Label:
    """Raises `BackupGuardError` for what is no backup_label."""
    lines = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    try:
        builds_on = lines.get("INCREMENTAL FROM LSN")
        return Label(
            Lsn.parse(lines["START WAL LOCATION"].split(" ", 1)[0]),
            int(lines["START TIMELINE"]),
            lines.get("BACKUP FROM") == "standby",
            None if builds_on is None else Lsn.parse(builds_on),
        )
    except (KeyError, ValueError) as error:
        raise _wrong(f"backup_label cannot be read: {error}") from None


def read_ranges(manifest: BinaryIO) -> tuple[LogRange, ...]:
    """The ranges of log at the end of a backup_manifest, oldest first; all of it is read. Raises `BackupGuardError`.

    `manifest` is at its beginning. A manifest whose own checksum does not hold was cut or altered on its way.
    """
    digest, tail = hashlib.sha256(), b""
    while chunk := manifest.read(_LIMIT_BYTES):
        tail += chunk
        if len(tail) > _LIMIT_BYTES:
            digest.update(tail[:-_LIMIT_BYTES])
            tail = tail[-_LIMIT_BYTES:]
    at = tail.rfind(b'"Manifest-Checksum"')
    said = _CHECKSUM.match(tail[at:]) if at >= 0 else None
    if said is None:
        raise _wrong("backup_manifest ends early")
    digest.update(tail[:at])
    if digest.hexdigest().encode() != said.group(1):
        raise _wrong("backup_manifest differs from its own checksum")
    begin = tail.rfind(b'"WAL-Ranges"', 0, at)
    found = _RANGES.match(tail[begin:at]) if begin >= 0 else None
    try:
        items = [] if found is None else json.loads(found.group(1))
        ranges = tuple(LogRange(int(item["Timeline"]), Lsn.parse(item["Start-LSN"]), Lsn.parse(item["End-LSN"])) for item in items)
    except (KeyError, TypeError, ValueError) as error:
        raise _wrong(f"the range of log in backup_manifest cannot be read: {error}") from None
    if not ranges:
        raise _wrong("backup_manifest names no range of log")
    # The server lists the newest timeline first.
    return tuple(sorted(ranges, key=lambda item: (item.timeline, item.start)))


def segments_of(ranges: Sequence[LogRange], segment_bytes: int) -> list[str]:
    """Names of the segments that the ranges need, in order, each once."""
    names = [
        segment_name(item.timeline, number, segment_bytes)
        for item in ranges
        for number in range(item.start.segment(segment_bytes), item.end.segment_before(segment_bytes) + 1)
    ]
    return list(dict.fromkeys(names))


def wal_range(ranges: Sequence[LogRange], segment_bytes: int, included: bool) -> WalRange:
    """What the manifest of the backup says of its log; the timeline is the one that it ends on."""
    names = segments_of(ranges, segment_bytes)
    return WalRange(ranges[-1].timeline, str(ranges[0].start), str(ranges[-1].end), names[0], names[-1], segment_bytes, included)


def _wrong(what: str) -> BackupGuardError:
    return BackupGuardError(f"the base backup is not whole: {what}", "base backup", "Nothing was kept; run again.")
