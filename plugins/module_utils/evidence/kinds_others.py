# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything in a database that is not a relation: functions, text search, foreign data, publications and the rest."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.kinds import (
    OWN_SUBSCRIPTION,
    USER_NAMESPACE,
    Kind,
    in_order,
    in_schema,
    not_of_extension,
    qualified,
    routine_name,
    without_schema,
)

__all__ = ["OTHER_KINDS"]

_ARGUMENT_TYPES = "(SELECT string_agg(format_type(t, NULL), ', ' ORDER BY i) FROM unnest(p.proargtypes) WITH ORDINALITY AS u(t, i))"
_ROUTINE = f"format('%I.%I(%s)', n.nspname, p.proname, {_ARGUMENT_TYPES})"

_SCHEMA = Kind(
    "schema",
    f"pg_namespace n WHERE {USER_NAMESPACE} AND {not_of_extension('pg_namespace', 'n.oid')}",
    "format('%I', n.nspname)",
    {},
    version="n.oid",
    # The comment on the schema that every database has is written by initdb, and differs between versions.
    commented=("pg_namespace", "CASE WHEN n.nspname <> 'public' THEN n.oid END"),
)

_ROUTINES = (
    Kind(
        "function",
        in_schema("pg_proc", "p", "pronamespace", "p.prokind <> 'a'", "JOIN pg_language l ON l.oid = p.prolang"),
        _ROUTINE,
        {
            "kind": "p.prokind::text",
            "arguments~": "pg_get_function_arguments(p.oid)",
            "result": "pg_get_function_result(p.oid)",
            "language": "l.lanname::text",
            "behaviour": "ARRAY[p.provolatile::text, p.proparallel::text, p.procost::text, p.prorows::text]",
            "strict": "p.proisstrict",
            "security definer": "p.prosecdef",
            "leakproof": "p.proleakproof",
            "support": routine_name("p.prosupport"),
            "settings": "p.proconfig",
            "transforms": "(SELECT array_agg(format_type(t, NULL)) FROM unnest(p.protrftypes) AS t)",
            "source": "p.prosrc",
            "file": "p.probin",
            "body~": "pg_get_function_sqlbody(p.oid)",
        },
        version="p.xmin",
        commented=("pg_proc", "p.oid"),
    ),
    Kind(
        "aggregate",
        in_schema("pg_proc", "p", "pronamespace", "p.prokind = 'a'", "JOIN pg_aggregate g ON g.aggfnoid = p.oid"),
        _ROUTINE,
        {
            "arguments~": "pg_get_function_arguments(p.oid)",
            "functions": "ARRAY[g.aggtransfn::text, g.aggfinalfn::text, g.aggcombinefn::text, g.aggserialfn::text, g.aggdeserialfn::text,"
            " g.aggmtransfn::text, g.aggminvtransfn::text, g.aggmfinalfn::text]",
            "behaviour": "ARRAY[g.aggkind::text, p.proparallel::text, g.aggfinalextra::text, g.aggmfinalextra::text,"
            " g.aggfinalmodify::text, g.aggmfinalmodify::text, g.aggtransspace::text, g.aggmtransspace::text]",
            "states": "ARRAY[format_type(g.aggtranstype, NULL), format_type(g.aggmtranstype, NULL), g.agginitval, g.aggminitval]",
            "sort operator": "CASE WHEN g.aggsortop <> 0 THEN g.aggsortop::regoperator::text END",
        },
        version="p.xmin",
        commented=("pg_proc", "p.oid"),
    ),
)

_TEXT_SEARCH = (
    Kind(
        "text search configuration",
        in_schema("pg_ts_config", "o", "cfgnamespace", "true", "JOIN pg_ts_parser q ON q.oid = o.cfgparser"),
        qualified("o.cfgname"),
        {
            "parser": "q.prsname::text",
            "mappings": "(SELECT array_agg(format('%s %s %s', m.maptokentype, m.mapseqno, m.mapdict::regdictionary)"
            " ORDER BY m.maptokentype, m.mapseqno) FROM pg_ts_config_map m WHERE m.mapcfg = o.oid)",
        },
        version="o.xmin",
        commented=("pg_ts_config", "o.oid"),
    ),
    Kind(
        "text search dictionary",
        in_schema("pg_ts_dict", "o", "dictnamespace", "true", "JOIN pg_ts_template q ON q.oid = o.dicttemplate"),
        qualified("o.dictname"),
        {
            "template": "q.tmplname::text",
            "options": "o.dictinitoption",
        },
        version="o.xmin",
        commented=("pg_ts_dict", "o.oid"),
    ),
    Kind(
        "text search parser",
        in_schema("pg_ts_parser", "o", "prsnamespace"),
        qualified("o.prsname"),
        {
            "functions": "ARRAY[o.prsstart::text, o.prstoken::text, o.prsend::text, o.prsheadline::text, o.prslextype::text]",
        },
        version="o.xmin",
        commented=("pg_ts_parser", "o.oid"),
    ),
    Kind(
        "text search template",
        in_schema("pg_ts_template", "o", "tmplnamespace"),
        qualified("o.tmplname"),
        {
            "functions": "ARRAY[o.tmplinit::text, o.tmpllexize::text]",
        },
        version="o.xmin",
        commented=("pg_ts_template", "o.oid"),
    ),
)

