# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backups a repository held and let go by retention, so that nobody takes them for lost (docs/format.md).

A manifest says into which repositories its backup went, and never changes. When one of them keeps backups for a shorter time than
the others, what is missing there has to be told from what was taken away: who prunes leaves the ids, before it removes anything.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterable

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ManifestError, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import text, tuple_of

__all__ = ["read_retired", "write_retired"]

SCHEMA = 1
MOST = 50_000
"""Ids of one asset that are remembered, the newest: hourly backups of five years."""

_LIMIT_BYTES = 4 * 1024 * 1024


def read_retired(repository: Repository, system: str, kind: str, name: str) -> frozenset[str]:
    """The ids of an asset's backups that this repository let go. What cannot be understood says nothing. Raises `RepositoryError`."""
    return _read(repository, _keys(repository, system, kind, name))


def write_retired(repository: Repository, system: str, kind: str, name: str, backup_ids: Iterable[str]) -> None:
    """Add ids to those. The new list lies there before the old one goes, where that may be removed at all. Raises `RepositoryError`."""
    old = _keys(repository, system, kind, name)
    known = _read(repository, old)
    everything = known | set(backup_ids)
    if everything == known:
        return
    document = {"schema": SCHEMA, "system": system, "kind": kind, "name": name, "backup_ids": sorted(everything)[-MOST:]}
    key = f"{layout.retired_prefix(system, kind, name)}{max(everything)}-{secrets.token_hex(4)}.json"
    repository.put(key, json.dumps(document, sort_keys=True, indent=1).encode() + b"\n")
    for former in old:
        with contextlib.suppress(RepositoryError):  # locked, or gone: two lists say no more than one
            repository.delete(former)


def _keys(repository: Repository, system: str, kind: str, name: str) -> list[str]:
    return [info.key for info in repository.list(layout.retired_prefix(system, kind, name))]


def _read(repository: Repository, keys: Iterable[str]) -> frozenset[str]:
    found: set[str] = set()
    for key in keys:
        with contextlib.suppress(ManifestError):
            found |= _ids(repository.read(key, _LIMIT_BYTES), key)
    return frozenset(found)


def _ids(data: bytes, where: str) -> set[str]:
    try:
        document = json.loads(data.decode("utf-8"))
        if document["schema"] != SCHEMA:
            raise ValueError("another schema")
        return set(tuple_of(text)(document["backup_ids"]))
    except (ValueError, KeyError, TypeError):
        raise ManifestError("this is no list of retired backups", where) from None
