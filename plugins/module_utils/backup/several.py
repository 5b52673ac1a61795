# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several databases of one server, or all of them: each is an asset of its own, and one's trouble is not the others'.

A database that was created after the list was written is not lost sight of: with `all_databases`, or by a pattern, it is
backed up; beside a fixed list it is named.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job import DATABASE_KEYS, LogicalJob, database_fields
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, LifeboatError, NotAllBackedUp
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.databases import Database

__all__ = ["UNLISTED", "Choice", "Selection", "back_up_several"]

UNLISTED = ("warn", "fail", "ignore")
_LOOK_IN = "postgres"
"""The database to log in to for the list, where none is named: every server has it."""

_WHERE = "pg_logical_backup"


@dataclass(frozen=True)
class Selection:
    """What a server's databases come to: `chosen` with the fields of their jobs that are their own, `unlisted` ones, why others
    are `left_out`, and the `unmatched` patterns."""

    chosen: Mapping[str, Mapping[str, Any]]
    unlisted: Sequence[str]
    left_out: Mapping[str, str]
    unmatched: Sequence[str]


@dataclass(frozen=True)
class Choice:
    """The databases that were asked for: names and patterns, with fields of a job of their own, or all; and what is excluded."""

    named: Mapping[str, Mapping[str, Any]]
    everything: bool = False
    excluded: Sequence[str] = ()
    unlisted: str = UNLISTED[0]
    look_in = _LOOK_IN

    @classmethod
    def from_options(cls, given: Mapping[str, Any]) -> Choice | None:
        """Read `databases`, `all_databases`, `exclude_databases` and `unlisted`; None when one database is meant.

        Raises `ConfigurationError`.
        """
        items = _items(given)
        everything = options.boolean(given, "all_databases", _WHERE, False)
        excluded = options.texts(given, "exclude_databases", _WHERE, ())
        unlisted = options.choice(given, "unlisted", _WHERE, UNLISTED, UNLISTED[0])
        if not items and not everything:
            if excluded:
                what = "exclude_databases is given without databases to exclude from"
                raise ConfigurationError(what, _WHERE, "Set all_databases, or a pattern in databases.")
            return None
        if given.get("name"):
            raise ConfigurationError("name is for one database", _WHERE, "Of several, each is called by its own name; leave out name.")
        named: dict[str, Mapping[str, Any]] = {}
        for number, item in enumerate(items, 1):
            where = f"databases, item {number}"
            own = {"name": item} if isinstance(item, str) else item
            options.unknown_keys(own, ("name", *DATABASE_KEYS), where)
            name = options.text(own, "name", where)
            if name in named:
                raise ConfigurationError(f"database {name!r} is named twice", where, "Once is enough.")
            named[name] = _own_fields(given, own, where)
        return cls(named, everything, excluded, unlisted)

    def select(self, found: Sequence[Database]) -> Selection:
        """Apply it to the databases of a server. A name that the server does not have stays: its backup fails and says so."""
        there = {item.name: item.left_out for item in found}
        chosen: dict[str, Mapping[str, Any]] = {name: own for name, own in self.named.items() if name in there or not _is_pattern(name)}
        left_out = {}
        patterns = {name: own for name, own in self.named.items() if name not in chosen}
        for name, reason in there.items():
            if name in chosen:
                continue
            pattern = next((pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern)), None)
            if self._is_excluded(name):
                left_out[name] = "excluded"
            elif reason:
                left_out[name] = reason
            elif pattern is not None or self.everything:
                chosen[name] = patterns[pattern] if pattern is not None else {}
        unmatched = [pattern for pattern in patterns if not fnmatch.filter(there, pattern)]
        unlisted = [name for name in there if name not in chosen and name not in left_out]
        return Selection({name: chosen[name] for name in sorted(chosen)}, unlisted, left_out, unmatched)

    def _is_excluded(self, name: str) -> bool:
        return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in self.excluded)


def back_up_several(job: LogicalJob, choice: Choice, back_up: Callable[[LogicalJob], dict[str, Any]]) -> dict[str, Any]:
    """Give each chosen database of the job's server to `back_up`. The result holds those of all by name.

    Raises `NotAllBackedUp`, with the result, after the last one when any has no backup; `DatabaseError` before the first.
    """
    from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.databases import databases_of

    selection = choice.select(databases_of(job.login))
    results: dict[str, dict[str, Any]] = {}
    for name, own in selection.chosen.items():
        one = dataclasses.replace(job, name=name, login=job.login.for_database(name), **own)
        try:
            results[name] = {"failed": False, **back_up(one)}
        except LifeboatError as error:
            results[name] = {"failed": True, "changed": False, **error.result, "msg": str(error), "kind": type(error).__name__}
    return _judged(choice, selection, results, job.system)


def _items(given: Mapping[str, Any]) -> list[Any]:
    value = given.get("databases") or []
    items = [value] if isinstance(value, (str, Mapping)) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, (str, Mapping)) for item in items):
        raise ConfigurationError("databases: expected a list of names, or of mappings with a name", _WHERE)
    return list(items)


def _own_fields(given: Mapping[str, Any], own: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of a job for a database that has options of its own, each in place of the one for all."""
    own = {key: value for key, value in own.items() if key != "name" and value is not None}
    return database_fields({**given, **own}, where) if own else {}


def _is_pattern(name: str) -> bool:
    return any(character in name for character in "*?[")


def _judged(choice: Choice, selection: Selection, results: dict[str, dict[str, Any]], system: str) -> dict[str, Any]:
    failed = [f"{name}: {result['msg']}" for name, result in results.items() if result["failed"]]
    failed += [f"{pattern}: this pattern matches no database of the server." for pattern in selection.unmatched]
    warnings = list(_warnings(results))
    result: dict[str, Any] = {
        "changed": any(one["changed"] for one in results.values()),
        "warnings": warnings,
        "databases": results,
        "left_out": dict(selection.left_out),
        "unlisted": list(selection.unlisted),
    }
    if selection.unlisted and choice.unlisted != "ignore":
        names = ", ".join(selection.unlisted)
        said = f"the server has databases that are neither listed nor excluded: {names}."
        if choice.unlisted == "fail":
            failed.append(said)
        else:
            warnings.append(said)
    if failed:
        count = sum(one["failed"] for one in results.values())
        what = f"{count} of {many(len(results), 'database')} of system {system} not backed up"
        raise NotAllBackedUp(what if count else f"the databases of system {system} are not as described", "", " ".join(failed), result)
    if not results:
        raise NotAllBackedUp(f"there is no database of system {system} to back up", "", "All are excluded, empty or templates.", result)
    return result


def _warnings(results: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Each warning once, with the databases that it is about unless it is about all."""
    about: dict[str, list[str]] = {}
    for name, result in results.items():
        for warning in result.pop("warnings", ()):
            about.setdefault(warning, []).append(name)
    for warning, names in about.items():
        yield warning if len(names) == len(results) else f"{', '.join(names)}: {warning}"
