# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - every part of this SQL is written in this library
"""Who owns what, and who was granted what: compared apart from the schema, since both need the roles on the target."""

from __future__ import annotations

from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.kinds import (
    OWN_SUBSCRIPTION,
    USER_NAMESPACE,
    Kind,
    in_order,
    not_of_extension,
)

__all__ = ["PRIVILEGE_KINDS"]


def _granted(acl: str, owner: str) -> str:
    """The grants of an ACL; who granted them is left out, a dump does not always keep that."""
    return in_order(
        f"format('%s %s%s', CASE e.grantee WHEN 0 THEN 'PUBLIC' WHEN {owner} THEN '(owner)'"
        " ELSE quote_ident(pg_get_userbyid(e.grantee)) END, e.privilege_type, CASE WHEN e.is_grantable THEN ' grantable' ELSE '' END)",
        f"aclexplode({acl}) AS e",
    )


def _owned(name: str, source: str, identity: str, acl: str, owner: str, letter: str, shown_owner: str = "") -> Kind:
    """A kind with owner and ACL; an ACL that was never touched stands for the default of `letter` (acldefault())."""
    return Kind(
        name,
        source,
        identity,
        {
            "owner": shown_owner or f"quote_ident(pg_get_userbyid({owner}))",
            "granted": _granted(f"coalesce({acl}, acldefault('{letter}', {owner}))", owner),
        },
    )


def _relation(name: str, kinds: str, letter: str) -> Kind:
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    return _owned(
        name,
        f"pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ({listed}) AND c.relpersistence <> 't'"
        f" AND {USER_NAMESPACE} AND {not_of_extension('pg_class', 'c.oid')}",
        "format('%I.%I', n.nspname, c.relname)",
        "c.relacl",
        "c.relowner",
        letter,
    )


def _global(name: str, catalog: str, prefix: str, letter: str) -> Kind:
    return _owned(
        name,
        f"{catalog} o WHERE o.oid >= 16384 AND {not_of_extension(catalog, 'o.oid')}",
        f"format('%I', o.{prefix}name)",
        f"o.{prefix}acl",
        f"o.{prefix}owner",
        letter,
    )


# One line for all of them: there may be millions. Equal grants can be written down in different orders, so they are spelled
# out before they are counted.
_LARGE_OBJECTS = (
    "(SELECT g.owner, g.granted, sum(g.n) AS n FROM (SELECT quote_ident(pg_get_userbyid(m.lomowner)) AS owner, "
    + _granted("coalesce(m.acl::aclitem[], acldefault('L', m.lomowner))", "m.lomowner")
    + "::text AS granted, m.n FROM (SELECT lomowner, lomacl::text AS acl, count(*) AS n FROM pg_largeobject_metadata GROUP BY 1, 2) AS m)"
    " AS g GROUP BY 1, 2) AS k"
)

PRIVILEGE_KINDS = (
    _owned("database", "pg_database o WHERE o.datname = current_database()", "''", "o.datacl", "o.datdba", "d"),
    _owned(
        "schema",
        f"pg_namespace n WHERE {USER_NAMESPACE} AND {not_of_extension('pg_namespace', 'n.oid')}",
        "format('%I', n.nspname)",
        "n.nspacl",
        "n.nspowner",
        "n",
        # Before 15 the schema public belongs to whoever ran initdb, which a dump leaves as it is on the target.
        "CASE WHEN n.nspname = 'public' AND n.nspowner = 10 THEN '(default)' ELSE quote_ident(pg_get_userbyid(n.nspowner)) END",
    ),
    _relation("table", "rpf", "r"),
    _relation("view", "vm", "r"),
    _relation("sequence", "S", "s"),
    Kind(
        "column",
        "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid"
        f" WHERE a.attacl IS NOT NULL AND a.attnum > 0 AND NOT a.attisdropped AND c.relpersistence <> 't' AND {USER_NAMESPACE}"
        f" AND {not_of_extension('pg_class', 'c.oid')}",
        "format('%I.%I.%I', n.nspname, c.relname, a.attname)",
        {"granted": _granted("a.attacl", "c.relowner")},
    ),
    _owned(
        "function",
        f"pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {USER_NAMESPACE} AND {not_of_extension('pg_proc', 'p.oid')}",
        "format('%I.%I(%s)', n.nspname, p.proname, (SELECT string_agg(format_type(t, NULL), ', ' ORDER BY i)"
        " FROM unnest(p.proargtypes) WITH ORDINALITY AS u(t, i)))",
        "p.proacl",
        "p.proowner",
        "f",
    ),
    _owned(
        "type",
        "pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace"
        f" WHERE {USER_NAMESPACE} AND {not_of_extension('pg_type', 't.oid')} AND t.typtype <> 'm'"
        " AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))"
        " AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)",
        "format('%I.%I', n.nspname, t.typname)",
        "t.typacl",
        "t.typowner",
        "T",
    ),
    _global("language", "pg_language", "lan", "l"),
    _global("foreign-data wrapper", "pg_foreign_data_wrapper", "fdw", "F"),
    _global("foreign server", "pg_foreign_server", "srv", "S"),
    Kind("publication", "pg_publication o", "format('%I', o.pubname)", {"owner": "quote_ident(pg_get_userbyid(o.pubowner))"}),
    Kind(
        "subscription",
        f"pg_subscription o WHERE {OWN_SUBSCRIPTION}",
        "format('%I', o.subname)",
        {"owner": "quote_ident(pg_get_userbyid(o.subowner))"},
    ),
    Kind(
        "large objects",
        "(SELECT 1) AS o WHERE EXISTS (SELECT FROM pg_largeobject_metadata)",
        "''",
        {"owned": in_order("format('%s of %s: %s', k.n, k.owner, k.granted)", _LARGE_OBJECTS)},
    ),
    Kind("event trigger", "pg_event_trigger o", "format('%I', o.evtname)", {"owner": "quote_ident(pg_get_userbyid(o.evtowner))"}),
    Kind(
        "defaults",
        "pg_default_acl o LEFT JOIN pg_namespace n ON n.oid = o.defaclnamespace",
        "format('of %I in %s for %s', pg_get_userbyid(o.defaclrole), coalesce(quote_ident(n.nspname), 'any schema'), o.defaclobjtype)",
        {"granted": _granted("o.defaclacl", "o.defaclrole")},
    ),
)
