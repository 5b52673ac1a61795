# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is this dump as large as it should be? A dump that is not is never kept.

Sizes are those before compression, since a compressed and sealed nothing looks like something; and no fixed minimum, since
an honest tiny database has 1,506 bytes. Judged against the limits that were given, and against the median of the last good
backups.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.limits import Limits
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    BackupGuardError,
    ManifestError,
    RepositoryError,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many, size

__all__ = ["ACCEPTED", "NEEDED", "Figures", "Judgement", "Limits", "history_of", "judge", "keep_or_raise"]

NEEDED = 3
"""So many good backups make a median. After a deviation was accepted, the accepted one alone will do."""
ACCEPTED = "deviation accepted: "
"""How the note begins that makes a backup the first of a new history."""


@dataclass(frozen=True)
class Figures:
    """What is judged: the dump before compression, the definitions in it, and its tables."""

    plain_bytes: int
    object_count: int
    table_count: int


@dataclass(frozen=True)
class Judgement:
    """`broken` are limits that no acceptance lifts, `deviations` those that one does; `words` say what it was judged against."""

    words: str
    broken: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def judge(limits: Limits, figures: Figures, history: Sequence[Manifest]) -> Judgement:
    """Judge the figures; `history` are good backups, newest first. Pure."""
    broken = [
        *_outside(figures.plain_bytes, limits.min_bytes, limits.max_bytes, size, "before compression", "bytes"),
        *_outside(figures.object_count, limits.min_objects, limits.max_objects, _objects, "in its schema", "objects"),
    ]
    deviations: list[str] = []
    warnings: list[str] = []
    newest = history[0] if history else None
    if newest is not None and figures.table_count == 0 and newest.object_count > figures.object_count:
        said = f"it holds no table at all, and the last good backup, {newest.backup_id}, had {many(newest.object_count, 'object')}"
        (deviations if limits.zero_tables == "fail" else warnings).append(said)
    known = _since_accepted(history)[: limits.last]
    needed = 1 if len(known) and _is_accepted(known[-1]) else min(NEEDED, limits.last)
    if len(known) < needed:
        words = f"not judged against earlier backups: {many(len(known), 'good one')}, {needed} are needed"
        return Judgement(words, tuple(broken), tuple(deviations), tuple(warnings))
    usual_bytes = statistics.median(manifest.plain_bytes for manifest in known)
    usual_objects = statistics.median(manifest.object_count for manifest in known)
    of = f"of the last {many(len(known), 'good backup')}"
    deviations += _deviates(figures.plain_bytes, usual_bytes, limits, size, "before compression", of)
    deviations += _deviates(figures.object_count, usual_objects, limits, _objects, "in its schema", of)
    objects = f", {_objects(round(usual_objects))}" if usual_objects else ""  # a whole server has none that are counted
    words = f"judged against the median {of}: {size(round(usual_bytes))}{objects}"
    return Judgement(words, tuple(broken), tuple(deviations), tuple(warnings))


def keep_or_raise(judgement: Judgement, accept_deviation: bool, where: str, what: str = "dump") -> list[str]:
    """The notes of a dump (or `what` it is) that may be kept; raises `BackupGuardError` for one that may not."""
    if judgement.broken:
        raise BackupGuardError(
            f"the {what} is not kept: {'; '.join([*judgement.broken, *judgement.deviations])}",
            where,
            "Nothing was committed. Look at production; if it is right so, change the limits.",
        )
    if judgement.deviations and not accept_deviation:
        raise BackupGuardError(
            f"the {what} is not kept: {'; '.join(judgement.deviations)}",
            where,
            "Nothing was committed. If production is right so (a mass delete, a move), run once with accept_deviation: true.",
        )
    return [*judgement.warnings, *(f"{ACCEPTED}{deviation}" for deviation in judgement.deviations)]


def history_of(
    repositories: Sequence[Repository],
    system: str,
    kind: str,
    name: str,
    count: int,
    verify_keys: Sequence[str] = (),
    counts: Callable[[Manifest], bool] = lambda manifest: True,
) -> list[Manifest]:
    """The last good backups of this asset that `counts` takes, newest first, from the first repository that can be asked: one
    listing, and not more manifests than `count` and those that are not good. Raises `RepositoryError` when none can be asked."""
    reasons = []
    for repository in repositories:
        try:
            catalogue = Catalogue.load([repository], system, kind, name, verify_keys)
        except RepositoryError as error:
            reasons.append(str(error))
            continue
        good = itertools.islice(filter(counts, _good(catalogue)), count)
        return sorted(good, key=lambda manifest: manifest.snapshot_at, reverse=True)  # ids of the same second have no order
    raise RepositoryError("; ".join(reasons))


def _good(catalogue: Catalogue) -> Iterator[Manifest]:
    """Newest first, each read only when it is asked for."""
    for ref in catalogue.refs:
        try:
            backup = catalogue.get(ref)
        except ManifestError:
            continue
        if backup is not None and backup.good:
            yield backup.manifest


def _since_accepted(history: Sequence[Manifest]) -> list[Manifest]:
    """The newest ones up to the last that an operator accepted, with it: what was before is no measure any more."""
    known = []
    for manifest in history:
        known.append(manifest)
        if _is_accepted(manifest):
            break
    return known


def _is_accepted(manifest: Manifest) -> bool:
    return any(note.startswith(ACCEPTED) for note in manifest.notes)


def _outside(figure: int, low: int | None, high: int | None, said: Any, what: str, unit: str) -> list[str]:
    if low is not None and figure < low:
        return [f"it has {said(figure)} {what}, and min_{unit} is {said(low)}"]
    if high is not None and figure > high:
        return [f"it has {said(figure)} {what}, and max_{unit} is {said(high)}"]
    return []


def _deviates(figure: int, usual: float, limits: Limits, said: Any, what: str, of: str) -> list[str]:
    if limits.shrink is not None and figure < usual * (1 - limits.shrink):
        least = f"shrink: {limits.shrink:g} allows no less than {said(round(usual * (1 - limits.shrink)))}"
        return [f"it has {said(figure)} {what}, the median {of} is {said(round(usual))}, and {least}"]
    if limits.growth is not None and figure > usual * (1 + limits.growth):
        most = f"growth: {limits.growth:g} allows no more than {said(round(usual * (1 + limits.growth)))}"
        return [f"it has {said(figure)} {what}, the median {of} is {said(round(usual))}, and {most}"]
    return []


def _objects(count: int) -> str:
    return many(count, "object")
