# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a drill found, as one document (docs/format.md): the contract between the drill and everyone who reads it.

Reading is strict, writing is stable. A report holds names of tables and counts, so it is treated like evidence: it goes to the
report repository, never beside the backups. It never holds a key, a password or a plaintext.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import strict
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import VERDICTS, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ManifestError
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.verdict import Objective, is_good
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

__all__ = ["SCHEMA", "DrillReport", "Isolation", "Objective", "Phase", "PointInTime", "Teardown", "major_of"]

SCHEMA = 1


@dataclass(frozen=True)
class Phase:
    """One timed step of the drill, in the order in which it ran."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Isolation:
    """Whether the throwaway server had a way out. `how` names the means, `detail` what was tried and what is missing."""

    isolated: bool
    how: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Teardown:
    """Whether nothing is left; `left` names processes and directories that are."""

    complete: bool
    seconds: float = 0.0
    left: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class PointInTime:
    """What a point-in-time recovery was asked for, and what it came to.

    `target` and `stopped` are sentences, `stopped` in PostgreSQL's own words. `chain` are the base backups it began with, a
    full one first. `first_segment` to `last_segment` is the log that the archive held for it, of which `segments` were
    replayed. One can recover to any moment from `window_from` (when the base ended) to about `window_until` (when the last
    segment arrived); `gap_seconds` is the longest time between two arrivals. `last_commit` is the last one that was
    replayed, `heartbeat` the last beat that came through. Empty, 0 or None is what the drill did not come to know.
    """

    target: str
    chain: tuple[str, ...] = ()
    timeline: int = 0
    base_lsn: str = ""
    reached_lsn: str = ""
    stopped: str = ""
    last_commit: dt.datetime | None = None
    heartbeat: dt.datetime | None = None
    first_segment: str = ""
    last_segment: str = ""
    segments: int = 0
    window_from: dt.datetime | None = None
    window_until: dt.datetime | None = None
    gap_seconds: float | None = None


@dataclass(frozen=True)
class DrillReport:
    """One drill. Moments are aware and in UTC.

    `backup_id`, `repository`, `snapshot_at` are empty or None when the drill found no backup. `service_ready_seconds` is
    the RTO to a server that serves, `verified_seconds` the RTO to the last green check; None when the drill did not get
    there. `rpo_seconds` is how far the restored state lies behind `failure_at`, or None with `rpo_note`. `settings` are
    those of the throwaway server that differ from production's. `waived` lists guards that were waived by name. `recovery` is
    None for a dump. `server_version` is that of the server that was backed up, `postgresql` that of the throwaway one; "" is not
    known.
    """

    system: str
    kind: str
    name: str
    backup_id: str
    repository: str
    verdict: str
    reason: str
    objective: Objective
    service_ready_seconds: float | None
    verified_seconds: float | None
    rpo_seconds: float | None
    rpo_note: str
    phases: tuple[Phase, ...]
    checks: tuple[CheckResult, ...]
    isolation: Isolation
    settings: Mapping[str, str]
    snapshot_at: dt.datetime | None
    failure_at: dt.datetime | None
    started_at: dt.datetime
    finished_at: dt.datetime
    teardown: Teardown
    host: str
    lifeboat_version: str
    waived: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    recovery: PointInTime | None = None
    server_version: str = ""
    postgresql: str = ""

    @property
    def good(self) -> bool:
        """Passed, and every promise was kept (report/verdict.py)."""
        return is_good(self.verdict, self.objective)

    @property
    def upgrade(self) -> bool:
        """Whether it was drilled on another major version than the backup's: then it is not the drill of a cadence."""
        return bool(self.postgresql) and major_of(self.postgresql) != major_of(self.server_version)

    def to_document(self) -> dict[str, Any]:
        """The report as plain JSON data."""
        document: dict[str, Any] = {"schema": SCHEMA}
        for item in dataclasses.fields(self):
            document[item.name] = _plain(getattr(self, item.name))
        return document

    def to_bytes(self) -> bytes:
        """The report as it is stored: UTF-8 JSON with sorted keys."""
        return json.dumps(self.to_document(), sort_keys=True, indent=2, ensure_ascii=True, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_document(cls, document: Any, where: str = "") -> DrillReport:
        """Read a report strictly; raises `ManifestError` that names what is wrong and `where`."""
        if not isinstance(document, dict):
            raise ManifestError("the drill report is not a JSON object", where)
        schema = document.get("schema")
        if schema != SCHEMA:
            raise ManifestError(
                f"the drill report has schema {schema!r}, this version reads {SCHEMA}", where, "Use a newer lifeboat.postgres."
            )
        try:
            return strict.fields(cls, {**_LATER, **{key: value for key, value in document.items() if key != "schema"}}, _READERS)
        except ValueError as error:
            raise ManifestError(f"the drill report is not well formed: {error}", where) from None

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "") -> DrillReport:
        """Read a stored report strictly; raises `ManifestError`."""
        try:
            document = json.loads(data.decode("utf-8"))
        except (UnicodeDecodeError, ValueError):
            raise ManifestError("the drill report is not JSON", where) from None
        return cls.from_document(document, where)


def major_of(version: str) -> int:
    """The major version in "18.6" or "15.14 (Debian …)", 0 for a text that does not begin with one."""
    match = re.match(r"\d+", version)
    return int(match.group()) if match else 0


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return format_moment(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return dict(value)
    return value


_LATER = {"server_version": "", "postgresql": ""}
"""What reports did not have from the first day on."""
_SECONDS = strict.optional(strict.number)
_READERS: dict[str, Any] = {
    "verdict": strict.one_of(VERDICTS),
    "objective": strict.nested(Objective, {"rpo_seconds": _SECONDS, "rto_seconds": _SECONDS, "met": strict.optional(strict.boolean)}),
    "service_ready_seconds": _SECONDS,
    "verified_seconds": _SECONDS,
    "rpo_seconds": _SECONDS,
    "phases": strict.tuple_of(strict.nested(Phase, {"seconds": strict.number})),
    "checks": strict.tuple_of(strict.nested(CheckResult, {"verdict": strict.one_of(VERDICTS)})),
    "isolation": strict.nested(Isolation, {"isolated": strict.boolean}),
    "settings": strict.mapping(strict.text),
    "snapshot_at": strict.optional(strict.moment),
    "failure_at": strict.optional(strict.moment),
    "started_at": strict.moment,
    "finished_at": strict.moment,
    "teardown": strict.nested(Teardown, {"complete": strict.boolean, "seconds": strict.number, "left": strict.tuple_of(strict.text)}),
    "waived": strict.tuple_of(strict.text),
    "warnings": strict.tuple_of(strict.text),
    "recovery": strict.optional(
        strict.nested(
            PointInTime,
            {
                "chain": strict.tuple_of(strict.text),
                "timeline": strict.count,
                "segments": strict.count,
                "last_commit": strict.optional(strict.moment),
                "heartbeat": strict.optional(strict.moment),
                "window_from": strict.optional(strict.moment),
                "window_until": strict.optional(strict.moment),
                "gap_seconds": _SECONDS,
            },
        )
    ),
}
