# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables that must hold something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options as take
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, Check, CheckResult, Restored
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.relations import RelationMissing, compose, find_table
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["NotEmpty"]


class NotEmpty(Check):
    """`{not_empty: {tables: [customers, orders]}}`"""

    def __init__(self, options: Mapping[str, Any], where: str) -> None:
        self.tables: tuple[str, ...] = take.texts(options, "tables", where)
        if not self.tables:
            raise ConfigurationError("tables is empty", where)
        self.name = f"not_empty {', '.join(self.tables)}"

    def run(self, restored: Restored) -> CheckResult:
        faults = [fault for table in self.tables for fault in self._faults(restored.conn, table)]
        if faults:
            more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
            return CheckResult(self.name, FAILED, "rows in every table", "; ".join(faults[:5]) + more)
        return CheckResult(self.name, PASSED, "rows in every table", "rows in every table")

    def _faults(self, conn: Connection[Any], written: str) -> list[str]:
        try:
            table = find_table(conn, written)
        except RelationMissing as error:
            # A table that is not there is as empty as can be: that is an answer, not a check that could not run.
            return [error.what]
        [(filled,)] = conn.execute(compose("SELECT EXISTS (SELECT FROM {table})", table=table.identifier))
        return [] if filled else [f"{written} has no row"]
