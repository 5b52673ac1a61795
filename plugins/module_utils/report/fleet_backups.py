# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a catalogue to what the fleet's report tells of backups: per repository and day, per asset, and per key and vault."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.found_backup import Backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.inspection import inspect
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef, moment_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet import Asset, Day, Key, Place
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import terms_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import moment

__all__ = ["DAYS", "POINTS", "assets_of", "keys_of", "named_keys", "places_of"]

DAYS = 91
"""Days with backups that a calendar shows: thirteen weeks of daily ones."""
POINTS = 120
"""Moments that a bar shows as single marks."""

_KEYS = "keys"


def places_of(catalogue: Catalogue, specs: Mapping[str, Mapping[str, Any]]) -> Iterator[Place]:
    """Every repository with what lies in it."""
    found = {backup.ref: backup for backup in catalogue.backups}
    for name, spec in specs.items():
        source = terms_of(name, spec).copy_from
        if name in catalogue.unreachable:
            yield Place(name, str(spec["type"]), source, catalogue.unreachable[name])
            continue
        here = [ref for ref in catalogue.refs if name in catalogue.places(ref)]
        good = [ref for ref in here if _good_in(found.get(ref), name, specs)]
        moments = [_moment(found[ref]) for ref in good]
        yield Place(
            name=name,
            type=str(spec["type"]),
            copy_from=source,
            backups=len(here),
            bad=len(here) - len(good),
            size_bytes=sum(found[ref].summary.size_bytes for ref in good),
            oldest=min(moments, default=None),
            newest=max(moments, default=None),
            days=_days(here, set(good), found),
        )


def _good_in(backup: Backup | None, place: str, names: Iterable[str]) -> bool:
    """What is wrong with it in another repository is that one's matter."""
    if backup is None or place not in backup.repositories:
        return False
    others = tuple(f"{other}: " for other in names if other != place)
    return all(problem.startswith(others) for problem in backup.problems)


def _good(backup: Backup | None, names: Collection[str]) -> bool:
    """Good in one repository at least: one that cannot be reached takes nothing from the others."""
    return backup is not None and any(_good_in(backup, place, names) for place in backup.repositories)


def _days(here: Sequence[BackupRef], good: Collection[BackupRef], found: Mapping[BackupRef, Backup]) -> tuple[Day, ...]:
    days: dict[str, list[int]] = {}
    for ref in here:
        at = _moment(found[ref]) if ref in good else moment_of(ref.backup_id)
        day = days.setdefault(f"{at:%Y-%m-%d}", [0, 0, 0])
        day[0 if ref in good else 1] += 1
        day[2] += found[ref].summary.size_bytes if ref in good else 0
    return tuple(Day(date, *days[date]) for date in sorted(days)[-DAYS:])


def assets_of(catalogue: Catalogue, names: Collection[str], ignore: Collection[str]) -> Iterator[Asset]:
    """Every asset that was ever backed up, but for what was retired; `names` are those of the repositories."""
    by_asset: dict[tuple[str, str], list[Backup | None]] = {}
    found = {backup.ref: backup for backup in catalogue.backups}
    for ref in catalogue.refs:
        by_asset.setdefault((ref.kind, ref.name), []).append(found.get(ref))
    for (kind, name), backups in sorted(by_asset.items()):
        if f"{kind}/{name}" in ignore:
            continue
        good = [backup for backup in backups if backup is not None and _good(backup, names)]
        newest = good[0] if good else None  # refs come newest first
        yield Asset(
            kind=kind,
            name=name,
            backups=len(backups),
            newest_id=newest.ref.backup_id if newest else "",
            newest_at=_moment(newest) if newest else None,
            size_bytes=newest.summary.size_bytes if newest else 0,
            server_version=newest.summary.server_version if newest else "",
            encryption=newest.summary.encryption if newest else "",
            signed=bool(newest and newest.summary.signed),
            points=tuple(sorted({_moment(backup) for backup in good}))[-POINTS:],
        )


def named_keys(catalogue: Catalogue, names: Collection[str]) -> dict[str, str]:
    """The keys that the newest good backup of each asset names, with their fingerprints; the younger backup is right."""
    named: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    for backup in catalogue.backups:
        asset = (backup.ref.kind, backup.ref.name)
        if asset not in seen and _good(backup, names):
            seen.add(asset)
            for name, fingerprint in backup.manifest.keys.items():
                named.setdefault(name, fingerprint)
    return named


def keys_of(vault: Repository, system: str, verify_keys: Sequence[str], needed: Mapping[str, str]) -> Iterator[Key]:
    """Of each key the newest backup in a vault, and what is missing there. Raises `RepositoryError` when it cannot be listed."""
    catalogue = Catalogue.load([vault], system, _KEYS, None, verify_keys)
    by_name: dict[str, list[Backup]] = {}
    for backup in catalogue.backups:
        by_name.setdefault(backup.ref.name, []).append(backup)
    for name in sorted({*by_name, *needed, *(ref.name for ref in catalogue.refs)}):
        backups = by_name.get(name)
        if not backups:
            yield Key(name, vault.name, "", "", needed.get(name, ""), "there is no readable backup of it here")
            continue
        [newest] = inspect(backups[:1], [vault], "sizes")
        held = {backup.manifest.keys.get(name, "") for backup in backups if backup.ref != newest.ref or not newest.problems}
        wanted = needed.get(name, "")
        # What the manifest says of other vaults is theirs to say.
        problems = [problem for problem in newest.problems if problem.startswith(f"{vault.name}: ")]
        if wanted and wanted not in held:
            problems.append(f"the newest backups need {wanted}, which is not here")
        yield Key(name, vault.name, newest.ref.backup_id, newest.manifest.keys.get(name, ""), wanted, "; ".join(problems))


def _moment(backup: Backup) -> dt.datetime:
    found: dt.datetime = moment(backup.summary.snapshot_at)
    return found
