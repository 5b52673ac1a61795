# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was promised: one word, or a mapping that overrides single values, to cadences, retention and budgets. Pure.

`baseline`: at most a day is lost, two hours to be back: a nightly dump. `standard`: an hour and an hour: the log replays onto base
backups, never onto dumps. `strict`: five minutes and half an hour: frequent base backups and a warm standby. The table is in
docs/objectives.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import retention_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.store.promise import kept_seconds, least_lock_seconds
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration

__all__ = ["TIERS", "Facts", "Objective", "problems", "resolve", "to_document"]

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


@dataclass(frozen=True)
class Objective:
    """All in seconds. `tier` is "" for a mapping that names none: what it does not name is then not promised, and cadences are those
    of the baseline. `rpo_seconds` and `rto_seconds` are None when they are not promised, the cadences of what is not done are None.

    `freshness_seconds` is the age of a dump that raises an alert: a cadence, and the time that a dump may take.
    """

    tier: str
    rpo_seconds: float | None
    rto_seconds: float | None
    dump_every_seconds: float
    base_every_seconds: float | None
    incremental_every_seconds: float | None
    archive_timeout_seconds: float | None
    wal: bool
    standby: bool
    drill_every_seconds: float
    verify_every_seconds: float
    freshness_seconds: float
    retention: Mapping[str, int]


_BASELINE = Objective(
    tier="baseline",
    rpo_seconds=_DAY,
    rto_seconds=2 * _HOUR,
    dump_every_seconds=_DAY,
    base_every_seconds=None,
    incremental_every_seconds=None,
    archive_timeout_seconds=None,
    wal=False,
    standby=False,
    drill_every_seconds=31 * _DAY,
    verify_every_seconds=7 * _DAY,
    freshness_seconds=26 * _HOUR,
    retention={"daily": 7, "weekly": 4, "monthly": 12},
)
_STANDARD = dataclasses.replace(
    _BASELINE,
    tier="standard",
    rpo_seconds=_HOUR,
    rto_seconds=_HOUR,
    base_every_seconds=7 * _DAY,
    archive_timeout_seconds=5 * _MINUTE,
    wal=True,
)
_STRICT = dataclasses.replace(
    _STANDARD,
    tier="strict",
    rpo_seconds=5 * _MINUTE,
    rto_seconds=30 * _MINUTE,
    incremental_every_seconds=_DAY,
    archive_timeout_seconds=_MINUTE,
    standby=True,
    drill_every_seconds=7 * _DAY,
    verify_every_seconds=_DAY,
    retention={"daily": 14, "weekly": 8, "monthly": 12},
)
TIERS: Mapping[str, Objective] = {tier.tier: tier for tier in (_BASELINE, _STANDARD, _STRICT)}

_DURATIONS = {
    "rpo": "rpo_seconds", "rto": "rto_seconds", "dump_every": "dump_every_seconds", "base_every": "base_every_seconds",
    "incremental_every": "incremental_every_seconds", "archive_timeout": "archive_timeout_seconds", "drill_every": "drill_every_seconds",
    "verify_every": "verify_every_seconds", "freshness": "freshness_seconds",
}  # fmt: skip
_KNOWN = ("tier", *_DURATIONS, "wal", "standby", "retention")


def resolve(given: Union[str, Mapping[str, Any], None], where: str = "objective") -> Objective:
    """The objective of a word, or of a mapping that names a `tier` and overrides what it names; None and {} promise nothing.

    `{rpo: 24h, rto: 2h}` without a tier promises these two. Raises `ConfigurationError` that names the nearest known word.
    """
    if isinstance(given, str) and given:
        given = {"tier": given}
    given = given or {}
    options.unknown_keys(given, _KNOWN, where)
    tier: str = options.choice(given, "tier", where, tuple(TIERS), "")
    base = TIERS[tier] if tier else dataclasses.replace(_BASELINE, tier="", rpo_seconds=None, rto_seconds=None)
    values: dict[str, Any] = {}
    for word, name in _DURATIONS.items():
        if given.get(word) is not None:
            least = 0 if word in ("rpo", "rto") else 1
            values[name] = options.duration_seconds(given, word, where, minimum=least)
    for word in ("wal", "standby"):
        if given.get(word) is not None:
            values[word] = options.boolean(given, word, where)
    if given.get("retention") is not None:
        values["retention"] = retention_of(given, where)
    if "dump_every_seconds" in values and "freshness_seconds" not in values:
        # The alert goes with the cadence, with as much patience as the tier has.
        values["freshness_seconds"] = values["dump_every_seconds"] + max(base.freshness_seconds - base.dump_every_seconds, 0.0)
    found = dataclasses.replace(base, **values)
    _require_sense(found, where)
    return found


def _require_sense(found: Objective, where: str) -> None:
    if found.freshness_seconds < found.dump_every_seconds:
        raise ConfigurationError(
            f"freshness ({duration(found.freshness_seconds)}) is shorter than dump_every ({duration(found.dump_every_seconds)})",
            where,
            "It would alert between any two dumps.",
        )
    if found.incremental_every_seconds is not None and found.base_every_seconds is None:
        raise ConfigurationError("incremental_every without base_every", where, "An increment builds on a base backup.")


