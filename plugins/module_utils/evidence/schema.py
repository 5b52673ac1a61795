# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - every part of this SQL is written in this library
"""A schema as one digest per object: equal after a dump and a restore, different when a definition is.

What goes into a digest is listed in kinds_*.py. The digest alone is kept, so a difference is named by its object.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.expressions import normalised
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.kinds import Kind
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.kinds_others import OTHER_KINDS
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.kinds_privileges import PRIVILEGE_KINDS
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.kinds_relations import RELATION_KINDS
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import psycopg

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["RULES", "Definitions", "object_names", "read_definitions"]

RULES = 1
"""Counts up when the digest of an unchanged object changes; evidence by other rules is compared by names only."""

SCHEMA_KINDS: Sequence[Kind] = (*RELATION_KINDS, *OTHER_KINDS)


@dataclass(frozen=True)
class Definitions:
    """Digest by object, for the schema and for owners and grants; `unread` maps a kind that could not be read to the reason."""

    objects: Mapping[str, str]
    privileges: Mapping[str, str]
    unread: Mapping[str, str] = field(default_factory=dict)


def read_definitions(connection: Connection[Any]) -> Definitions:
    """Every object with its digest, as this transaction and the catalog functions see it now.

    Looking at a view locks what it reads, so a kind may be kept from us by a lock (the session's lock_timeout): it is
    `unread` then. Raises `psycopg.Error` for anything else.
    """
    objects: dict[str, str] = {}
    privileges: dict[str, str] = {}
    unread: dict[str, str] = {}
    for kinds, digests in ((SCHEMA_KINDS, objects), (PRIVILEGE_KINDS, privileges)):
        for kind in _known(connection, kinds):
            try:
                with connection.transaction():
                    digests.update(_digests(connection, kind))
            except psycopg().errors.LockNotAvailable as error:
                unread[kind.name] = " ".join(str(error).split())
    return Definitions(objects, privileges, unread)


def object_names(connection: Connection[Any]) -> tuple[frozenset[str], frozenset[str]]:
    """The objects of the schema, and those with owners and grants, as this transaction's snapshot has them. Locks nothing."""
    found = []
    for kinds in (SCHEMA_KINDS, PRIVILEGE_KINDS):
        names: set[str] = set()
        for kind in _known(connection, kinds):
            rows = connection.execute(f"SELECT {kind.identity} FROM {kind.source}").fetchall()
            names.update(_label(kind, row[0]) for row in rows)
        found.append(frozenset(names))
    return found[0], found[1]


def _known(connection: Connection[Any], kinds: Sequence[Kind]) -> Iterator[Kind]:
    return (kind for kind in kinds if kind.known_to(connection.info.server_version))


def _digests(connection: Connection[Any], kind: Kind) -> Iterator[tuple[str, str]]:
    columns = ", ".join([kind.identity, *kind.parts.values()])
    for row in connection.execute(f"SELECT {columns} FROM {kind.source}"):
        parts: dict[str, Any] = {}
        for label, value in zip(kind.parts, row[1:]):
            if value:
                parts[label] = normalised(value) if label.endswith("~") else value
        text = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str)
        yield _label(kind, row[0]), hashlib.sha256(text.encode()).hexdigest()


def _label(kind: Kind, identity: str | None) -> str:
    return f"{kind.name} {identity}" if identity else kind.name
