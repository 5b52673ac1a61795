# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything in a database that is not a relation: functions, types, operators, text search, publications and the rest."""

from __future__ import annotations

from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.kinds import (
    USER_NAMESPACE,
    Kind,
    in_order,
    not_of_extension,
)

__all__ = ["OTHER_KINDS"]

_FIRST_USER_OID = 16384
"""Objects that have no schema are the user's own from here on (src/include/access/transam.h)."""


def _in_schema(catalog: str, alias: str, namespace: str, condition: str = "true", join: str = "") -> str:
    return (
        f"{catalog} {alias} JOIN pg_namespace n ON n.oid = {alias}.{namespace} {join}"
        f" WHERE {USER_NAMESPACE} AND ({condition}) AND {not_of_extension(catalog, f'{alias}.oid')}"
    )


def _global(catalog: str, alias: str, join: str = "") -> str:
    return f"{catalog} {alias} {join} WHERE {alias}.oid >= {_FIRST_USER_OID} AND {not_of_extension(catalog, f'{alias}.oid')}"


def _qualified(name: str) -> str:
    return f"format('%I.%I', n.nspname, {name})"


def _function(column: str) -> str:
    return f"CASE WHEN {column}::oid <> 0 THEN {column}::oid::regprocedure::text END"


_ARGUMENT_TYPES = "(SELECT string_agg(format_type(t, NULL), ', ' ORDER BY i) FROM unnest(p.proargtypes) WITH ORDINALITY AS u(t, i))"
_ROUTINE = f"format('%I.%I(%s)', n.nspname, p.proname, {_ARGUMENT_TYPES})"
_CONFIGURATION = "(to_jsonb({0}) ->> '{1}')"

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
        _in_schema("pg_proc", "p", "pronamespace", "p.prokind <> 'a'", "JOIN pg_language l ON l.oid = p.prolang"),
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
            "support": _function("p.prosupport"),
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
        _in_schema("pg_proc", "p", "pronamespace", "p.prokind = 'a'", "JOIN pg_aggregate g ON g.aggfnoid = p.oid"),
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

