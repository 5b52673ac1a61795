# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of the systems of a fleet, as one document (docs/report.md): of each what was promised, what was measured, and
what was found. Writing is stable, reading (report/fleet_schema.py) is strict.

Only facts and moments are in it, no ages: the same facts give the same document whenever somebody looks. It holds names of
tables, as drill reports do, and never a key, a password or a plaintext.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.audit.rules import Finding as Audited
from ansible_collections.lifeboat.postgres.plugins.module_utils.monitoring.judge import Finding as Judged
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

__all__ = [
    "SCHEMA", "Archive", "Asset", "Audited", "Day", "Drills", "Fleet", "Judged", "Key", "Measured", "Place", "Promised", "System", "Window",
]  # fmt: skip

SCHEMA = 1
NEVER = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


@dataclass(frozen=True)
class Promised:
    """The objective: `tier` is "" for one of its own. Seconds are None for what was not promised, all of them when nothing was."""

    tier: str = ""
    rpo_seconds: float | None = None
    rto_seconds: float | None = None
    freshness_seconds: float | None = None
    drill_every_seconds: float | None = None
    wal: bool = False

    @property
    def anything(self) -> bool:
        return self.freshness_seconds is not None


@dataclass(frozen=True)
class Day:
    """The backups of one UTC day in one repository, by the moment whose state they hold."""

    date: str
    good: int
    bad: int
    size_bytes: int


@dataclass(frozen=True)
class Place:
    """A repository: `problem` says why it could not be listed, "" when it could. `backups`, of which `bad` are not good, take
    `size_bytes`; `days` are the newest ones that have any, oldest first. `copy_from` is "" for one that backups are written to."""

    name: str
    type: str
    copy_from: str = ""
    problem: str = ""
    backups: int = 0
    bad: int = 0
    size_bytes: int = 0
    oldest: dt.datetime | None = None
    newest: dt.datetime | None = None
    days: tuple[Day, ...] = ()


@dataclass(frozen=True)
class Asset:
    """What is backed up: the newest good backup (`newest_id` is "" where none is), and the moments that good ones hold (`points`,
    the newest ones of them, oldest first)."""

    kind: str
    name: str
    backups: int
    newest_id: str
    newest_at: dt.datetime | None
    size_bytes: int
    server_version: str
    encryption: str
    signed: bool
    points: tuple[dt.datetime, ...]


@dataclass(frozen=True)
class Window:
    """One can recover to any moment from `begins` (a base backup's) to about `until` (when the last segment arrived)."""

    begins: dt.datetime
    until: dt.datetime | None
    timeline: int
    base_backups: int
    current: bool


@dataclass(frozen=True)
class Archive:
    """The archived log in one repository. `problems` are sentences; without one it is good."""

    repository: str
    segments: int
    size_bytes: int
    newest_at: dt.datetime | None
    windows: tuple[Window, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """What one drill came to: both times in seconds with what was promised then; None for what it did not measure."""

    at: dt.datetime
    verdict: str
    good: bool
    rto_seconds: float | None
    rpo_seconds: float | None
    rto_promised: float | None
    rpo_promised: float | None


@dataclass(frozen=True)
class Drills:
    """The drills of one asset: the last one as it was reported, None where there was none, and the figures of all, oldest first."""

    kind: str
    name: str
    last: DrillReport | None
    history: tuple[Measured, ...]


@dataclass(frozen=True)
class Key:
    """A key of the application in one vault: its newest backup (`backup_id` is "" where there is none) and its fingerprint.

    `needed` is the fingerprint that the newest backups of the data name, "" when none does. `vault` is "" when no vault was
    looked into. `problem` is "" when the vault holds what is needed, whole.
    """

    name: str
    vault: str
    backup_id: str
    fingerprint: str
    needed: str
    problem: str


@dataclass(frozen=True)
class System:
    """Everything about one system, as `host` saw it at `looked_at`. `unknown` are sentences about what could not be looked at."""

    system: str
    host: str
    looked_at: dt.datetime
    lifeboat_version: str
    objective: Promised = Promised()
    places: tuple[Place, ...] = ()
    assets: tuple[Asset, ...] = ()
    archives: tuple[Archive, ...] = ()
    drills: tuple[Drills, ...] = ()
    protected_keys: tuple[Key, ...] = ()
    audit: tuple[Audited, ...] = ()
    freshness: tuple[Judged, ...] = ()
    unknown: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Plain JSON data that every encoder takes."""
        document: dict[str, Any] = {"schema": SCHEMA, **_plain(self)}
        return document


@dataclass(frozen=True)
class Fleet:
    """The systems, each only once, by name."""

    systems: tuple[System, ...]

    @classmethod
    def of(cls, systems: Iterable[System]) -> Fleet:
        """Of a system that several hosts looked at, the look that left the least open, then the youngest."""
        best: dict[str, System] = {}
        for one in systems:
            known = best.get(one.system)
            if known is None or (len(one.unknown), -one.looked_at.timestamp()) < (len(known.unknown), -known.looked_at.timestamp()):
                best[one.system] = one
        return cls(tuple(best[name] for name in sorted(best)))

    def same_facts(self, other: Fleet) -> bool:
        """Whether the two differ in nothing but who looked, and when."""
        return _timeless(self) == _timeless(other)

    def to_bytes(self) -> bytes:
        """The document as it is stored: UTF-8 JSON with sorted keys."""
        document = {"schema": SCHEMA, **_plain(self)}
        return json.dumps(document, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False).encode() + b"\n"


def _timeless(fleet: Fleet) -> tuple[System, ...]:
    return tuple(dataclasses.replace(one, looked_at=NEVER, host="") for one in fleet.systems)


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return format_moment(value)
    if isinstance(value, DrillReport):
        return _plain(value.to_document())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str):  # half of a surrogate pair, as JSON can hold it, is no text that can be sent anywhere
        return value.encode("utf-8", "replace").decode("utf-8")
    return value
