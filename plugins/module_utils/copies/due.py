# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backups are to be copied. Pure: (what lies at the source, what lies at the target, cadence, now) to a list.

One backup per asset and period of the cadence. Where the target holds nothing of an asset yet, only the newest period
counts: a first run moves one backup, not years of them. Afterwards every period since the newest copy is caught up; older
ones never come back, so that what was pruned at the target stays away.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef, moment_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import Cadence

__all__ = ["Due", "by_asset", "due", "from_the_future"]

CLOCKS_DIFFER_BY = dt.timedelta(hours=1)
"""What a backup's moment may lie ahead of this host's clock and still be believed."""


@dataclass(frozen=True)
class Due:
    """A period of one asset that the target lacks; one of the `candidates`, the newest that is good, is to be copied."""

    period: str
    candidates: tuple[BackupRef, ...]


def by_asset(refs: Iterable[BackupRef]) -> dict[tuple[str, str], list[BackupRef]]:
    """The backups of each kind and name, newest first, in the order of kind and name."""
    assets: dict[tuple[str, str], list[BackupRef]] = {}
    for ref in sorted(refs, key=lambda ref: ref.backup_id, reverse=True):
        assets.setdefault((ref.kind, ref.name), []).append(ref)
    return dict(sorted(assets.items()))


def from_the_future(refs: Iterable[BackupRef], now: dt.datetime) -> list[BackupRef]:
    """Those that a wrong clock dated; one of them would stand in the way of every later copy until its day has come."""
    return [ref for ref in refs if moment_of(ref.backup_id) > now + CLOCKS_DIFFER_BY]


def due(source: Collection[BackupRef], held: Collection[BackupRef], cadence: Cadence, now: dt.datetime) -> list[Due]:
    """The periods of one asset to be copied, oldest first: an interrupted run is taken up where it ended.

    `held` are the backups at the target, whether the source still has them or not.
    """
    jumped = set(from_the_future([*source, *held], now))
    periods: dict[str, list[BackupRef]] = {}
    for ref in sorted(set(source) - jumped, key=lambda ref: ref.backup_id, reverse=True):
        periods.setdefault(_period(ref, cadence), []).append(ref)
    held_periods = {_period(ref, cadence) for ref in set(held) - jumped}
    wanted = _since(periods, max(held_periods)) if held_periods else list(periods)[:1]
    return [Due(period, tuple(periods[period])) for period in sorted(wanted)]


def _since(periods: Mapping[str, object], newest_held: str) -> list[str]:
    return [period for period in periods if period > newest_held]


def _period(ref: BackupRef, cadence: Cadence) -> str:
    return cadence.period(ref.backup_id, moment_of(ref.backup_id))