_TYPES = (
    Kind(
        "type",
        # Not the row type of a table, nor the array and multirange that come with another type.
        _in_schema(
            "pg_type",
            "t",
            "typnamespace",
            "t.typtype <> 'm' AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))"
            " AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)",
            "LEFT JOIN pg_range r ON r.rngtypid = t.oid",
        ),
        _qualified("t.typname"),
        {
            "kind": "t.typtype::text",
            "labels": "(SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)",
            "attributes": "(SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a"
            " WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)",
            "base": "CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END",
            "not null": "t.typnotnull",
            "default~": "coalesce(pg_get_expr(t.typdefaultbin, 0), t.typdefault)",
            "collation": "CASE WHEN t.typcollation <> 0 AND t.typtype = 'd' THEN t.typcollation::regcollation::text END",
            "range": "CASE WHEN t.typtype = 'r' THEN ARRAY[format_type(r.rngsubtype, NULL), format_type(r.rngmultitypid, NULL),"
            " (SELECT opcname::text FROM pg_opclass WHERE oid = r.rngsubopc), r.rngcanonical::text, r.rngsubdiff::text,"
            " CASE WHEN r.rngcollation <> 0 THEN r.rngcollation::regcollation::text END] END",
            "functions": "CASE WHEN t.typtype = 'b' THEN ARRAY[t.typinput::text, t.typoutput::text, t.typreceive::text, t.typsend::text,"
            " t.typmodin::text, t.typmodout::text, t.typanalyze::text, t.typsubscript::text] END",
            "form": "CASE WHEN t.typtype = 'b' THEN ARRAY[t.typlen::text, t.typbyval::text, t.typalign::text, t.typstorage::text,"
            " t.typcategory::text, t.typispreferred::text, t.typdelim::text,"
            " CASE WHEN t.typelem <> 0 THEN format_type(t.typelem, NULL) END] END",
        },
        version="concat_ws(' ', t.xmin, (SELECT string_agg(e.xmin::text, ',' ORDER BY e.oid) FROM pg_enum e WHERE e.enumtypid = t.oid))",
        commented=("pg_type", "t.oid"),
    ),
    Kind(
        "domain constraint",
        _in_schema("pg_type", "t", "typnamespace", "k.contype = 'c'", "JOIN pg_constraint k ON k.contypid = t.oid"),
        f"format('%I on %s', k.conname, {_qualified('t.typname')})",
        {
            "definition~": "pg_get_constraintdef(k.oid)",
        },
        version="k.xmin",
        commented=("pg_constraint", "k.oid"),
    ),
    Kind(
        "collation",
        _in_schema("pg_collation", "o", "collnamespace"),
        _qualified("o.collname"),
        {
            "provider": "o.collprovider::text",
            "deterministic": "o.collisdeterministic",
            "locale": "ARRAY["
            + ", ".join(
                _CONFIGURATION.format("o", name) for name in ("collcollate", "collctype", "colliculocale", "colllocale", "collicurules")
            )
            + "]",
        },
        version="o.xmin",
        commented=("pg_collation", "o.oid"),
    ),
    Kind(
        "conversion",
        _in_schema("pg_conversion", "o", "connamespace"),
        _qualified("o.conname"),
        {
            "definition": "ARRAY[pg_encoding_to_char(o.conforencoding)::text, pg_encoding_to_char(o.contoencoding)::text,"
            " o.conproc::text, o.condefault::text]",
        },
        version="o.xmin",
        commented=("pg_conversion", "o.oid"),
    ),
    Kind(
        "cast",
        _global("pg_cast", "o"),
        "format('%s as %s', format_type(o.castsource, NULL), format_type(o.casttarget, NULL))",
        {
            "function": _function("o.castfunc"),
            "definition": "o.castcontext::text || o.castmethod::text",
        },
        version="o.xmin",
        commented=("pg_cast", "o.oid"),
    ),
)

_OPERATORS = (
    Kind(
        "operator",
        _in_schema("pg_operator", "o", "oprnamespace", "o.oprcode::oid <> 0"),
        "format('%I.%s(%s, %s)', n.nspname, o.oprname, format_type(o.oprleft, NULL), format_type(o.oprright, NULL))",
        {
            "functions": "ARRAY[o.oprcode::text, o.oprrest::text, o.oprjoin::text]",
            "result": "format_type(o.oprresult, NULL)",
            "commutator": "CASE WHEN o.oprcom <> 0 THEN o.oprcom::regoperator::text END",
            "negator": "CASE WHEN o.oprnegate <> 0 THEN o.oprnegate::regoperator::text END",
            "merges": "o.oprcanmerge",
            "hashes": "o.oprcanhash",
        },
        version="o.xmin",
        commented=("pg_operator", "o.oid"),
    ),
    Kind(
        "operator class",
        _in_schema(
            "pg_opclass", "o", "opcnamespace", "true", "JOIN pg_am m ON m.oid = o.opcmethod JOIN pg_opfamily f ON f.oid = o.opcfamily"
        ),
        "format('%I.%I using %s', n.nspname, o.opcname, m.amname)",
        {
            "definition": "ARRAY[format_type(o.opcintype, NULL), f.opfname::text,"
            " CASE WHEN o.opckeytype <> 0 THEN format_type(o.opckeytype, NULL) END]",
            "default": "o.opcdefault",
        },
        version="o.xmin",
        commented=("pg_opclass", "o.oid"),
    ),
    Kind(
        "operator family",
        _in_schema("pg_opfamily", "o", "opfnamespace", "true", "JOIN pg_am m ON m.oid = o.opfmethod"),
        "format('%I.%I using %s', n.nspname, o.opfname, m.amname)",
        {
            "operators": in_order(
                "format('%s %s %s', a.amopstrategy, a.amopopr::regoperator, a.amoppurpose)", "pg_amop a WHERE a.amopfamily = o.oid"
            ),
            "functions": in_order(
                "format('%s %s (%s, %s)', a.amprocnum, a.amproc::oid::regprocedure,"
                " format_type(a.amproclefttype, NULL), format_type(a.amprocrighttype, NULL))",
                "pg_amproc a WHERE a.amprocfamily = o.oid",
            ),
        },
        version="o.xmin",
        commented=("pg_opfamily", "o.oid"),
    ),
    Kind(
        "access method",
        _global("pg_am", "o"),
        "format('%I', o.amname)",
        {
            "handler": "o.amhandler::text",
            "kind": "o.amtype::text",
        },
        version="o.xmin",
        commented=("pg_am", "o.oid"),
    ),
)

