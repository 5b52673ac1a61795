# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A schema as one digest per object: equal after a dump and a restore, different when a definition is.

What goes into a digest is listed in kinds_*.py. The digest alone is kept, so a difference is named by its object.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.expressions import normalised
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.kinds import Kind
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.kinds_others import OTHER_KINDS
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.kinds_privileges import PRIVILEGE_KINDS
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.kinds_relations import RELATION_KINDS
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.kinds_types import TYPE_KINDS
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import psycopg, savepoint
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.faults import first_line

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["RULES", "Definition", "Definitions", "object_names", "read_definitions", "read_privileges"]

RULES = 1
"""Counts up when the digest of an unchanged object changes; evidence by other rules is compared by names only."""

_ATTEMPTS = 5

SCHEMA_KINDS: Sequence[Kind] = (*RELATION_KINDS, *TYPE_KINDS, *OTHER_KINDS)


class Definition(NamedTuple):
    """`digest` is SHA-256 of the definition in hexadecimal, equal in a restored database; `version` is of this one only."""

    digest: str
    version: str


@dataclass(frozen=True)
class Definitions:
    """Definition by object; `unread` maps a kind that could not be read to the reason."""

    objects: Mapping[str, Definition]
    unread: Mapping[str, str] = field(default_factory=dict)


def read_definitions(connection: Connection[Any]) -> Definitions:
    """Every object of the schema, as this transaction and the catalog functions see it now.

    Looking at a view locks what it reads, so a kind may be kept from us by a lock (the session's lock_timeout), and an
    object may go while it is being looked at: what cannot be read in a few attempts is `unread`. Raises `psycopg.Error`
    for anything else.
    """
    errors = psycopg().errors
    objects: dict[str, Definition] = {}
    unread: dict[str, str] = {}
    for kind in _known(connection, SCHEMA_KINDS):
        for _attempt in range(_ATTEMPTS):
            try:
                with savepoint(connection):
                    objects.update(_definitions(connection, kind))
                unread.pop(kind.name, None)
                break
            except errors.LockNotAvailable as error:
                unread[kind.name] = first_line(error)
                break
            except (errors.InternalError_, errors.UndefinedTable, errors.UndefinedObject, errors.UndefinedFunction) as error:
                unread[kind.name] = first_line(error)
    return Definitions(objects, unread)


def read_privileges(connection: Connection[Any]) -> dict[str, str]:
    """Digest of owner and grants by object, as this transaction's snapshot has them. Locks nothing."""
    kinds = _known(connection, PRIVILEGE_KINDS)
    return {name: definition.digest for kind in kinds for name, definition in _definitions(connection, kind)}


def object_names(connection: Connection[Any]) -> frozenset[str]:
    """The objects of the schema as this transaction's snapshot has them. Locks nothing."""
    kinds = _known(connection, SCHEMA_KINDS)
    return frozenset(_label(kind, row[0]) for kind in kinds for row in connection.execute(kind.select_identities().encode()))


def _known(connection: Connection[Any], kinds: Sequence[Kind]) -> Iterator[Kind]:
    return (kind for kind in kinds if kind.known_to(connection.info.server_version))


def _definitions(connection: Connection[Any], kind: Kind) -> Iterator[tuple[str, Definition]]:
    labels = kind.labels()
    for identity, version, *values in connection.execute(kind.select_definitions().encode()):
        parts: dict[str, Any] = {}
        for label, value in zip(labels, values):
            if value:
                parts[label] = normalised(value) if label.endswith("~") else value
        text = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str)
        yield _label(kind, identity), Definition(hashlib.sha256(text.encode()).hexdigest(), str(version))


def _label(kind: Kind, identity: str | None) -> str:
    return f"{kind.name} {identity}" if identity else kind.name
