# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several promises of one database, each asked by one statement: what was broken, what could not be asked, in few words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import psycopg
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.faults import first_line

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Asked"]

_SHOWN = 5


@dataclass
class Asked:
    """How many promises were asked, and the sentences about those that do not hold."""

    number: int = 0
    broken: list[str] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def ask(self, conn: Connection[Any], name: str, question: Callable[[], str], promised: bool = True) -> None:
        """Ask one: the sentence that comes back says what is broken, "" that nothing is. An error of PostgreSQL leaves this
        one open and goes on with the next; what nobody promised is only noted.
        """
        self.number += 1
        try:
            with conn.transaction():
                said = question()
        except psycopg().Error as error:
            if conn.closed:
                raise
            self.unasked.append(f"{name} could not be asked: {first_line(error)}")
            return
        if said:
            (self.broken if promised else self.notes).append(said)

    def result(self, name: str, expected: str, whole: str) -> CheckResult:
        """The check's answer; `whole` says what was found when nothing is broken."""
        detail = "; ".join([_some(self.unasked), _some(self.notes)]).strip("; ")
        if self.broken:
            return CheckResult(name, FAILED, expected, _some(self.broken), detail)
        if self.unasked:
            return CheckResult(name, UNVERIFIED, expected, f"{len(self.unasked)} of {self.number} could not be asked", detail)
        return CheckResult(name, PASSED, expected, whole, detail)


def _some(sentences: Sequence[str]) -> str:
    more = f" and {len(sentences) - _SHOWN} more" if len(sentences) > _SHOWN else ""
    return "; ".join(sentences[:_SHOWN]) + more
