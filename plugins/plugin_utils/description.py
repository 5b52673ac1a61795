# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the description of a system, as far as its text tells: on the control node, before a host is touched.

What only a host can tell (a directory, a server, a store) is looked at there, by the modules.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import objective, options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.schedule import parse_schedule
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import check_sources, retention_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.age_keys import parse_recipients
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.methods import AGE
from ansible_collections.lifeboat.postgres.plugins.plugin_utils.variables import KNOWN

__all__ = ["PARTS", "unknown_names", "wrong_values"]

PREFIX = "lifeboat_"
BY_OBJECTIVE = "objective"
_LOOKS_LIKE_IT = 0.75
_MEANT = 0.85
"""How alike (difflib) a word has to be to `lifeboat_`, and a name to a known one, to be taken for a slip of the finger."""


def unknown_names(names: Iterable[str], ignore: Sequence[str] = ()) -> list[str]:
    """A sentence for each variable that begins with `lifeboat_` and that nothing reads, or that nearly is one of those read.

    `ignore`: names or patterns of variables of somebody's own.
    """
    found = []
    for name in sorted(set(names)):
        if name.startswith("_") or name in KNOWN or any(fnmatch.fnmatchcase(name, pattern) for pattern in ignore):
            continue
        if name.startswith(PREFIX):
            meant = _meant(name)
            hint = f"Did you mean {meant}?" if meant else "One of your own is named in lifeboat_ignore_unknown."
            found.append(f"Nothing reads the variable {name}. {hint}")
        # Of the hundreds of variables that a host has, next to none get as far as being compared with every known one.
        elif _is_like(name[: len(PREFIX)].casefold(), PREFIX, _LOOKS_LIKE_IT):
            meant = _meant(name)
            if meant and _is_like(name.casefold(), meant, _MEANT):
                found.append(f"Nothing reads the variable {name}. Did you mean {meant}?")
    return found


def wrong_values(given: Mapping[str, Any]) -> list[str]:
    """A sentence for each part of a description that cannot be, by the names of `PARTS`; raises `ConfigurationError` for another one."""
    options.unknown_keys(given, PARTS, "values")
    return [sentence for part, look in PARTS.items() if given.get(part) for sentence in look(given[part])]


def _meant(name: str) -> str:
    """The known variable that is most like it, or "". What all have in common does not make two alike."""
    shared = PREFIX if name.startswith(PREFIX) else ""
    rest = {known.removeprefix(shared): known for known in KNOWN}
    words = difflib.get_close_matches(name.removeprefix(shared).casefold(), rest, n=1, cutoff=0.6)
    return rest[words[0]] if words else ""


def _is_like(one: str, other: str, least: float) -> bool:
    return difflib.SequenceMatcher(None, one, other).ratio() >= least


def _said(look: Callable[..., Any], *given: Any) -> Iterator[str]:
    """What `look` has to say against what was given."""
    try:
        look(*given)
    except LifeboatError as error:
        yield str(error)


def _schedules(given: Any) -> Iterator[str]:
    for name, text in given.items():
        yield from _schedule(text, f"lifeboat_schedule.{name}")


def _schedule(text: Any, where: str) -> Iterator[str]:
    if text != BY_OBJECTIVE:
        yield from _said(parse_schedule, str(text), where, "")


def _databases(given: Any) -> Iterator[str]:
    for database in given if isinstance(given, (list, tuple)) else ():
        if not isinstance(database, Mapping):
            yield str(ConfigurationError("expected a mapping with a name", "lifeboat_databases"))
            continue
        where = f"lifeboat_databases, {database.get('name')!r}"
        if database.get("schedule"):
            yield from _schedule(database["schedule"], f"{where}: schedule")
        if database.get("objective"):
            yield from _said(objective.resolve, database["objective"], f"{where}: objective")


def _repositories(given: Any) -> Iterator[str]:
    faults = [sentence for name, spec in given.items() for sentence in _said(validate, name, spec)]
    yield from faults or _said(check_sources, given)


def _encryption(given: Any) -> Iterator[str]:
    """Recipients of age only: keyrings and passphrases lie on the hosts."""
    if (given.get("method") or AGE) != AGE:
        return
    for key in ("recipients", "key_recipients"):
        if given.get(key):
            yield from _said(_recipients, given, key)


def _recipients(given: Mapping[str, Any], key: str) -> None:
    parse_recipients(options.texts(given, key, "encryption"), f"encryption.{key}")


def _objective(given: Any) -> Iterator[str]:
    yield from _said(objective.resolve, given, "lifeboat_objective")


def _retention(given: Any) -> Iterator[str]:
    yield from _said(retention_of, {"retention": given}, "lifeboat_retention")


def _mapping(look: Callable[[Any], Iterator[str]], name: str) -> Callable[[Any], Iterator[str]]:
    """`look`, or a sentence for what is no mapping."""

    def looked(given: Any) -> Iterator[str]:
        if isinstance(given, Mapping):
            yield from look(given)
        else:
            yield str(ConfigurationError("expected a mapping", name))

    return looked


PARTS: Mapping[str, Callable[[Any], Iterator[str]]] = {
    "objective": _objective,
    "schedule": _mapping(_schedules, "lifeboat_schedule"),
    "prune_schedule": lambda given: _schedule(given, "lifeboat_prune_schedule"),
    "retention": _retention,
    "databases": _databases,
    "repositories": _mapping(_repositories, "lifeboat_repositories"),
    "key_repositories": _mapping(_repositories, "lifeboat_key_repositories"),
    "encryption": _mapping(_encryption, "lifeboat_encryption"),
}
"""What is looked at, by the variables' names without their prefix."""
