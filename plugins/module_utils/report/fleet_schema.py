# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's document read back: no field missing, none surplus, each of its own type. Pure."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import strict
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import VERDICTS
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ManifestError
from ansible_collections.lifeboat.postgres.plugins.module_utils.monitoring.judge import STATES
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet import (
    SCHEMA,
    Archive,
    Asset,
    Audited,
    Day,
    Drills,
    Fleet,
    Judged,
    Key,
    Measured,
    Place,
    Promised,
    System,
    Window,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import Reader

__all__ = ["read_fleet", "read_system"]


def read_system(document: Any, where: str = "") -> System:
    """One system's part; raises `ManifestError` that names what is wrong and `where`."""
    found: System = _read(_system, document, where)
    return found


def read_fleet(data: bytes, where: str = "") -> Fleet:
    """A stored document; raises `ManifestError`."""
    try:
        document = json.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, ValueError):
        raise ManifestError("the fleet's report is not JSON", where) from None
    found: Fleet = _read(strict.nested(Fleet, {"systems": strict.tuple_of(_system)}), document, where)
    return found


def _read(reader: Reader, document: Any, where: str) -> Any:
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        hint = "Use the same lifeboat.postgres everywhere."
        raise ManifestError(f"the fleet's report has schema {schema!r}, this version reads {SCHEMA}", where, hint)
    try:
        return reader({key: value for key, value in document.items() if key != "schema"})
    except ValueError as error:
        raise ManifestError(f"the fleet's report is not well formed: {error}", where) from None


def _date(value: Any) -> str:
    try:
        return dt.datetime.strptime(strict.text(value), "%Y-%m-%d").date().isoformat()
    except ValueError:
        raise ValueError("expected a day as 2026-11-21") from None


def _drill(value: Any) -> DrillReport:
    try:
        return DrillReport.from_document(value)
    except ManifestError as error:
        raise ValueError(error.what) from None


_SECONDS = strict.optional(strict.number)
_MOMENT = strict.optional(strict.moment)
_PROMISED = strict.nested(
    Promised,
    {
        "rpo_seconds": _SECONDS, "rto_seconds": _SECONDS, "freshness_seconds": _SECONDS, "drill_every_seconds": _SECONDS,
        "wal": strict.boolean,
    },
)  # fmt: skip
_DAY = strict.nested(Day, {"date": _date, "good": strict.count, "bad": strict.count, "size_bytes": strict.count})
_PLACE = strict.nested(
    Place,
    {
        "backups": strict.count, "bad": strict.count, "size_bytes": strict.count, "oldest": _MOMENT, "newest": _MOMENT,
        "days": strict.tuple_of(_DAY),
    },
)  # fmt: skip
_ASSET = strict.nested(
    Asset,
    {
        "backups": strict.count, "newest_at": _MOMENT, "size_bytes": strict.count, "signed": strict.boolean,
        "points": strict.tuple_of(strict.moment),
    },
)  # fmt: skip
_WINDOW = strict.nested(
    Window, {"begins": strict.moment, "until": _MOMENT, "timeline": strict.count, "base_backups": strict.count, "current": strict.boolean}
)
_ARCHIVE = strict.nested(
    Archive,
    {
        "segments": strict.count, "size_bytes": strict.count, "newest_at": _MOMENT, "windows": strict.tuple_of(_WINDOW),
        "problems": strict.tuple_of(strict.text),
    },
)  # fmt: skip
_MEASURED = strict.nested(
    Measured,
    {
        "at": strict.moment, "verdict": strict.one_of(VERDICTS), "good": strict.boolean, "rto_seconds": _SECONDS, "rpo_seconds": _SECONDS,
        "rto_promised": _SECONDS, "rpo_promised": _SECONDS,
    },
)  # fmt: skip
_AUDITED = strict.nested(Audited, {"verdict": strict.one_of(("good", "weak", "unknown"))})
_JUDGED = strict.nested(Judged, {"state": strict.one_of(STATES), "moment": _MOMENT, "limit_seconds": _SECONDS, "size_bytes": strict.count})
_FIELDS: Mapping[str, Reader] = {
    "looked_at": strict.moment,
    "objective": _PROMISED,
    "places": strict.tuple_of(_PLACE),
    "assets": strict.tuple_of(_ASSET),
    "archives": strict.tuple_of(_ARCHIVE),
    "drills": strict.tuple_of(strict.nested(Drills, {"last": strict.optional(_drill), "history": strict.tuple_of(_MEASURED)})),
    "protected_keys": strict.tuple_of(strict.nested(Key)),
    "audit": strict.tuple_of(_AUDITED),
    "freshness": strict.tuple_of(_JUDGED),
    "unknown": strict.tuple_of(strict.text),
}


def _system(value: Any) -> System:
    return strict.fields(System, value, _FIELDS)
