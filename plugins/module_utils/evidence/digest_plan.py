# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tables have their content digested today: by name, and in turn, so that N days in a row cover all of them. Pure."""

from __future__ import annotations

import datetime as dt
import fnmatch
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

__all__ = ["ALL", "DigestPlan", "part_of"]

ALL = "all"
_WHERE = "digests"
_KEYS = ("tables", "exclude", "rotate_days", "budget", "large_objects")
_EPOCH = dt.date(1970, 1, 1)


@dataclass(frozen=True)
class DigestPlan:
    """What was asked for. `tables` and `exclude` are names or patterns; `budget_seconds` is None for no limit of its own."""

    tables: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    rotate_days: int = 1
    budget_seconds: float | None = None
    large_objects: bool = False

    @classmethod
    def from_options(cls, given: Mapping[str, Any] | None) -> DigestPlan | None:
        """Read the option `digests`; None when nothing was asked for. Raises `ConfigurationError`."""
        if not given:
            return None
        options.unknown_keys(given, _KEYS, _WHERE)
        tables = options.texts(given, "tables", _WHERE)
        exclude = options.texts(given, "exclude", _WHERE, ())
        if not tables:
            raise ConfigurationError("tables is empty", _WHERE, "Name tables or patterns (shop.*), or say: all.")
        for name in (*tables, *exclude):
            if not name.strip():
                raise ConfigurationError("a table's name is empty", _WHERE, "Name tables or patterns (shop.*), or say: all.")
        if ALL in tables and len(tables) > 1:
            raise ConfigurationError(
                "tables says all, and names some besides", _WHERE, "Say one of both; a table of that name is public.all."
            )
        return cls(
            tables,
            exclude,
            options.integer(given, "rotate_days", _WHERE, 1, minimum=1, maximum=366),
            options.duration_seconds(given, "budget", _WHERE, None, minimum=1),
            options.boolean(given, "large_objects", _WHERE, False),
        )

    def wants(self, label: str, root: str = "") -> bool:
        """Whether the table `schema.name` is to be digested some day; `root` is the partitioned table on top of it, or ""."""
        names = (label, root) if root else (label,)
        if any(_matches(pattern, name) for pattern in self.exclude for name in names):
            return False
        return self.tables == (ALL,) or any(_matches(pattern, name) for pattern in self.tables for name in names)

    def is_due(self, label: str, moment: dt.datetime) -> bool:
        """Whether it is this table's turn on the day of `moment` (aware; days are those of UTC)."""
        return part_of(label, self.rotate_days) == self.part(moment)

    def part(self, moment: dt.datetime) -> int:
        """Which part is due on that day, from 0 to `rotate_days` - 1."""
        return (moment.astimezone(dt.timezone.utc).date() - _EPOCH).days % self.rotate_days

    def unmatched(self, names: Sequence[str]) -> tuple[str, ...]:
        """The patterns of `tables` that none of the names has: a misspelled one must not silently mean "nothing"."""
        if self.tables == (ALL,):
            return ()
        return tuple(pattern for pattern in self.tables if not any(_matches(pattern, name) for name in names))


def part_of(label: str, parts: int) -> int:
    """The part that a table belongs to, for ever: by its name alone, so that tables that come and go move no other one."""
    return int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big") % parts


def _matches(pattern: str, label: str) -> bool:
    """`schema.table` as a pattern (`*`, `?`, `[…]`, case counts); without a dot it means the table in any schema."""
    return fnmatch.fnmatchcase(label, pattern if "." in pattern else f"*.{pattern}")
