# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of settings: many spellings of one value, and the one that PostgreSQL itself shows (`60`, `60s`, `1min`). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

__all__ = ["Row", "base_value", "literal", "shown"]

_TIME = {
    "us": Decimal("0.001"),
    "ms": Decimal(1),
    "s": Decimal(1000),
    "min": Decimal(60_000),
    "h": Decimal(3_600_000),
    "d": Decimal(86_400_000),
}
_MEMORY = {"B": Decimal(1), "kB": Decimal(2**10), "MB": Decimal(2**20), "GB": Decimal(2**30), "TB": Decimal(2**40)}
_TRUE = ("on", "true", "yes", "1", "t", "y", "tr", "tru", "ye")
_FALSE = ("off", "false", "no", "0", "f", "n", "of", "fa", "fal", "fals")
# Spellings that the server still takes and never shows (hidden entries in src/backend/utils/misc/guc_tables.c).
_HIDDEN = {
    "archive_mode": {**dict.fromkeys(_TRUE, "on"), **dict.fromkeys(_FALSE, "off")},
    "wal_level": {"archive": "replica", "hot_standby": "replica"},
}


@dataclass(frozen=True)
class Row:
    """A line of pg_settings. `running` is in the setting's own unit, `boot` what holds when nobody sets it.

    `source` is where the running value comes from: "default", "configuration file", "command line", …
    """

    name: str
    running: str
    unit: str
    context: str
    vartype: str
    source: str
    boot: str
    enumvals: tuple[str, ...] = ()
    file: str = ""
    line: int = 0
    pending_restart: bool = False

    @property
    def needs_restart(self) -> bool:
        return self.context == "postmaster"


def base_value(row: Row, text: str) -> str:
    """The value as pg_settings writes it: a number in the setting's own unit, one word of an enumeration, on or off.

    Raises `ValueError` for what the server would not take.
    """
    word = text.strip()
    if row.vartype == "bool":
        return _HIDDEN["archive_mode"][word.lower()] if word.lower() in _HIDDEN["archive_mode"] else _refuse(row, text)
    if row.vartype == "enum":
        known = {value.lower(): value for value in row.enumvals}
        known.update({hidden: value for hidden, value in _HIDDEN.get(row.name, {}).items() if hidden not in known})
        return known[word.lower()] if word.lower() in known else _refuse(row, text)
    if row.vartype == "integer":
        match = re.fullmatch(r"([+-]?[0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", word)
        if match is None:
            return _refuse(row, text)
        number, unit = Decimal(match.group(1)), match.group(2)
        if unit:
            number *= _factor(row, unit, text)
        return str(int(number.to_integral_value()))
    return text


def shown(row: Row, base: str) -> str:
    """A value as `SHOW` writes it, from `base_value`: in the largest unit that needs no fraction.

    >>> shown(Row("archive_timeout", "0", "s", "sighup", "integer", "default", "0"), "300")
    '5min'
    """
    if row.vartype != "integer" or not row.unit or int(base) <= 0:
        return base
    units, size = _units(row.unit)
    whole = Decimal(base) * size
    for unit, factor in sorted(units.items(), key=lambda item: -item[1]):
        if whole % factor == 0:
            return f"{whole // factor}{unit}"
    return base


def literal(value: str) -> str:
    """A value between quotes as a configuration file takes it; backslashes are escapes there, too.

    >>> literal(r"it's a \\ path")
    "'it''s a \\\\\\\\ path'"
    """
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _units(unit: str) -> tuple[dict[str, Decimal], Decimal]:
    """The units of the same kind, and how much one of this setting's own is."""
    match = re.fullmatch(r"([0-9]*)([A-Za-z]+)", unit)
    many, name = (match.group(1), match.group(2)) if match else ("", unit)
    units = _TIME if name in _TIME else _MEMORY
    return units, units.get(name, Decimal(1)) * int(many or 1)


def _factor(row: Row, unit: str, text: str) -> Decimal:
    units, size = _units(row.unit) if row.unit else ({}, Decimal(1))
    if unit not in units:
        _refuse(row, text)
    return units[unit] / size


def _refuse(row: Row, text: str) -> str:
    allowed = f"one of {', '.join(row.enumvals)}" if row.vartype == "enum" else {"bool": "on or off"}.get(row.vartype, "a whole number")
    if row.unit:
        allowed += f" ({row.unit}), or one with a unit such as {'60s or 5min' if _units(row.unit)[0] is _TIME else '64MB or 1GB'}"
    raise ValueError(f"{row.name}: expected {allowed}, found {text!r}")