_FOREIGN = (
    Kind(
        "foreign-data wrapper",
        without_schema("pg_foreign_data_wrapper", "o"),
        "format('%I', o.fdwname)",
        {
            "handler": routine_name("o.fdwhandler"),
            "validator": routine_name("o.fdwvalidator"),
            "options": in_order("x", "unnest(o.fdwoptions) AS x"),
        },
        version="o.xmin",
        commented=("pg_foreign_data_wrapper", "o.oid"),
    ),
    Kind(
        "foreign server",
        without_schema("pg_foreign_server", "o", "JOIN pg_foreign_data_wrapper w ON w.oid = o.srvfdw"),
        "format('%I', o.srvname)",
        {
            "definition": "ARRAY[w.fdwname::text, o.srvtype, o.srvversion]",
            "options": in_order("x", "unnest(o.srvoptions) AS x"),
        },
        version="o.xmin",
        commented=("pg_foreign_server", "o.oid"),
    ),
    # Not its options: they hold passwords, and who may not see them sees none.
    Kind("user mapping", "pg_user_mappings o WHERE true", "format('%I for %I', o.srvname, o.usename)", {}),
)

_PUBLISHED = (
    "pg_publication_rel r JOIN pg_publication o ON o.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid"
    " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE true"
)
_PUBLISHED_TABLE = "format('%I.%I in %I', n.nspname, c.relname, o.pubname)"

_PUBLICATIONS = (
    Kind(
        "publication",
        without_schema("pg_publication", "o"),
        "format('%I', o.pubname)",
        {
            "flags": "to_jsonb(o) - '{oid,pubname,pubowner}'::text[]",
        },
        version="o.xmin",
        commented=("pg_publication", "o.oid"),
    ),
    Kind(
        "published table",
        _PUBLISHED,
        _PUBLISHED_TABLE,
        {
            "where~": "pg_get_expr(r.prqual, r.prrelid)",
            "columns": "(SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a WHERE a.attrelid = r.prrelid"
            " AND a.attnum = ANY (r.prattrs))",
        },
        since=150000,
    ),
    Kind("published table", _PUBLISHED, _PUBLISHED_TABLE, {}, before=150000),
    Kind(
        "published schema",
        "pg_publication_namespace r JOIN pg_publication o ON o.oid = r.pnpubid JOIN pg_namespace n ON n.oid = r.pnnspid WHERE true",
        "format('%I in %I', n.nspname, o.pubname)",
        {},
        since=150000,
    ),
)

# What everybody may read of a subscription; not how it connects, which only a superuser may. A restore leaves it disabled.
_SUBSCRIPTION_PARTS = {
    "publications": "o.subpublications",
    "slot": "o.subslotname::text",
    "behaviour": "ARRAY[o.subbinary::text, o.substream::text, o.subsynccommit]",
}
_SINCE_15 = {"two-phase": "o.subtwophasestate <> 'd'", "disabled on error": "o.subdisableonerr"}
_SINCE_16 = {"without password": "NOT o.subpasswordrequired", "runs as owner": "o.subrunasowner", "origin": "o.suborigin"}
_SINCE_17 = {"failover": "o.subfailover"}


def _subscription(since: int, before: int, *parts: Mapping[str, str]) -> Kind:
    return Kind(
        "subscription",
        f"pg_subscription o WHERE {OWN_SUBSCRIPTION}",
        "format('%I', o.subname)",
        {label: text for some in parts for label, text in some.items()},
        version="o.oid",  # its xmin nobody but a superuser may read
        commented=("pg_subscription", "o.oid"),
        since=since,
        before=before,
    )


_SUBSCRIPTIONS = (
    _subscription(0, 150000, _SUBSCRIPTION_PARTS),
    _subscription(150000, 160000, _SUBSCRIPTION_PARTS, _SINCE_15),
    _subscription(160000, 170000, _SUBSCRIPTION_PARTS, _SINCE_15, _SINCE_16),
    _subscription(170000, 10**6, _SUBSCRIPTION_PARTS, _SINCE_15, _SINCE_16, _SINCE_17),
)

OTHER_KINDS = (
    Kind(
        "database",
        "pg_database o WHERE o.datname = current_database()",
        "''",
        {
            "connection limit": "CASE WHEN o.datconnlimit >= 0 THEN o.datconnlimit::text END",
            "template": "o.datistemplate",
            "comment": "shobj_description(o.oid, 'pg_database')",
        },
    ),
    _SCHEMA,
    *_ROUTINES,
    *_TEXT_SEARCH,
    *_FOREIGN,
    *_PUBLICATIONS,
    *_SUBSCRIPTIONS,
    Kind(
        "language",
        without_schema("pg_language", "o"),
        "format('%I', o.lanname)",
        {
            "trusted": "o.lanpltrusted",
            "functions": f"ARRAY[{routine_name('o.lanplcallfoid')}, {routine_name('o.laninline')}, {routine_name('o.lanvalidator')}]",
        },
        version="o.xmin",
        commented=("pg_language", "o.oid"),
    ),
    Kind(
        "transform",
        without_schema("pg_transform", "o", "JOIN pg_language l ON l.oid = o.trflang"),
        "format('for %s language %I', format_type(o.trftype, NULL), l.lanname)",
        {"functions": f"ARRAY[{routine_name('o.trffromsql')}, {routine_name('o.trftosql')}]"},
    ),
    Kind(
        "event trigger",
        without_schema("pg_event_trigger", "o"),
        "format('%I', o.evtname)",
        {
            "event": "o.evtevent::text",
            "tags": "o.evttags",
            "function": routine_name("o.evtfoid"),
            "enabled": "o.evtenabled::text",
        },
        version="o.xmin",
        commented=("pg_event_trigger", "o.oid"),
    ),
)
