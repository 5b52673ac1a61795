# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Between two snapshots a number is within its bounds or outside: passed or unverified, never failed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.bounds import only_bounded, within_bounds
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import TableRows


def bounded(before: int | None, after: int | None, found: int | None) -> CheckResult:
    """What is said of one table that had so many rows before and after, and has so many now (None: not counted, or no such table)."""
    later = {} if after is None else {"shop.orders": after}
    expected: Any = SimpleNamespace(tables=(TableRows("shop", "orders", before),), later_rows=later)
    return within_bounds(expected, {} if found is None else {"shop.orders": TableRows("shop", "orders", found)})


@pytest.mark.parametrize(
    ("before", "after", "found", "verdict", "says"),
    [
        (5, 9, 5, "passed", ""),
        (5, 9, 9, "passed", ""),
        (9, 5, 7, "passed", ""),
        (7, 7, 7, "passed", ""),
        (5, 9, 4, "unverified", "shop.orders: 4, and not from 5 to 9"),
        (5, 9, 10, "unverified", "rows that came and went"),
        (7, 7, 6, "unverified", "so would loss"),
        (5, 9, None, "unverified", "shop.orders: no such table"),
        (None, 9, 9, "unverified", "was not counted twice"),
        (5, None, 5, "unverified", "was not counted twice"),
    ],
)
def test_bounds(before: int | None, after: int | None, found: int | None, verdict: str, says: str) -> None:
    result = bounded(before, after, found)
    assert (result.verdict, says in result.detail) == (verdict, True)
    assert result.expected.startswith("bounds, not numbers: 1 table between two snapshots")


def test_a_table_that_was_not_there_before_is_said() -> None:
    expected: Any = SimpleNamespace(tables=(), later_rows={})
    result = within_bounds(expected, {"shop.new": TableRows("shop", "new", 1)})
    assert (result.verdict, "shop.new: not there before" in result.detail) == ("unverified", True)


def test_what_differs_otherwise_is_unverified_and_what_does_not_stays() -> None:
    assert only_bounded(CheckResult("schema", "passed", "", "")).verdict == "passed"
    result = only_bounded(CheckResult("schema", "failed", "", "", "table x is missing"))
    assert (result.verdict, result.detail.startswith("table x is missing; it may have changed")) == ("unverified", True)
