# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of `backup_info`: from options to a list of backups, looked at as closely as was asked for; and all about one."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import expression, options
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.digest_coverage import coverage_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill_history import last_drills
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, ObjectMissing, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.found_backup import Backup, Broken
from ansible_collections.lifeboat.postgres.plugins.module_utils.inspection import LEVELS, inspect
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import KINDS, BackupRef, backup_prefix
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest_cache import cache_in
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository, validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now

__all__ = ["list_backups", "show_backup"]

KEYS = ("system", "kind", "name", "repositories", "query", "verify", "verify_newest", "verify_keys", "report_repository", "cache_dir")


@dataclass(frozen=True)
class _Asked:
    """The options, read strictly."""

    system: str
    kind: str | None
    name: str | None
    level: str
    count: int
    keys: tuple[str, ...]
    query: str | None
    specs: Mapping[str, Any]
    report_spec: Mapping[str, Any] | None
    cache_dir: str | None

    @classmethod
    def from_options(cls, given: Mapping[str, Any]) -> _Asked:
        """Raises `ConfigurationError` that names the option."""
        where = "backup_info"
        options.unknown_keys(given, KEYS, where)
        asked = cls(
            system=options.text(given, "system", where),
            kind=options.choice(given, "kind", where, KINDS, None),
            name=options.text(given, "name", where, None),
            level=options.choice(given, "verify", where, LEVELS, "none"),
            count=options.integer(given, "verify_newest", where, 0, minimum=0),
            keys=options.texts(given, "verify_keys", where, ()),
            query=options.text(given, "query", where, None),
            specs=options.mapping(given, "repositories", where),
            report_spec=options.mapping(given, "report_repository", where, None),
            cache_dir=options.text(given, "cache_dir", where, None),
        )
        if not asked.specs:
            raise ConfigurationError("repositories is empty", where)
        for title, spec in {**asked.specs, **({} if asked.report_spec is None else {"reports": asked.report_spec})}.items():
            validate(title, spec)
        if asked.name is not None and asked.kind is None:
            raise ConfigurationError("name needs kind", where)
        if asked.query is not None:
            expression.check(asked.query, where)  # a mistake shows before everything is listed and read
        return asked

    def open(self, stack: contextlib.ExitStack) -> tuple[list[Repository], Catalogue]:
        """The repositories, open until the stack ends, and what their listings say."""
        cache = cache_in(self.cache_dir)
        repositories = [stack.enter_context(open_repository(title, spec, read_only=True)) for title, spec in self.specs.items()]
        return repositories, Catalogue.load(repositories, self.system, self.kind, self.name, self.keys, cache)

    def open_reports(self, stack: contextlib.ExitStack) -> Repository | None:
        return None if self.report_spec is None else stack.enter_context(open_repository("reports", self.report_spec, read_only=True))


def list_backups(given: Mapping[str, Any]) -> dict[str, Any]:
    """The module's result; raises `ConfigurationError`, and `RepositoryError` when no repository can be listed."""
    asked = _Asked.from_options(given)
    with contextlib.ExitStack() as stack:
        repositories, catalogue = asked.open(stack)
        closer = inspect(_newest_of_each(catalogue.backups, asked.count), repositories, asked.level)
        catalogue.replace_backups(closer)
        broken = catalogue.broken
        warnings = [f"repository {title!r} cannot be listed: {reason}" for title, reason in catalogue.unreachable.items()]
        reports = asked.open_reports(stack)
        if reports is not None:
            broken, warnings = _add_drills(catalogue, reports, asked, broken, warnings)

    documents = catalogue.to_documents(now())
    found = documents if asked.query is None else expression.search(asked.query, documents, "backup_info")
    if not isinstance(found, list):
        hint = "End it with [?…], [] or [:1]."
        raise ConfigurationError(f"the query gives {type(found).__name__}, not a list", asked.query or "", hint)
    return {
        "backups": found,
        "newest": _newest_good(documents),
        "digests": _digests(documents),
        "broken": [dataclasses.asdict(item) for item in broken],
        "unreachable": dict(catalogue.unreachable),
        "warnings": warnings,
    }


def show_backup(given: Mapping[str, Any], backup_id: str) -> dict[str, Any]:
    """All that is known of one backup: its item of the list, how to restore it, and the whole manifest. Reads no other's.

    Raises as `list_backups` does, `ObjectMissing` when there is no such backup and `ManifestError` when its manifest cannot
    be read anywhere.
    """
    asked = _Asked.from_options(given)
    with contextlib.ExitStack() as stack:
        repositories, catalogue = asked.open(stack)
        backups = [catalogue.get(ref) for ref in catalogue.refs if ref.backup_id == backup_id]
        found = inspect([backup for backup in backups if backup is not None], repositories, asked.level)
        reports = asked.open_reports(stack)
        if reports is not None:
            drills, _unreadable = last_drills(reports, asked.system, {backup.ref for backup in found}, asked.kind, asked.name)
            found = [dataclasses.replace(backup, drilled=drills.get(backup.ref)) for backup in found]
        newest: dict[tuple[str, str], BackupRef] = {}
        for ref in catalogue.refs:
            newest.setdefault((ref.kind, ref.name), ref)
        documents = [
            {
                **backup.to_document(now(), newest=newest[backup.ref.kind, backup.ref.name] == backup.ref),
                "restore": f"{backup_prefix(backup.ref)}RESTORE.md",
                "manifest": backup.manifest.to_document(),
            }
            for backup in found
        ]
    if not documents:
        lost = f"; not listed: {', '.join(catalogue.unreachable)}" if catalogue.unreachable else ""
        where = f"system {asked.system!r}{lost}"
        raise ObjectMissing(f"there is no backup {backup_id!r}", where, "lifeboat list shows those that there are.")
    return {"backups": documents, "broken": [], "unreachable": dict(catalogue.unreachable)}


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
    asked: _Asked,
    broken: Sequence[Broken],
    warnings: Sequence[str],
) -> tuple[list[Broken], list[str]]:
    try:
        drills, unreadable = last_drills(reports, asked.system, {backup.ref for backup in catalogue.backups}, asked.kind, asked.name)
    except RepositoryError as error:
        return list(broken), [*warnings, f"the drill reports cannot be listed: {error}"]
    catalogue.replace_backups([dataclasses.replace(backup, drilled=drills.get(backup.ref)) for backup in catalogue.backups])
    return [*broken, *(Broken(reports.name, key, reason) for key, reason in unreadable)], list(warnings)


def _digests(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Of each asset whose content is digested, since when all of it was, by its good backups."""
    good: dict[str, list[tuple[str, str]]] = {}
    for document in documents:
        if document["good"]:
            good.setdefault(f"{document['kind']}/{document['name']}", []).append((document["digested"], document["snapshot_at"]))
    found = {asset: coverage_of(pairs) for asset, pairs in good.items()}
    return {asset: coverage.to_document() for asset, coverage in found.items() if coverage is not None}


def _newest_good(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    newest: dict[str, Any] = {}
    for document in documents:
        asset = f"{document['kind']}/{document['name']}"
        if newest.get(asset) is None:
            newest[asset] = document if document["good"] else None
    return newest
