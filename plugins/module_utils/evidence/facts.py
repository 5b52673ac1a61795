# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about a database that stand in its catalog: encoding, extensions, collations, settings, roles, large objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import Collation, LargeObjects
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import one_row

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = [
    "collations",
    "database_bytes",
    "encoding",
    "extensions",
    "installed_collation_versions",
    "large_objects",
    "roles",
    "settings",
    "superuser",
]


def encoding(connection: Connection[Any]) -> dict[str, str]:
    """Encoding and locale in the words of CREATE DATABASE; what this version does not have is left out."""
    (words,) = one_row(
        connection,
        """
        SELECT jsonb_strip_nulls(jsonb_build_object(
            'encoding', pg_encoding_to_char(d.encoding),
            'lc_collate', d.datcollate,
            'lc_ctype', d.datctype,
            'locale_provider', to_jsonb(d) ->> 'datlocprovider',
            'locale', coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'),
            'icu_rules', to_jsonb(d) ->> 'daticurules'))
        FROM pg_database d WHERE d.datname = current_database()
        """,
    )
    return dict(words)


def superuser(connection: Connection[Any]) -> str:
    """The role that initdb made; it is in no list of dependencies, since it can never be dropped."""
    return str(one_row(connection, "SELECT pg_get_userbyid(10)::text")[0])


def database_bytes(connection: Connection[Any]) -> int:
    """What the database takes on disk."""
    return int(one_row(connection, "SELECT pg_database_size(current_database())")[0])


def extensions(connection: Connection[Any]) -> dict[str, str]:
    """Version by name of each extension; its members are its own affair."""
    return dict(connection.execute("SELECT extname::text, extversion FROM pg_extension ORDER BY extname").fetchall())


def collations(connection: Connection[Any]) -> tuple[Collation, ...]:
    """Versions of the database's collation (15 and newer) and of those that columns, indexes, types and partition keys use."""
    found = []
    if connection.info.server_version >= 150000:
        found += connection.execute(
            "SELECT 'database', coalesce(datcollversion, ''), coalesce(pg_database_collation_actual_version(oid), '')"
            " FROM pg_database WHERE datname = current_database()"
        ).fetchall()
    found += connection.execute(
        """
        WITH used AS (
            SELECT attcollation AS oid FROM pg_attribute WHERE attcollation <> 0
            UNION SELECT typcollation FROM pg_type WHERE typcollation <> 0
            UNION SELECT unnest(indcollation) FROM pg_index
            UNION SELECT unnest(partcollation) FROM pg_partitioned_table
            UNION SELECT rngcollation FROM pg_range
        )
        SELECT format('%I.%I', n.nspname, c.collname), coalesce(c.collversion, ''), coalesce(pg_collation_actual_version(c.oid), '')
        FROM used u JOIN pg_collation c ON c.oid = u.oid JOIN pg_namespace n ON n.oid = c.collnamespace
        WHERE c.collversion IS NOT NULL ORDER BY 1
        """
    ).fetchall()
    return tuple(Collation(*row) for row in found)


def installed_collation_versions(connection: Connection[Any]) -> dict[str, str]:
    """The version that this host has, by collation, named as in `collations`."""
    rows = connection.execute(
        "SELECT format('%I.%I', n.nspname, c.collname), coalesce(pg_collation_actual_version(c.oid), '')"
        " FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace WHERE c.collversion IS NOT NULL"
    ).fetchall()
    if connection.info.server_version >= 150000:
        rows += connection.execute(
            "SELECT 'database', coalesce(pg_database_collation_actual_version(oid), '') FROM pg_database WHERE datname = current_database()"
        ).fetchall()
    return dict(rows)


def settings(connection: Connection[Any]) -> tuple[str, ...]:
    """What ALTER DATABASE … SET and ALTER ROLE … IN DATABASE … SET have set, as lines `[role: ]name=value`."""
    rows = connection.execute(
        """
        SELECT CASE WHEN s.setrole = 0 THEN '' ELSE quote_ident(pg_get_userbyid(s.setrole)) || ': ' END || entry
        FROM pg_db_role_setting s, unnest(s.setconfig) AS entry
        WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
        """
    ).fetchall()
    return tuple(sorted(row[0] for row in rows))


def roles(connection: Connection[Any]) -> tuple[str, ...]:
    """Every role, built-in ones aside, that owns something in this database, was granted something, or has settings for it."""
    rows = connection.execute(
        """
        WITH this AS (SELECT oid FROM pg_database WHERE datname = current_database())
        SELECT r.rolname::text FROM pg_roles r
        WHERE r.rolname !~ '^pg_' AND (
            r.oid = 10
            OR r.oid IN (
                SELECT d.refobjid FROM pg_shdepend d, this
                WHERE d.refclassid = 'pg_authid'::regclass
                  AND (d.dbid = this.oid OR (d.dbid = 0 AND d.classid = 'pg_database'::regclass AND d.objid = this.oid)))
            OR r.oid IN (SELECT s.setrole FROM pg_db_role_setting s, this WHERE s.setdatabase = this.oid)
            OR r.oid IN (SELECT m.umuser FROM pg_user_mappings m))
        ORDER BY 1
        """
    ).fetchall()
    return tuple(sorted(row[0] for row in rows))


def large_objects(connection: Connection[Any]) -> LargeObjects:
    """How many large objects, and their lengths added up: by the end of each, since a restore fills holes with zeros."""
    count = int(one_row(connection, "SELECT count(*) FROM pg_largeobject_metadata")[0])
    if not one_row(connection, "SELECT has_table_privilege('pg_largeobject', 'SELECT')")[0]:
        return LargeObjects(count, None)
    (total,) = one_row(
        connection,
        """
        WITH last AS (SELECT loid, max(pageno) AS pageno FROM pg_largeobject GROUP BY loid)
        SELECT coalesce(sum(l.pageno::bigint * (current_setting('block_size')::int / 4) + octet_length(o.data)), 0)::bigint
        FROM last l JOIN pg_largeobject o ON o.loid = l.loid AND o.pageno = l.pageno
        """,
    )
    return LargeObjects(count, int(total))
