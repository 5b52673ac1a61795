# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks from data: the list that an inventory, a job file or a module's option holds.

Each item has one key, the check; its value is the check's options. `SPEC` is the same as Ansible's argument specification;
both are read from one table (`spec.py`), so that a module and the library cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options as take
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.spec import COMMON, OPTIONS, SPEC
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import Check

__all__ = ["CHECKS", "SPEC", "of_groups", "parse"]

CHECKS = tuple(OPTIONS)
"""Every check there is, by its word."""


def parse(items: Sequence[Mapping[str, Any]] | None, where: str = "checks") -> list[Check]:
    """The checks of a list; null stands for an absent key, as Ansible fills it in.

    Raises `ConfigurationError` for an unknown check or option (the nearest known one named), a wrong value, and for two
    checks of one name: what was recorded about production is found by the name.
    """
    if items is None:
        return []
    if isinstance(items, (str, Mapping)) or not isinstance(items, Sequence):
        raise ConfigurationError("expected a list of checks", where, "Write each as `- {not_empty: {tables: [orders]}}`.")
    checks: list[Check] = []
    names: set[str] = set()
    for position, item in enumerate(items):
        check = _check(item, f"{where}[{position}]")
        if check.name in names:
            raise ConfigurationError(f"two checks are called {check.name!r}", where, "Give one of them a name of its own.")
        names.add(check.name)
        checks.append(check)
    return checks


def of_groups(checks: Sequence[Check], groups: Sequence[str], where: str) -> list[Check]:
    """The checks of these groups, and those of none, which are always asked; without groups all.

    Raises `ConfigurationError` for a group that no check belongs to: a mistyped one would ask nothing, and pass.
    """
    if not groups:
        return list(checks)
    known = list(dict.fromkeys(group for check in checks for group in check.groups))
    for group in groups:
        if group not in known:
            meant = take.nearest(group, known)
            hint = f"Did you mean {meant!r}?" if meant else f"There are: {', '.join(known) or 'none'}."
            raise ConfigurationError(f"no check is of group {group!r}", where, hint)
    return [check for check in checks if not check.groups or set(check.groups) & set(groups)]


def _check(item: Any, where: str) -> Check:
    take.unknown_keys(item, CHECKS, where)
    given = {word: options for word, options in item.items() if options is not None}
    if len(given) != 1:
        found = f"found {', '.join(given)}" if given else f"known are {', '.join(CHECKS)}"
        raise ConfigurationError(f"each item is one check, {found}", where)
    word, options = next(iter(given.items()))
    where = f"{where}.{word}"
    take.unknown_keys(options, [*OPTIONS[word], *COMMON], where)
    check = _made(word, options, where)
    check.name = take.text(options, "name", where, check.name) or check.name
    check.groups = take.texts(options, "groups", where, ())
    check.timeout_seconds = take.duration_seconds(options, "timeout", where, check.timeout_seconds, minimum=0.001)
    return check


def _made(word: str, options: Mapping[str, Any], where: str) -> Check:
    """The check of this word. Each file is loaded when its check is asked for: a module's start is on every task's account."""
    if word == "gapless":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.gapless import Gapless

        return Gapless(options, where)
    if word == "integer":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.integer import Integer

        return Integer(options, where)
    if word == "not_empty":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.not_empty import NotEmpty

        return NotEmpty(options, where)
    if word == "recent":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.recent import Recent

        return Recent(options, where)
    if word == "sql":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.sql import Sql

        return Sql(options, where)
    if word == "decrypt":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.decrypt import Decrypt

        return Decrypt(options, where)
    if word == "totp":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.totp import Totp

        return Totp(options, where)
    if word == "foreign_keys":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.foreign_keys import ForeignKeys

        return ForeignKeys(options, where)
    if word == "unique":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.unique import Unique

        return Unique(options, where)
    if word == "amcheck":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.amcheck import Amcheck

        return Amcheck(options, where)
    if word == "command":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.command import Command

        return Command(options, where)
    if word == "http":
        from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.answers import Http

        return Http(options, where)
    raise AssertionError(word)
