# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of `backup_info`: from options to a list of backups, looked at as closely as was asked for."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import expression, options
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Backup, Broken, Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill_history import last_drills
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.inspection import LEVELS, inspect
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import KINDS
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest_cache import cache_in
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now

__all__ = ["list_backups"]

KEYS = ("system", "kind", "name", "repositories", "query", "verify", "verify_newest", "verify_keys", "report_repository", "cache_dir")


def list_backups(given: Mapping[str, Any]) -> dict[str, Any]:
    """The module's result; raises `ConfigurationError`, and `RepositoryError` when no repository can be listed."""
    where = "backup_info"
    options.unknown_keys(given, KEYS, where)
    system = options.text(given, "system", where)
    kind = options.choice(given, "kind", where, KINDS, None)
    name = options.text(given, "name", where, None)
    level = options.choice(given, "verify", where, LEVELS, "none")
    count = options.integer(given, "verify_newest", where, 0, minimum=0)
    keys = options.texts(given, "verify_keys", where, ())
    query = options.text(given, "query", where, None)
    specs = options.mapping(given, "repositories", where)
    report_spec = options.mapping(given, "report_repository", where, None)
    cache_dir = options.text(given, "cache_dir", where, None)
    if not specs:
        raise ConfigurationError("repositories is empty", where)
    if name is not None and kind is None:
        raise ConfigurationError("name needs kind", where)
    if query is not None:
        expression.check(query, where)  # a mistake shows before everything is listed and read

    cache = cache_in(cache_dir)
    with contextlib.ExitStack() as stack:
        repositories = [stack.enter_context(open_repository(title, spec, read_only=True)) for title, spec in specs.items()]
        catalogue = Catalogue.load(repositories, system, kind, name, keys, cache)
        closer = inspect(_newest_of_each(catalogue.backups, count), repositories, level)
        catalogue.replace_backups(closer)
        broken = catalogue.broken
        warnings = [f"repository {title!r} cannot be listed: {reason}" for title, reason in catalogue.unreachable.items()]
        if report_spec is not None:
            reports = stack.enter_context(open_repository("reports", report_spec, read_only=True))
            broken, warnings = _add_drills(catalogue, reports, system, kind, name, broken, warnings)

    documents = catalogue.to_documents(now())
    found = documents if query is None else expression.search(query, documents, where)
    if not isinstance(found, list):
        raise ConfigurationError(f"the query gives {type(found).__name__}, not a list", query or "", "End it with [?…], [] or [:1].")
    return {
        "backups": found,
        "newest": _newest_good(documents),
        "broken": [dataclasses.asdict(item) for item in broken],
        "unreachable": dict(catalogue.unreachable),
        "warnings": warnings,
    }


def _newest_of_each(backups: Iterable[Backup], count: int) -> list[Backup]:
    """So many of the newest backups of each asset, 0 for all; `backups` are newest first."""
    seen: dict[tuple[str, str], int] = {}
    chosen = []
    for backup in backups:
        asset = (backup.ref.kind, backup.ref.name)
        seen[asset] = seen.get(asset, 0) + 1
        if not count or seen[asset] <= count:
            chosen.append(backup)
    return chosen


def _add_drills(
    catalogue: Catalogue,
    reports: Repository,
    system: str,
    kind: str | None,
    name: str | None,
    broken: Sequence[Broken],
    warnings: Sequence[str],
) -> tuple[list[Broken], list[str]]:
    try:
        drills, unreadable = last_drills(reports, system, {backup.ref for backup in catalogue.backups}, kind, name)
    except RepositoryError as error:
        return list(broken), [*warnings, f"the drill reports cannot be listed: {error}"]
    catalogue.replace_backups([dataclasses.replace(backup, drilled=drills.get(backup.ref)) for backup in catalogue.backups])
    return [*broken, *(Broken(reports.name, key, reason) for key, reason in unreadable)], list(warnings)


def _newest_good(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    newest: dict[str, Any] = {}
    for document in documents:
        asset = f"{document['kind']}/{document['name']}"
        if newest.get(asset) is None:
            newest[asset] = document if document["good"] else None
    return newest
