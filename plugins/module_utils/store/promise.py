# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""For how long retention keeps a backup, at least and at most. Pure: what a bucket does by itself must neither undercut nor outlast it."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["DAY", "LEAST_DAYS", "kept_seconds", "least_lock_seconds"]

DAY = 86400.0

LEAST_DAYS = 7
"""For so long, what was destroyed must be there in another way: who breaks in on a Friday must not have won by Monday."""

_DAYS = {"hourly": 1 / 24, "daily": 1.0, "weekly": 7.0, "monthly": 30.5, "yearly": 365.25}
"""The longest that so many periods in a row take on average: twelve months are 366 days at most."""


def kept_seconds(retention: Mapping[str, int]) -> tuple[float, float]:
    """What every backup is kept for at least, and the last one of them at most, in seconds; infinity where nothing ends it.

    `retention` as `terms.retention_of` reads it. Each backup is the newest of the shortest period that is named, and some of them of
    the longest. Numbers without a period (`keep`) promise no time to one, and any age to another.
    """
    spans = [math.ceil(number * _DAYS[word]) * DAY for word, number in retention.items() if number and word in _DAYS]
    limit = float(retention["max_age"]) if retention.get("max_age") else math.inf
    if not spans and not retention.get("keep"):
        return (limit, limit) if retention else (0.0, math.inf)
    longest = math.inf if retention.get("keep") else max(spans)
    shortest = min(spans, default=0.0)
    return min(shortest, limit), min(longest, limit)


def least_lock_seconds(retention: Mapping[str, int]) -> float:
    """How long a lock must be, at least: a week, or less where retention lets a backup go sooner; 0 where it promises no time.

    Not as long as retention: `backup_prune` lengthens the locks of what it keeps. Who stops that has to stay unnoticed for so long.
    """
    return min(kept_seconds(retention)[0], LEAST_DAYS * DAY)
