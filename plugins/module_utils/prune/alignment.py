# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long backups hold what was deleted from production, written down beside the data-retention schedule of the controller. Pure.

A document for people (Markdown), from what is configured and nothing else: the same configuration gives the same text. Only an age is
a promise here; numbers of days or months age out as new backups come, and not when none comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.retention import Policy
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration

__all__ = ["Alignment", "Rule", "parse_rules"]

_DAY = 86400


@dataclass(frozen=True)
class Rule:
    """One line of the schedule: which data, how long they may be kept after they were deleted, and on what that rests.

    `assets` are those that hold them, as `database/shop`; empty for all.
    """

    data: str
    max_age_seconds: float
    basis: str = ""
    assets: tuple[str, ...] = ()


def parse_rules(given: Mapping[str, Any], where: str) -> tuple[Rule, ...]:
    """The rules in `data_retention`; raises `ConfigurationError`."""
    items = given.get("data_retention") or ()
    if isinstance(items, (str, Mapping)) or not all(isinstance(item, Mapping) for item in items):
        raise ConfigurationError("data_retention: expected a list of mappings", where, "Each with data and max_age.")
    rules = []
    for number, item in enumerate(items, 1):
        inside = f"{where}.data_retention, item {number}"
        options.unknown_keys(item, ("data", "max_age", "basis", "assets"), inside)
        assets = options.texts(item, "assets", inside, ())
        for asset in assets:
            if "/" not in asset:
                raise ConfigurationError(f"assets: {asset!r} is no kind and name", inside, f"Say it as database/{asset}.")
        rules.append(
            Rule(
                options.text(item, "data", inside),
                options.duration_seconds(item, "max_age", inside, minimum=_DAY),
                options.text(item, "basis", inside, ""),
                assets,
            )
        )
    return tuple(rules)


@dataclass(frozen=True)
class Alignment:
    """`policies` are what each repository keeps by itself, `overrides` of single assets, `places` where they are; as configured."""

    system: str
    rules: Sequence[Rule]
    policies: Mapping[str, Mapping[str, int]]
    overrides: Mapping[tuple[str, str], Mapping[str, int]]
    places: Mapping[str, Mapping[str, Any]]

    def gaps(self) -> list[str]:
        """What is kept for longer than the schedule allows, a sentence each."""
        found = []
        for rule in self.rules:
            for place, asset, policy in self._policies(rule):
                if policy.max_age_seconds is None or policy.max_age_seconds > rule.max_age_seconds:
                    kept = "without an age" if policy.max_age_seconds is None else f"for {_days(policy.max_age_seconds)}"
                    what = f"{place} keeps {asset or 'backups'} {kept}"
                    found.append(f"{what}, and the schedule allows {_days(rule.max_age_seconds)} for {rule.data}")
        return found

    def document(self) -> str:
        """The whole text."""
        return "\n".join(self._lines()) + "\n"

    def _policies(self, rule: Rule | None = None) -> Iterator[tuple[str, str, Policy]]:
        """Of each repository what it keeps of all assets (""), and of those that are different; of a rule those that it speaks of."""
        named = [tuple(asset.split("/", 1)) for asset in rule.assets] if rule is not None else []
        for place, policy in self.policies.items():
            if not named:
                yield place, "", Policy.of(policy)
            for kind, name in named or sorted(self.overrides):
                yield place, f"{kind}/{name}", Policy.of({**policy, **self.overrides.get((kind, name), {})})

    def _lines(self) -> Iterator[str]:
        yield f"# How long backups of {self.system} are kept"
        yield ""
        yield "From the configuration of the backups. What is deleted in production stays in the backups that were taken before,"
        yield "until they are gone; backups are never changed."
        yield ""
        yield "| repository | place | asset | keeps | gone after |"
        yield "|---|---|---|---|---|"
        for place, asset, policy in self._policies():
            gone = "no age is set" if policy.max_age_seconds is None else _days(policy.max_age_seconds)
            counts = ", ".join(f"{word} {number}" for word, number in policy.counts.items()) or "every backup"
            yield f"| {_cell(place)} | {_cell(_place(self.places[place]))} | {_cell(asset or 'all')} | {counts} | {gone} |"
        yield ""
        yield "## Beside the data-retention schedule"
        yield ""
        if not self.rules:
            yield "No schedule is configured."
        else:
            yield "| data | basis | may be kept | where | gone after | within |"
            yield "|---|---|---|---|---|---|"
        for rule in self.rules:
            for place, asset, policy in self._policies(rule):
                limit = policy.max_age_seconds
                gone = "no age is set" if limit is None else _days(limit)
                fits = "yes" if limit is not None and limit <= rule.max_age_seconds else "**no**"
                where = f"{place}, {asset}" if asset else place
                yield f"| {_cell(rule.data)} | {_cell(rule.basis)} | {_days(rule.max_age_seconds)} | {_cell(where)} | {gone} | {fits} |"
        yield ""
        yield "## What can stay longer"
        yield ""
        yield "- The newest verified backup and the newest good one of each asset stay until newer ones take their place: backups that stop"
        yield "  coming do not age out. Every run names those that are past their age."
        yield "- What a kept backup builds on stays with it: a base backup as long as an increment of it."
        yield "- What the store locks stays until its lock ends:"
        for place, spec in self.places.items():
            days = spec.get("object_lock_days")
            yield f"  - {_cell(place)}: {f'{days} days' if days is not None else 'nothing is locked by its options'}"
        yield "- Older versions in a bucket stay where the pruning credential may not remove versions, until a lifecycle rule takes them."
        yield ""
        yield "A restore brings back what was deleted since the backup was taken: delete it again before the restored system is used."


def _days(seconds: float) -> str:
    return f"{seconds / _DAY:g} days" if seconds >= _DAY else duration(seconds)


def _place(spec: Mapping[str, Any]) -> str:
    words = [spec.get("type"), spec.get("endpoint"), spec.get("host"), spec.get("bucket") or spec.get("remote"), spec.get("path")]
    return " ".join(str(word) for word in words if word)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
