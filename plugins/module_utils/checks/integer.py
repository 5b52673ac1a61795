# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Money in whole units: a column that can hold a fraction, or rounds one away, is not fit for cents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options as take
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, Check, CheckResult, Restored
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.relations import Column, find_table
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

__all__ = ["Integer"]


class Integer(Check):
    """`{integer: {table: orders, columns: [total_cents, tax_cents]}}`"""

    def __init__(self, options: Mapping[str, Any], where: str) -> None:
        self.table: str = take.text(options, "table", where)
        self.columns: tuple[str, ...] = take.texts(options, "columns", where)
        if not self.columns:
            raise ConfigurationError("columns is empty", where)
        listed = self.columns[0] if len(self.columns) == 1 else f"({', '.join(self.columns)})"
        self.name = f"integer {self.table}.{listed}"

    def run(self, restored: Restored) -> CheckResult:
        table = find_table(restored.conn, self.table)
        columns = [table.column(written, restored.conn) for written in self.columns]
        wrong = [column for column in columns if not _whole(column)]
        expected = "whole numbers" + (": smallint, integer, bigint or numeric(n,0)" if wrong else "")
        named = ", ".join(f"{column.name} is {column.type}" for column in wrong or columns)
        return CheckResult(self.name, FAILED if wrong else PASSED, expected, named)


def _whole(column: Column) -> bool:
    if column.base in ("smallint", "integer", "bigint"):
        return True
    # The modifier of numeric(p,s) is ((p << 16) | (s & 0x7ff)) + 4; without one (-1) any fraction fits.
    # PostgreSQL's manual, "Numeric Types"; numeric.c, make_numeric_typmod().
    return column.base == "numeric" and column.modifier >= 4 and (column.modifier - 4) & 0x7FF == 0
