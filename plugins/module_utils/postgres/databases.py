# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which databases has a server, and which of them are nobody's to back up?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login, database_errors, one_row, open_connection

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Database", "databases_of"]

# What providers keep beside the customer's databases, and let nobody but themselves read.
_OF_PROVIDERS = ("rdsadmin", "cloudsqladmin", "alloydbadmin", "alloydbmetadata", "azure_maintenance", "azure_sys")

_LIST = """
    SELECT datname, datistemplate, datallowconn, datconnlimit, pg_catalog.has_database_privilege(oid, 'CONNECT')
    FROM pg_catalog.pg_database ORDER BY datname
"""
_HOLDS_SOMETHING = """
    SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                   WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
                     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                                     WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
        OR EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)
"""


@dataclass(frozen=True)
class Database:
    """A database of the server; `left_out` says why it is not one to back up, "" when it is."""

    name: str
    left_out: str = ""


def databases_of(login: Login) -> tuple[Database, ...]:
    """Every database of the server, by name; `login` names any of them to ask in. Raises `DatabaseError`."""
    with open_connection(login, application_name="lifeboat look") as connection, database_errors(login.place):
        found = [Database(row[0], _reason(*row)) for row in connection.execute(_LIST).fetchall()]
        return tuple(_empty_postgres(item, login, connection) for item in found)


def _reason(name: str, is_template: bool, takes_connections: bool, limit: int, may_connect: bool) -> str:
    if is_template:
        return "a template"
    if limit == -2:
        return "invalid since a DROP DATABASE that was interrupted"
    if not takes_connections:
        return "takes no connections"
    if name in _OF_PROVIDERS and not may_connect:
        return "the provider's own"
    return ""


def _empty_postgres(item: Database, login: Login, connection: Connection[Any]) -> Database:
    """Every server has a database `postgres` to connect to; it counts when somebody keeps something in it."""
    if item.name != "postgres" or item.left_out:
        return item
    try:
        if login.dbname == "postgres":
            (holds,) = one_row(connection, _HOLDS_SOMETHING)
        else:
            with open_connection(login.for_database("postgres"), application_name="lifeboat look") as other:
                (holds,) = one_row(other, _HOLDS_SOMETHING)
    except DatabaseError:
        return item  # what cannot be looked into is not taken for empty
    return item if holds else Database(item.name, "empty")
