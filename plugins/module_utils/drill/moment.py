# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a point-in-time recovery is to stop, as the operator says it and as PostgreSQL wants to hear it. Pure.

    target: {latest: true}    {time: "2026-11-21T12:00:00Z"}    {lsn: 16/B374D848}    {name: before_migration}    {xid: "4711"}
            {evidence: true}  {immediate: true}

beside `inclusive` (PostgreSQL's recovery_target_inclusive) and `timeline` (a number; the newest one when left out).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn

__all__ = ["EVIDENCE", "IMMEDIATE", "KINDS", "LATEST", "RecoveryTarget", "parse_moment"]

LATEST, EVIDENCE, IMMEDIATE = "latest", "evidence", "immediate"
_FLAGS = (LATEST, EVIDENCE, IMMEDIATE)
"""Targets that need no more words: the newest state; where evidence of production was taken; the end of the base backup itself."""

KINDS = (LATEST, "time", "lsn", "name", "xid", EVIDENCE, IMMEDIATE)

_NAME_BYTES = 63  # MAXFNAMELEN - 1 (src/include/access/xlog_internal.h)


@dataclass(frozen=True)
class RecoveryTarget:
    """`kind` is one of `KINDS`; of `moment` (aware, UTC), `lsn` and `text` the one that belongs to it is set.

    `timeline` 0 is the newest one that the archive knows. With `evidence_of` a database the position is that of its evidence.
    """

    kind: str = LATEST
    text: str = ""
    moment: dt.datetime | None = None
    lsn: Lsn | None = None
    inclusive: bool = True
    timeline: int = 0
    evidence_of: str = ""

    @classmethod
    def from_options(cls, given: Mapping[str, Any] | None, where: str) -> RecoveryTarget:
        """Read a `target` mapping; raises `ConfigurationError`. None or an empty mapping is the latest state."""
        given = given or {}
        options.unknown_keys(given, (*KINDS, "inclusive", "timeline"), where)
        timeline: int = options.integer(given, "timeline", where, None, minimum=1, maximum=2**32 - 1) or 0
        inclusive = options.boolean(given, "inclusive", where, True)
        kinds = [kind for kind in KINDS if given.get(kind) is not None]
        for flag in _FLAGS:
            if options.boolean(given, flag, where, True) is False:
                others = ", ".join(kind for kind in KINDS if kind != flag)
                raise ConfigurationError(f"{flag}: false says nothing", where, f"Leave it out, or give one of {others}.")
        if len(kinds) > 1:
            raise ConfigurationError(f"{' and '.join(kinds)} are two targets", where, "Give exactly one of them.")
        kind = kinds[0] if kinds else LATEST
        if kind in _FLAGS:
            if given.get("inclusive") is not None:
                state = "the latest state" if kind == LATEST else f"target {kind}"
                raise ConfigurationError(f"inclusive means nothing with {state}", where, "Leave it out.")
            return cls(kind, timeline=timeline)
        text: str = options.text(given, kind, where).strip()
        if kind == "time":
            return cls(kind, text, moment=parse_moment(text, "time", where), inclusive=inclusive, timeline=timeline)
        if kind == "lsn":
            try:
                return cls(kind, text, lsn=Lsn.parse(text), inclusive=inclusive, timeline=timeline)
            except ValueError as error:
                raise ConfigurationError(f"lsn: {error}", where) from None
        if kind == "xid" and not re.fullmatch(r"[0-9]{1,20}", text):
            raise ConfigurationError(f"xid: {text[:40]!r} is not the number of a transaction", where)
        if kind == "name" and len(text.encode()) > _NAME_BYTES:
            raise ConfigurationError(f"name: a restore point's name has at most {_NAME_BYTES} bytes", where)
        if kind == "name" and given.get("inclusive") is not None:
            raise ConfigurationError("inclusive means nothing with a restore point", where, "Leave it out.")
        return cls(kind, text, inclusive=inclusive, timeline=timeline)

    @property
    def latest(self) -> bool:
        return self.kind == LATEST

    @property
    def immediate(self) -> bool:
        """The end of the base backup itself: the first state that is consistent."""
        return self.kind == IMMEDIATE

    @classmethod
    def at_evidence(cls, database: str, lsn: Lsn, timeline: int) -> RecoveryTarget:
        """The state before the record at this position, at which evidence of a database was taken."""
        return cls("lsn", str(lsn), lsn=lsn, inclusive=False, timeline=timeline, evidence_of=database)

    def __str__(self) -> str:
        """In words, for reports and messages."""
        if self.latest:
            said = "the latest state that the archive holds"
        elif self.immediate:
            said = "the end of the base backup itself"
        elif self.kind == EVIDENCE:
            said = "where evidence of production was taken"
        elif self.evidence_of:
            return f"the evidence of database {self.evidence_of!r} at {self.text}"
        elif self.moment is not None:
            said = f"time {self.moment.isoformat(sep=' ')}"
        else:
            said = f"{'restore point' if self.kind == 'name' else self.kind} {self.text}"
        if not self.inclusive:
            said += ", itself left out"
        return said + (f", on timeline {self.timeline}" if self.timeline else "")

    def settings(self, timeline: int) -> dict[str, str]:
        """PostgreSQL's recovery settings for this target on a timeline: pause there, so that one can look before it goes on."""
        found = {"recovery_target_timeline": str(timeline), "recovery_target_action": "pause"}
        if self.latest:
            return found
        if self.immediate:
            return {**found, "recovery_target": IMMEDIATE}
        found["recovery_target_inclusive"] = "on" if self.inclusive else "off"
        found[f"recovery_target_{self.kind}"] = self.moment.isoformat(sep=" ") if self.moment is not None else self.text
        return found


def parse_moment(text: str, key: str, where: str) -> dt.datetime:
    """A moment with its time zone, in UTC; raises `ConfigurationError`."""
    try:
        # Python before 3.11 does not read the Z of ISO 8601.
        moment = dt.datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigurationError(
            f"{key}: {text!r} is not a moment with its time zone", where, "Write it like 2026-11-21T03:15:00Z."
        ) from None
    return moment.astimezone(dt.timezone.utc)
