# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures as people say them, and what programs said as a line. Pure."""

from __future__ import annotations

import re

__all__ = ["clean_line", "duration", "many", "shortened", "size"]

_DURATIONS = ((3 * 86400, 86400, "days"), (3 * 3600, 3600, "h"), (3 * 60, 60, "min"))


def clean_line(text: str, limit: int = 600) -> str:
    """What a program said, as one line without control characters; the end of it, when it is long."""
    lines = (re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", line).strip() for line in text.splitlines())
    line = "; ".join(part for part in lines if part)
    return line if len(line) <= limit else "…" + line[-limit:]


def duration(seconds: float) -> str:
    """Seconds in the unit that keeps the number small.

    >>> [duration(seconds) for seconds in (0.0421, 90, 5400, 86400, 7 * 86400)]
    ['0.042 s', '90 s', '90 min', '24 h', '7 days']
    """
    for least, unit_seconds, unit in _DURATIONS:
        if abs(seconds) >= least:
            return f"{seconds / unit_seconds:.3g} {unit}"
    return f"{seconds:.1f} s".replace(".0 s", " s") if abs(seconds) >= 1 else f"{round(seconds, 3):.2g} s"


def size(size_bytes: int) -> str:
    """Bytes in binary units.

    >>> [size(count) for count in (17, 1536, 5 * 2**30)]
    ['17 B', '1.5 KiB', '5.0 GiB']
    """
    number = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(number) < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"


def many(number: int, noun: str) -> str:
    """A count with its noun.

    >>> many(1, "row"), many(3, "row")
    ('1 row', '3 rows')
    >>> many(2, "index")
    '2 indexes'
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('x') else 's'}"


def shortened(text: str, longest: int) -> str:
    """The text, cut to so many characters with a mark where it was cut.

    >>> shortened("a lifeboat that was never lowered", 12)
    'a lifeboat …'
    """
    return text if len(text) <= longest else text[: longest - 1] + "…"
