# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbering without a gap: invoices, vouchers, ledger entries.

Each group is numbered on its own. Nothing may be missing, doubled, empty or fractional, and each group has to begin and end
where production's did in the snapshot that was dumped: a numbering that lost its tail is gapless, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options as take
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, Check, CheckResult, Restored
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.numbering import SHOWN, Group, Numbering
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Gapless"]

NAMED_GROUPS = 1000
"""Up to so many groups the evidence holds each one; above it holds their number and one digest over all."""


class Gapless(Check):
    """`{gapless: {table: invoices, column: number, group_by: [year], start: 1}}`"""

    def __init__(self, options: Mapping[str, Any], where: str) -> None:
        self.table: str = take.text(options, "table", where)
        self.column: str = take.text(options, "column", where)
        self.group_by: tuple[str, ...] = take.texts(options, "group_by", where, ())
        self.start: int | None = take.integer(options, "start", where, None)
        self.name = f"gapless {self.table}.{self.column}" + (f" by {', '.join(self.group_by)}" if self.group_by else "")

    def evidence(self, conn: Connection[Any]) -> Any:
        """How each group begins and ends, and how many rows it has."""
        with conn.transaction():
            numbering = self._numbering(conn)
            return {"of": numbering.definition, **_ends(numbering.groups())}

    def run(self, restored: Restored) -> CheckResult:
        recorded = restored.recorded
        with restored.conn.transaction():
            numbering = self._numbering(restored.conn)
            faults = _Faults(self)
            found = _ends(faults.watch(numbering.groups()))
            problems = faults.sentences(numbering)
        expected = "no number missing, doubled or empty" + ("" if self.start is None else f", from {self.start}")
        seen = f"{many(faults.rows, 'row')}, {faults.span}"
        if recorded is None or recorded.get("of") != numbering.definition:
            if problems:
                return CheckResult(self.name, FAILED, expected, problems[0], "; ".join(problems))
            how = "not recorded" if recorded is None else "recorded by another definition"
            if recorded is None and restored.replayed_to:
                # Pages and log, and not rows that were asked for: what ends here ended here in production at that moment.
                return CheckResult(self.name, PASSED, expected, f"{seen}, no gap", f"it ends where the log did at {restored.replayed_to}")
            expected += ", to where production ended"
            return CheckResult(self.name, UNVERIFIED, expected, f"{seen}, no gap", f"where production ended was {how}")
        differences = list(self._differences(recorded, found))
        expected += f", to {_end_of(recorded)} as in production"
        if problems and not differences:
            problems.append("production had the very same numbering when it was dumped, so it was not lost on the way")
        problems += differences
        if problems:
            return CheckResult(self.name, FAILED, expected, problems[0], "; ".join(problems))
        return CheckResult(self.name, PASSED, expected, f"{seen}, no gap")

    def _numbering(self, conn: Connection[Any]) -> Numbering:
        return Numbering(conn, self.table, self.column, self.group_by)

    def _differences(self, recorded: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
        """How the groups' ends differ from production's, the first few by name."""
        if recorded["digest"] == found["digest"]:
            return
        if "groups" not in recorded or "groups" not in found:
            yield (
                f"the groups end elsewhere than production's: {many(found['count'], 'group')} with {many(found['rows'], 'row')}, "
                f"production had {recorded['count']} with {recorded['rows']}"
            )
            return
        before = {tuple(key): ends for key, *ends in recorded["groups"]}
        after = {tuple(key): ends for key, *ends in found["groups"]}
        differing = [key for key in [*before, *(key for key in after if key not in before)] if before.get(key) != after.get(key)]
        for key in differing[:SHOWN]:
            yield self.group_label(key) + _change(before.get(key), after.get(key))
        if len(differing) > SHOWN:
            yield f"and {len(differing) - SHOWN} more groups"

    def group_label(self, key: Sequence[Any]) -> str:
        """The group for a sentence: "year=2026: ", or "" where there is only one."""
        pairs = ", ".join(f"{column}={'NULL' if value is None else value}" for column, value in zip(self.group_by, key))
        return f"{pairs}: " if pairs else ""


class _Faults:
    """What is wrong within the groups that went by."""

    def __init__(self, check: Gapless) -> None:
        self._check = check
        self._groups = self._missing = self._duplicates = self._nulls = self._fractions = 0
        self._wrong_starts: list[str] = []
        self.rows = 0
        self.span = "nothing numbered"

    def watch(self, groups: Iterable[Group]) -> Iterator[Group]:
        start = self._check.start
        for group in groups:
            self._groups += 1
            self.rows += group.rows
            self._missing += group.missing
            self._duplicates += group.duplicates
            self._nulls += group.nulls
            self._fractions += group.fractions
            self.span = f"{group.first} to {group.last}" if not self._check.group_by else many(self._groups, "group")
            if start is not None and group.first is not None and group.first != start:
                self._wrong_starts.append(f"{self._check.group_label(group.key)}begins at {group.first}, not at {start}")
                del self._wrong_starts[SHOWN:]
            yield group

    def sentences(self, numbering: Numbering) -> list[str]:
        """One sentence per kind of fault, the first few offenders named."""
        said = []
        if self._missing:
            said.append(f"{many(self._missing, 'number')} missing: {self._named(numbering.gaps(), self._missing)}")
        if self._duplicates:
            named = self._named(numbering.duplicates(), self._duplicates)
            said.append(f"{many(self._duplicates, 'row')} with a number already taken: {named}")
        if self._nulls:
            said.append(f"{many(self._nulls, 'row')} without a number")
        if self._fractions:
            said.append(f"{many(self._fractions, 'row')} whose number is not whole")
        return said + self._wrong_starts

    def _named(self, offenders: Sequence[tuple[Sequence[Any], int, int]], total: int) -> str:
        texts = [self._check.group_label(key) + (str(first) if first == last else f"{first} to {last}") for key, first, last in offenders]
        named = sum(last - first + 1 for _key, first, last in offenders)
        return ", ".join(texts) + (", …" if named < total else "")


def _ends(groups: Iterable[Group]) -> dict[str, Any]:
    """Where every group begins and ends, as evidence: each one by name while they are few, and always a digest."""
    digest = hashlib.sha256()
    named: list[list[Any]] = []
    count = rows = 0
    for group in groups:
        entry = [group.key, group.first, group.last, group.rows]
        digest.update(json.dumps(entry).encode() + b"\n")
        count += 1
        rows += group.rows
        if count <= NAMED_GROUPS:
            named.append(entry)
    ends: dict[str, Any] = {"digest": digest.hexdigest(), "count": count, "rows": rows}
    if count <= NAMED_GROUPS:
        ends["groups"] = named
    return ends


def _end_of(recorded: Mapping[str, Any]) -> str:
    groups = recorded.get("groups", ())
    if len(groups) == 1:
        _key, _first, last, rows = groups[0]
        return f"{last} in {many(rows, 'row')}"
    return f"the ends of {many(recorded['count'], 'group')}" if recorded["count"] else "nothing"


def _change(before: list[Any] | None, after: list[Any] | None) -> str:
    if after is None:
        return f"missing, production had {many((before or [0])[-1], 'row')}"
    if before is None:
        return f"new, production had no such group; {many(after[-1], 'row')} here"
    sentences = ("begins at {}, production's at {}", "ends at {}, production's at {}", "{} rows, production had {}")
    return "; ".join(text.format(now, then) for text, then, now in zip(sentences, before, after) if then != now)
