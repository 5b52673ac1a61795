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

__all__ = ["USER_NAMESPACE", "Kind", "comment", "in_order", "not_of_extension"]

USER_NAMESPACE = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"


@dataclass(frozen=True)
class Kind:
    """`source` is what follows FROM; `identity` gives the object's name as text, `parts` what makes its definition.

    A part whose label ends in `~` is an expression as PostgreSQL prints it (expressions.py). A part that is null, false
    or empty is left out, so that a later version can look at more without changing what it says of older objects.
    """

    name: str
    source: str
    identity: str
    parts: Mapping[str, str]
    since: int = 0
    before: int = 10**6

    def known_to(self, version_num: int) -> bool:
        """Whether a server of this version has the kind in this form."""
        return self.since <= version_num < self.before


def not_of_extension(catalog: str, oid: str) -> str:
    """The condition that an object does not belong to an extension, which brings its own."""
    return f"NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = '{catalog}'::regclass AND x.objid = {oid} AND x.deptype = 'e')"


def comment(catalog: str, oid: str, column: str = "0") -> str:
    """The comment on an object, or null."""
    return (
        f"(SELECT d.description FROM pg_description d WHERE d.classoid = '{catalog}'::regclass AND d.objoid = {oid}"
        f" AND d.objsubid = {column})"
    )


def in_order(item: str, source: str) -> str:
    """An array of different texts in an order that no collation of the host changes."""
    return f'(SELECT array_agg(DISTINCT s.item ORDER BY s.item) FROM (SELECT ({item})::text COLLATE "C" AS item FROM {source}) AS s)'
