# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Life in the data: the newest row is young, measured at the moment of the snapshot and not by today's clock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options as take
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, Check, CheckResult, Restored
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.relations import compose, find_table, identifier, literal
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration, many

__all__ = ["Recent"]

CLOCK_TOLERANCE = dt.timedelta(seconds=60)
"""Rows are often stamped by an application on another host, whose clock may be a little ahead of the database's."""

_ZONED = "timestamp with time zone"
_MOMENTS = {
    _ZONED: "{column}",
    "timestamp without time zone": "({column} AT TIME ZONE {zone})",
    "date": "({column}::pg_catalog.timestamp AT TIME ZONE {zone})",
}
# max() with a plain comparison finds the newest row through an index; infinity is no moment. The age is taken by the
# server, since Python's datetime ends at the year 9999.
_NEWEST = """
    SELECT extract(epoch FROM {snapshot} - max({moment})) FROM {table}
    WHERE {moment} <= {latest} AND {moment} > '-infinity'
"""
_LATER = "SELECT count(*) FROM {table} WHERE {moment} > {latest}"


class Recent(Check):
    """`{recent: {table: orders, column: created_at, max_age: 24h, time_zone: UTC}}`"""

    def __init__(self, options: Mapping[str, Any], where: str) -> None:
        self.table: str = take.text(options, "table", where)
        self.column: str = take.text(options, "column", where)
        self.max_age_seconds: float = take.duration_seconds(options, "max_age", where)
        self.time_zone: str = take.text(options, "time_zone", where, "UTC")
        self.name = f"recent {self.table}.{self.column}"

    def run(self, restored: Restored) -> CheckResult:
        table = find_table(restored.conn, self.table)
        column = table.column(self.column, restored.conn)
        if column.base not in _MOMENTS:
            raise ConfigurationError(f"{self.column} is {column.type}, not a moment or a date", str(table), "For others use an sql check.")
        moment = compose(_MOMENTS[column.base], column=identifier(column.name), zone=literal(self.time_zone))
        latest = literal(restored.snapshot_at + CLOCK_TOLERANCE)
        snapshot = literal(restored.snapshot_at)
        [(age,)] = restored.conn.execute(compose(_NEWEST, moment=moment, table=table.identifier, snapshot=snapshot, latest=latest))
        [(later,)] = restored.conn.execute(compose(_LATER, moment=moment, table=table.identifier, latest=latest))

        expected = f"a row at most {duration(self.max_age_seconds)} old at the snapshot"
        detail = ""
        if later:
            detail = f"left out: {many(later, 'row')} after the snapshot; a clock is wrong, or the column is not when a row was written"
        if age is None:
            return CheckResult(self.name, FAILED, expected, "no row from before the snapshot", detail)
        verdict = PASSED if age <= self.max_age_seconds else FAILED
        return CheckResult(self.name, verdict, expected, f"the newest row is {duration(max(float(age), 0))} old", detail)
