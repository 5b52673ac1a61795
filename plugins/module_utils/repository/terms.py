# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a repository was asked for beyond being a place: where its copies come from, how often, and what is kept. Pure.

    abroad: {type: s3, …, copy_from: offsite, cadence: monthly, retention: {monthly: 12}}

A repository with `copy_from` is not written by backups; `backup_copy` fills it.

    attic: {type: posix, …, optional: true}

A WAL file counts as archived without a repository that is `optional`; what it lacks is noted and sent there afterwards.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

__all__ = ["KEYS", "RETENTION_WORDS", "Cadence", "Terms", "check_sources", "retention_of", "terms_of", "written_directly"]

KEYS = ("copy_from", "cadence", "retention", "optional")
"""What every type of repository takes beside its own options."""

_EACH = "every backup"
_LONGEST = {"hourly": 3600.0, "daily": 86400.0, "weekly": 7 * 86400.0, "monthly": 31 * 86400.0, "yearly": 366 * 86400.0}
_CALENDAR = {"hourly": "%Y-%m-%dT%H", "daily": "%Y-%m-%d", "weekly": "%G-W%V", "monthly": "%Y-%m", "yearly": "%Y"}
RETENTION_WORDS = ("hourly", "daily", "weekly", "monthly", "yearly", "keep", "max_age")
"""How many backups stay per period, how many of the newest, and how old one may become."""


@dataclass(frozen=True)
class Cadence:
    """How often a backup is copied: each one, once per calendar period, or once in so many seconds.

    Calendar periods are those of UTC; weeks as ISO 8601 counts them.
    """

    word: str = _EACH
    every_seconds: float = 0.0

    @property
    def longest_seconds(self) -> float:
        """The longest time between two copies, in seconds; 0 where each backup is copied."""
        return self.every_seconds or _LONGEST.get(self.word, 0.0)

    def period(self, backup_id: str, moment: dt.datetime) -> str:
        """The period that a backup of this moment belongs to; the same text for all backups of one period.

        Periods of so many seconds are counted from 1970 on, so that every host sees the same ones.
        """
        if self.every_seconds:
            return f"{int(moment.timestamp() // self.every_seconds):012d}"
        if self.word in _CALENDAR:
            return moment.astimezone(dt.timezone.utc).strftime(_CALENDAR[self.word])
        return backup_id


@dataclass(frozen=True)
class Terms:
    """`copy_from` is the name of the repository that copies come from, or "". `retention` is how many backups `backup_prune`
    keeps per period, with `max_age` in seconds. `optional`: the WAL archive does not wait for it."""

    copy_from: str = ""
    cadence: Cadence = field(default_factory=Cadence)
    retention: Mapping[str, int] = field(default_factory=dict)
    optional: bool = False


def terms_of(name: str, spec: Mapping[str, Any]) -> Terms:
    """The terms in a repository's options; raises `ConfigurationError` naming the repository and the option."""
    where = f"repository {name!r}"
    copy_from: str = options.text(spec, "copy_from", where, "")
    if copy_from == name:
        raise ConfigurationError("copy_from names the repository itself", where, "Name the one that backups are written to.")
    if not copy_from and spec.get("cadence") is not None:
        raise ConfigurationError(
            "cadence without copy_from", where, "Every backup is written there; a cadence is for copies: name their source in copy_from."
        )
    optional: bool = options.boolean(spec, "optional", where, False)
    if optional and copy_from:
        raise ConfigurationError(
            "optional with copy_from", where, "Nobody waits for a repository that copies go to: leave out one of the two."
        )
    return Terms(copy_from, _cadence(spec, where), retention_of(spec, where), optional)


def check_sources(specs: Mapping[str, Mapping[str, Any]]) -> None:
    """Each `copy_from` names another repository of these, and the way leads to one that backups are written to.

    Raises `ConfigurationError`.
    """
    sources = {name: terms_of(name, spec).copy_from for name, spec in specs.items()}
    for name, first in sources.items():
        where, seen, source = f"repository {name!r}", {name}, first
        while source:
            if source not in sources:
                meant = options.nearest(source, [other for other in sources if other != name])
                hint = f"Did you mean {meant!r}?" if meant else f"Known are: {', '.join(sorted(sources))}."
                raise ConfigurationError(f"copy_from names no repository: {source!r}", where, hint)
            if source in seen:
                raise ConfigurationError(f"copy_from goes round in a circle at {source!r}", where, "Let one of them be written by backups.")
            seen.add(source)
            source = sources[source]


def written_directly(specs: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Those of the repositories that backups are written to; the others get copies."""
    return {name: spec for name, spec in specs.items() if not terms_of(name, spec).copy_from}


def _cadence(spec: Mapping[str, Any], where: str) -> Cadence:
    word: str = options.text(spec, "cadence", where, _EACH)
    word = " ".join(word.split())
    if word == _EACH or word in _CALENDAR:
        return Cadence(word)
    first, _space, rest = word.partition(" ")
    if first == "every" and rest:
        seconds: float = options.duration_seconds({"cadence": rest}, "cadence", where, minimum=60)
        return Cadence(word, seconds)
    known = [*_CALENDAR, _EACH]
    meant = options.nearest(word, known)
    hint = f"Did you mean {meant!r}?" if meant else f"Known are: {', '.join(known)}, or every with a duration, as in 'every 10d'."
    raise ConfigurationError(f"cadence: unknown value {word!r}", where, hint)


def retention_of(given: Mapping[str, Any], where: str) -> dict[str, int]:
    """What a mapping `retention` says, `max_age` in seconds; empty when nothing is said. Raises `ConfigurationError`."""
    found = options.mapping(given, "retention", where, {})
    inside = f"{where}, retention"
    options.unknown_keys(found, RETENTION_WORDS, inside)
    counts = [word for word in RETENTION_WORDS if found.get(word) is not None and word != "max_age"]
    kept: dict[str, int] = {word: options.integer(found, word, inside, 0, minimum=0, maximum=100_000) for word in counts}
    if kept and not any(kept.values()):
        raise ConfigurationError("retention keeps nothing", where, "Give one of its words a number above 0, or leave it out.")
    if found.get("max_age") is not None:
        kept["max_age"] = int(options.duration_seconds(found, "max_age", inside, minimum=86400))
    return kept