_TEXT_SEARCH = (
    Kind(
        "text search configuration",
        _in_schema("pg_ts_config", "o", "cfgnamespace", "true", "JOIN pg_ts_parser q ON q.oid = o.cfgparser"),
        _qualified("o.cfgname"),
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
        _in_schema("pg_ts_dict", "o", "dictnamespace", "true", "JOIN pg_ts_template q ON q.oid = o.dicttemplate"),
        _qualified("o.dictname"),
        {
            "template": "q.tmplname::text",
            "options": "o.dictinitoption",
        },
        version="o.xmin",
        commented=("pg_ts_dict", "o.oid"),
    ),
    Kind(
        "text search parser",
        _in_schema("pg_ts_parser", "o", "prsnamespace"),
        _qualified("o.prsname"),
        {
            "functions": "ARRAY[o.prsstart::text, o.prstoken::text, o.prsend::text, o.prsheadline::text, o.prslextype::text]",
        },
        version="o.xmin",
        commented=("pg_ts_parser", "o.oid"),
    ),
    Kind(
        "text search template",
        _in_schema("pg_ts_template", "o", "tmplnamespace"),
        _qualified("o.tmplname"),
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
        _global("pg_foreign_data_wrapper", "o"),
        "format('%I', o.fdwname)",
        {
            "handler": _function("o.fdwhandler"),
            "validator": _function("o.fdwvalidator"),
            "options": in_order("x", "unnest(o.fdwoptions) AS x"),
        },
        version="o.xmin",
        commented=("pg_foreign_data_wrapper", "o.oid"),
    ),
    Kind(
        "foreign server",
        _global("pg_foreign_server", "o", "JOIN pg_foreign_data_wrapper w ON w.oid = o.srvfdw"),
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
        _global("pg_publication", "o"),
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
    *_TYPES,
    *_OPERATORS,
    *_TEXT_SEARCH,
    *_FOREIGN,
    *_PUBLICATIONS,
    Kind(
        "language",
        _global("pg_language", "o"),
        "format('%I', o.lanname)",
        {
            "trusted": "o.lanpltrusted",
            "functions": f"ARRAY[{_function('o.lanplcallfoid')}, {_function('o.laninline')}, {_function('o.lanvalidator')}]",
        },
        version="o.xmin",
        commented=("pg_language", "o.oid"),
    ),
    Kind(
        "transform",
        _global("pg_transform", "o", "JOIN pg_language l ON l.oid = o.trflang"),
        "format('for %s language %I', format_type(o.trftype, NULL), l.lanname)",
        {"functions": f"ARRAY[{_function('o.trffromsql')}, {_function('o.trftosql')}]"},
    ),
    Kind(
        "event trigger",
        _global("pg_event_trigger", "o"),
        "format('%I', o.evtname)",
        {
            "event": "o.evtevent::text",
            "tags": "o.evttags",
            "function": _function("o.evtfoid"),
            "enabled": "o.evtenabled::text",
        },
        version="o.xmin",
        commented=("pg_event_trigger", "o.oid"),
    ),
)
