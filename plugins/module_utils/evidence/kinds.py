# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - every part of this SQL is written in this library
"""What a kind of object in a schema is, as a question to the catalog.

A kind's text is SQL that runs with `search_path` set to `pg_catalog`. `identity` must come from the catalog's own rows
only, never from a function that looks an object up: rows are as old as the snapshot, functions see the present
(docs/postgres-notes.md#catalog-functions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "OWN_SUBSCRIPTION",
    "USER_NAMESPACE",
    "Kind",
    "in_order",
    "in_schema",
    "not_of_extension",
    "qualified",
    "routine_name",
    "without_schema",
]

_FIRST_USER_OID = 16384  # src/include/access/transam.h, FirstNormalObjectId

USER_NAMESPACE = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

OWN_SUBSCRIPTION = (
    "o.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())"
    " AND (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user)"
)
"""The subscriptions of this database, for a superuser: pg_dump leaves them out for everybody else."""


@dataclass(frozen=True)
class Kind:
    """`source` is what follows FROM; `identity` gives the object's name as text, `parts` what makes its definition.

    A part whose label ends in `~` is an expression as PostgreSQL prints it (expressions.py). A part that is null, false
    or empty is left out, so that a later version can look at more without changing what it says of older objects.

    `version` is SQL that gives something else once the object was replaced, even by an equal one: what looks the same
    before and after a dump was not always the same in between. `commented` is the catalog, OID and column of its comment.
    """

    name: str
    source: str
    identity: str
    parts: Mapping[str, str]
    version: str = "NULL"
    commented: tuple[str, ...] = ()
    since: int = 0
    before: int = 10**6

    def known_to(self, version_num: int) -> bool:
        """Whether a server of this version has the kind in this form."""
        return self.since <= version_num < self.before

    def labels(self) -> list[str]:
        """What `select_definitions` gives behind the identity and the version, in its order."""
        return [*self.parts, "comment"] if self.commented else list(self.parts)

    def select_identities(self) -> str:
        return f"SELECT {self.identity} FROM {self.source}"

    def select_definitions(self) -> str:
        """Identity, version, and the parts."""
        if not self.commented:
            return f"SELECT {', '.join([self.identity, self.version, *self.parts.values()])} FROM {self.source}"
        catalog, oid, *column = self.commented
        remark = f"pg_description z WHERE z.classoid = '{catalog}'::regclass AND z.objoid = {oid} AND z.objsubid = {(*column, '0')[0]}"
        version = f"concat_ws(' ', {self.version}, (SELECT z.xmin FROM {remark}))"
        parts = [*self.parts.values(), f"(SELECT z.description FROM {remark})"]
        return f"SELECT {', '.join([self.identity, version, *parts])} FROM {self.source}"


def not_of_extension(catalog: str, oid: str) -> str:
    """The condition that an object does not belong to an extension, which brings its own."""
    return f"NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = '{catalog}'::regclass AND x.objid = {oid} AND x.deptype = 'e')"


def in_order(item: str, source: str) -> str:
    """An array of different texts in an order that no collation of the host changes."""
    return f'(SELECT array_agg(DISTINCT s.item ORDER BY s.item) FROM (SELECT ({item})::text COLLATE "C" AS item FROM {source}) AS s)'


def in_schema(catalog: str, alias: str, namespace: str, condition: str = "true", join: str = "") -> str:
    """The user's own objects of a catalog whose rows have a schema, as `alias`; the schema is `n`."""
    return (
        f"{catalog} {alias} JOIN pg_namespace n ON n.oid = {alias}.{namespace} {join}"
        f" WHERE {USER_NAMESPACE} AND ({condition}) AND {not_of_extension(catalog, f'{alias}.oid')}"
    )


def without_schema(catalog: str, alias: str, join: str = "") -> str:
    """The user's own objects of a catalog whose rows have no schema, as `alias`."""
    return f"{catalog} {alias} {join} WHERE {alias}.oid >= {_FIRST_USER_OID} AND {not_of_extension(catalog, f'{alias}.oid')}"


def qualified(name: str) -> str:
    """Schema and name, quoted where they need it."""
    return f"format('%I.%I', n.nspname, {name})"


def routine_name(column: str) -> str:
    """The function that a column refers to, with its arguments, or null."""
    return f"CASE WHEN {column}::oid <> 0 THEN {column}::oid::regprocedure::text END"
