# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The row that must be there and the one that must not: what tells one moment from another, in the operator's own words."""

from __future__ import annotations

from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, Check, CheckResult, Restored
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.sql import query_rows
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many, shortened

__all__ = ["Marker", "markers"]


class Marker(Check):
    """A query that gives something, or must give nothing. One value that is null, false or 0 is nothing.

    A table that is not there at all is no answer: the query cannot run, and the check is unverified.
    """

    def __init__(self, query: str, must_exist: bool) -> None:
        self.name = f"{'must exist' if must_exist else 'must not exist'}: {shortened(' '.join(query.split()), 80)}"
        self._query, self._must_exist = query, must_exist

    def run(self, restored: Restored) -> CheckResult:
        columns, rows = query_rows(restored.conn, self._query)
        there = _there(columns, rows)
        found = ("one value" if len(columns) == 1 and len(rows) == 1 else many(len(rows), "row")) if there else "nothing"
        expected = "something" if self._must_exist else "nothing"
        return CheckResult(self.name, PASSED if there == self._must_exist else FAILED, expected, found)


def markers(must_exist: tuple[str, ...], must_not_exist: tuple[str, ...]) -> list[Check]:
    """All of them, as checks."""
    return [*(Marker(query, True) for query in must_exist), *(Marker(query, False) for query in must_not_exist)]


def _there(columns: list[str], rows: list[tuple[Any, ...]]) -> bool:
    if len(columns) == 1 and len(rows) == 1:
        return bool(rows[0][0])
    return bool(rows)
