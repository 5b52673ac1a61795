# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What speaks against believing a listing or a clock, before anything is removed by them. Pure.

A store that is half there, a flood of forged backups and a clock that jumped all look like a good reason to remove something.
Each doubt has a word; an operator who knows better accepts it by that word, except for the clock.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.lifeboat.postgres.plugins.module_utils.retention import CLOCKS_DIFFER_BY
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration, many

__all__ = ["WORDS", "Doubt", "Listed", "Seen", "clock_doubts", "dates_differ", "is_stale", "listing_doubts", "too_many"]

WORDS = ("broken", "dates", "flood", "future", "max_remove", "orphans", "stale", "vanished")
"""What can be accepted by name."""

_STORE_DIFFERS_BY = dt.timedelta(minutes=15)
"""A store's clock from ours, as far as S3 allows it."""
_DATES_DIFFER_BY = dt.timedelta(days=2)
"""When a backup says it was taken from when its store got it: a dump may take a day."""
_FLOOD = 24
"""So many backups of an asset in a day are one each hour; fewer are never a flood."""
_FLOOD_FACTOR = 10
_STALE_AT_LEAST = dt.timedelta(days=3)
_NAMED = 3


@dataclass(frozen=True)
class Doubt:
    """One thing that is wrong: the word to accept it by ("" when that is not possible), and a sentence."""

    word: str
    sentence: str


@dataclass(frozen=True)
class Listed:
    """A backup in a listing: its asset (`database/shop`), when it says it was taken, and when its store got it, where that is known."""

    asset: str
    backup_id: str
    moment: dt.datetime
    stored: dt.datetime | None


@dataclass(frozen=True)
class Seen:
    """What the last prune left: when, and of each asset how many backups and the id of the newest."""

    at: dt.datetime
    left: Mapping[str, tuple[int, str]] = field(default_factory=dict)


def clock_doubts(now: dt.datetime, store_now: dt.datetime | None, newest_stored: dt.datetime | None, seen: Seen | None) -> list[Doubt]:
    """Whether this host's clock can be believed: held against the store's, against what lies there, and against the last time."""
    if store_now is not None and abs(store_now - now) > _STORE_DIFFERS_BY:
        away = duration(abs((store_now - now).total_seconds()))
        return [Doubt("", f"the clock of this host and the store's are {away} apart")]
    if newest_stored is not None and newest_stored > now + _STORE_DIFFERS_BY:
        return [Doubt("", f"something was stored {duration((newest_stored - now).total_seconds())} ahead of this host's clock")]
    if seen is not None and seen.at > now + _STORE_DIFFERS_BY:
        return [Doubt("", f"the last prune ran {duration((seen.at - now).total_seconds())} ahead of this host's clock")]
    return []


def is_stale(listed: Iterable[Listed], now: dt.datetime, store_now: dt.datetime | None) -> str:
    """Why ages cannot be told: nothing came for so long that a clock that jumped forward looks the same; "" otherwise.

    A store that tells the time itself has answered that already.
    """
    stored = [one.stored for one in listed if one.stored is not None]
    if store_now is not None or not stored:
        return ""
    silent = now - max(stored)
    if silent <= max(_STALE_AT_LEAST, 4 * _usual_interval(stored)):
        return ""
    return f"nothing came for {duration(silent.total_seconds())}, which looks the same as a clock that jumped: nothing is removed by age"


def _usual_interval(stored: Sequence[dt.datetime]) -> dt.timedelta:
    """The median time between two of the newest thirty."""
    newest = sorted(stored)[-30:]
    gaps = sorted(later - earlier for earlier, later in zip(newest, newest[1:]))
    return gaps[len(gaps) // 2] if gaps else dt.timedelta(0)


def dates_differ(one: Listed) -> str:
    """What is wrong with the date of a backup that was written here directly; "" when the store saw it come at that time."""
    if one.stored is None or abs(one.stored - one.moment) <= _DATES_DIFFER_BY:
        return ""
    return f"it says that it is of {one.moment:%Y-%m-%d}, and was stored on {one.stored:%Y-%m-%d}"


def listing_doubts(listed: Sequence[Listed], broken: Sequence[str], now: dt.datetime, seen: Seen | None, kept_at_all: int) -> list[Doubt]:
    """What is wrong with a listing as a whole. `broken` are manifests that are none; `kept_at_all` is how many backups it shows."""
    doubts = []
    if broken:
        doubts.append(Doubt("broken", f"{many(len(broken), 'manifest')} cannot be believed: {_some(broken)}"))
    ahead = [one.backup_id for one in listed if one.moment > now + CLOCKS_DIFFER_BY]
    # A copy may be stored later than it was taken, and nothing is stored before it was taken.
    ahead += [one.backup_id for one in listed if one.stored is not None and one.moment > one.stored + CLOCKS_DIFFER_BY]
    if ahead:
        doubts.append(Doubt("future", f"{many(len(set(ahead)), 'backup')} dated in the future: {_some(sorted(set(ahead)))}"))
    doubts += _flood(listed)
    if seen is not None:
        doubts += _vanished(listed, seen)
    if seen is not None and seen.left and not kept_at_all:
        doubts = [
            Doubt("vanished", f"nothing is listed, and the last prune left {sum(count for count, _id in seen.left.values())} backups")
        ]
    return doubts


def _flood(listed: Iterable[Listed]) -> Iterable[Doubt]:
    """Far more of an asset in its newest day than in the days before: somebody writes manifests to push others out."""
    arrived: dict[str, list[dt.datetime]] = {}
    for one in listed:
        arrived.setdefault(one.asset, []).append(one.stored or one.moment)
    for asset, moments in arrived.items():
        newest = max(moments)
        days = Counter(int((newest - moment) / dt.timedelta(days=1)) for moment in moments)
        before = [days[day] for day in range(1, 31) if day <= max(days)]
        if before and days[0] > max(_FLOOD, _FLOOD_FACTOR * sum(before) / len(before)):
            usual = sum(before) / len(before)
            yield Doubt("flood", f"{asset} got {days[0]} backups within a day, and {usual:.1f} a day before")


def _vanished(listed: Iterable[Listed], seen: Seen) -> Iterable[Doubt]:
    there: Counter[str] = Counter()
    for one in listed:
        _count, newest = seen.left.get(one.asset, (0, ""))
        there[one.asset] += one.backup_id <= newest
    for asset, (count, _newest) in seen.left.items():
        if there[asset] * 2 < count:
            yield Doubt("vanished", f"of {asset} {there[asset]} of {many(count, 'backup')} are left that the last prune kept")


def too_many(asset: str, there: int, removed: int, limit: float, as_share: bool) -> Doubt | None:
    """A doubt when more would go at once than is allowed, as a share of those that are there or as a number."""
    allowed = limit * there if as_share else limit
    if removed <= allowed:
        return None
    shown = f"{limit:.0%} of them" if as_share else f"{limit:.0f}"
    return Doubt("max_remove", f"{removed} of {many(there, 'backup')} of {asset} would go at once, and max_remove allows {shown}")


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return ", ".join(texts[:_NAMED]) + more