def to_document(found: Objective) -> dict[str, Any]:
    """As plain data, for results and tables."""
    return {**dataclasses.asdict(found), "retention": dict(found.retention)}


@dataclass(frozen=True)
class Facts:
    """What is known of a system beside its objective; None is what is not known, and no problem is made of it.

    `repositories` maps each to its retention, as read, and `lifecycle_seconds` to after how long its store removes objects by itself.
    """

    wal_archived: bool | None = None
    base_backups: bool | None = None
    archive_timeout_seconds: float | None = None
    standby: bool | None = None
    last_drill_seconds: float | None = None
    last_drill_age_seconds: float | None = None
    server_version_num: int | None = None
    retention: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    lifecycle_seconds: Mapping[str, float] = field(default_factory=dict)
    lock_seconds: Mapping[str, float] = field(default_factory=dict)
    max_age_seconds: float | None = None


def problems(found: Objective, facts: Facts = Facts()) -> list[str]:
    """What cannot keep the objective, a sentence each; the most certain first."""
    return [sentence for rule in _RULES for sentence in rule(found, facts)]


def _of_the_log(found: Objective, facts: Facts) -> list[str]:
    rpo, said = found.rpo_seconds, []
    if rpo is not None and rpo < found.dump_every_seconds and not found.wal:
        said.append(f"an RPO of {duration(rpo)} cannot be kept by a dump every {duration(found.dump_every_seconds)} without WAL archiving")
    if found.wal and found.base_every_seconds is None:
        said.append("WAL without base backups replays onto nothing: set base_every")
    if found.wal and facts.wal_archived is False:
        said.append("WAL is promised, and not archived")
    if found.wal and facts.base_backups is False and found.base_every_seconds is not None:
        said.append("WAL is archived, and there is no base backup that it could be replayed onto")
    waits = facts.archive_timeout_seconds if facts.archive_timeout_seconds is not None else found.archive_timeout_seconds
    if found.wal and rpo is not None and waits is not None and (waits == 0 or waits > rpo):
        how = "is off" if waits == 0 else f"of {duration(waits)} is longer"
        said.append(f"archive_timeout {how}: a quiet hour's log may stay on the server for longer than the RPO of {duration(rpo)}")
    if found.wal and found.archive_timeout_seconds is None and facts.archive_timeout_seconds is None:
        said.append("WAL without archive_timeout: how much can be lost depends on how much is written")
    if found.incremental_every_seconds is not None and facts.server_version_num is not None and facts.server_version_num < 170000:
        said.append(f"incremental base backups need PostgreSQL 17, this is {facts.server_version_num // 10000}: shorten base_every instead")
    if found.standby and facts.standby is False:
        said.append("a warm standby is promised, and there is none")
    return said


def _of_drills(found: Objective, facts: Facts) -> list[str]:
    said = []
    if found.rto_seconds is not None and facts.last_drill_seconds is not None and facts.last_drill_seconds > found.rto_seconds:
        said.append(f"an RTO of {duration(found.rto_seconds)} was promised, and the last drill took {duration(facts.last_drill_seconds)}")
    if facts.last_drill_age_seconds is not None and facts.last_drill_age_seconds > found.drill_every_seconds:
        said.append(
            f"the last drill is {duration(facts.last_drill_age_seconds)} old, one every {duration(found.drill_every_seconds)} is due"
        )
    if found.verify_every_seconds > found.drill_every_seconds:
        said.append("verify_every is longer than drill_every: the light check comes less often than the whole one")
    return said


def _of_retention(found: Objective, facts: Facts) -> list[str]:
    said = []
    for place, retention in facts.retention.items():
        needed, limit = _reach_seconds(retention), retention.get("max_age")
        lifecycle, lock = facts.lifecycle_seconds.get(place), facts.lock_seconds.get(place)
        if lifecycle is not None and needed > lifecycle:
            said.append(
                f"{place}: its lifecycle removes objects after {duration(lifecycle)}, and retention keeps them for {duration(needed)}"
            )
        if lock is not None and lock < least_lock_seconds(retention):
            least = duration(kept_seconds(retention)[0])
            said.append(f"{place}: objects are locked for {duration(lock)}, and retention keeps every backup for {least}")
        if limit is not None and lock is not None and lock > limit:
            said.append(f"{place}: objects are locked for {duration(lock)}, and have to be gone after {duration(limit)}")
        if facts.max_age_seconds is not None and (limit is None or limit > facts.max_age_seconds):
            kept = duration(float(limit)) if limit is not None else "without end"
            said.append(f"{place}: backups are kept {kept}, and the data-retention schedule allows {duration(facts.max_age_seconds)}")
    return said


def _reach_seconds(retention: Mapping[str, int]) -> float:
    """How far back the oldest backup lies that these numbers keep, at least."""
    periods = {"hourly": _HOUR, "daily": _DAY, "weekly": 7 * _DAY, "monthly": 28 * _DAY, "yearly": 365 * _DAY}
    reach = max((number - 1) * periods[word] for word, number in {"hourly": 1, **retention}.items() if word in periods)
    limit = retention.get("max_age")
    return max(reach if limit is None else min(reach, float(limit)), 0.0)


_RULES: tuple[Callable[[Objective, Facts], list[str]], ...] = (_of_the_log, _of_drills, _of_retention)
