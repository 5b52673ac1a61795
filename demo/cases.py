# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo claims: for each backup the verdict its drill must give, and the words the reason must hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import damage


@dataclass(frozen=True)
class Case:
    """One drill. `says` is searched for in the drill's reason without regard to case (a regular expression).

    `asset` is the backup's name; `damage` is done to a copy of the healthy backup; `changes` goes into the drill's
    options, where `{keys.…}` is filled from the demo's keys.
    """

    name: str
    expected: str
    says: str
    asset: str = "shop"
    damage: Callable[[Path], None] | None = None
    changes: dict[str, Any] = field(default_factory=dict)

    def holds(self, verdict: str, reason: str) -> bool:
        """Whether the drill said what it must say."""
        return verdict == self.expected and re.search(self.says, reason, re.IGNORECASE) is not None


@dataclass(frozen=True)
class Source:
    """A backup that needs a production of its own: a copy of the shop after `statements`, or a bad `pg_dump`."""

    asset: str
    title: str
    database: str = "shop"
    statements: str = ""
    loses: str = ""


GOOD = Case("healthy backup", "passed", "")

SOURCES = (
    Source("rows-lost", "with a pg_dump that drops one table's rows", loses="public.order_lines"),
    Source(
        "gap",
        "of a shop that lost an invoice",
        database="shop_gap",
        statements="DELETE FROM invoices WHERE number = 4711 AND year = (SELECT max(year) FROM invoices)",
    ),
    Source(
        "float",
        "of a shop that keeps money as float",
        database="shop_float",
        statements="ALTER TABLE orders ALTER COLUMN total_cents TYPE double precision",
    ),
)

CASES = (
    Case("untouched copy", "passed", ""),
    Case("truncated artifact", "failed", r"database\.dump.*(bytes|size|short|truncated)", damage=damage.truncate),
    Case("flipped bit", "failed", r"database\.dump.*(digest|sha-?256)", damage=damage.flip_bit),
    Case("missing volume", "failed", r"database\.dump\.zst\.age\.\d+ is missing", damage=damage.remove_volume),
    Case("wrong identity", "unverified", r"identity.*does not open", changes={"identity_file": "stranger_identity_file"}),
    Case("one table's rows lost", "failed", r"order_lines", asset="rows-lost"),
    Case("wrong master key", "failed", r"decrypt", changes={"master_key_file": "stranger_master_key_file"}),
    Case("invoice gap", "failed", r"invoices.*4711|4711.*invoices", asset="gap"),
    Case("float money column", "failed", r"total_cents.*double precision", asset="float"),
)

# What recovering to the moment before the table was dropped must give; `asset` is the base backup's name.
MOMENTS = (
    Case("to before the drop", "passed", "", asset="cluster"),
    Case("missing segment", "failed", r"segment [0-9A-F]{24} is missing", asset="cluster", damage=damage.remove_segment),
    Case("damaged segment", "failed", r"[0-9A-F]{24} is damaged", asset="cluster", damage=damage.flip_segment),
)
