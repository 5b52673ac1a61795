# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence that is no equation: what two snapshots around a position say of the state there. Pure.

A number between the two is as it should be. One outside may be loss, or rows that came and went between the two snapshots: nobody can
know, so it is unverified, never failed and never passed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import Evidence, TableRows
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

__all__ = ["only_bounded", "within_bounds"]

_SHOWN = 10


def within_bounds(expected: Evidence, found: Mapping[str, TableRows]) -> CheckResult:
    """The rows of each table between those of the two snapshots; `found` are the restored ones by name."""
    later = expected.later_rows or {}
    outside, open_, equal = [], [], 0
    for table in expected.tables:
        there = found[table.label].rows if table.label in found else None
        if table.rows is None or table.label not in later:
            open_.append(f"{table.label} was not counted twice in production")
        elif there is None:
            outside.append(f"{table.label}: no such table")
        elif not min(table.rows, later[table.label]) <= there <= max(table.rows, later[table.label]) and not table.rehashed:
            outside.append(f"{table.label}: {there}, and not from {table.rows} to {later[table.label]}")
        elif table.rows == later[table.label]:
            equal += 1
    names = {table.label for table in expected.tables}
    outside += [f"{label}: not there before" for label in found if label not in names]
    verdict = UNVERIFIED if outside or open_ else PASSED
    told = [*outside[:_SHOWN], *([f"and {len(outside) - _SHOWN} more"] if len(outside) > _SHOWN else []), *open_[:_SHOWN]]
    if outside:
        told.append("rows that came and went between the two snapshots would explain it, and so would loss")
    bounds = f"bounds, not numbers: {many(len(names), 'table')} between two snapshots, {equal} of them without a difference"
    return CheckResult("row counts", verdict, bounds, f"{len(outside)} outside of the bounds", "; ".join(told))


def only_bounded(result: CheckResult) -> CheckResult:
    """What differs from one snapshot may have changed before the position came: unverified, and said why."""
    if result.verdict != FAILED:
        return result
    said = "it may have changed between the snapshot and the position, which are not the same moment"
    return dataclasses.replace(result, verdict=UNVERIFIED, detail="; ".join(filter(None, (result.detail, said))))
