# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Types and what gives them their meaning: domains, collations, conversions, casts, operators and their classes."""

from __future__ import annotations

from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.kinds import (
    Kind,
    in_order,
    in_schema,
    qualified,
    routine_name,
    without_schema,
)

__all__ = ["TYPE_KINDS"]

_CONFIGURATION = "(to_jsonb({0}) ->> '{1}')"

_TYPES = (
    Kind(
        "type",
        # Not the row type of a table, nor the array and multirange that come with another type.
        in_schema(
            "pg_type",
            "t",
            "typnamespace",
            "t.typtype <> 'm' AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))"
            " AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)",
            "LEFT JOIN pg_range r ON r.rngtypid = t.oid",
        ),
        qualified("t.typname"),
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
        in_schema("pg_type", "t", "typnamespace", "k.contype = 'c'", "JOIN pg_constraint k ON k.contypid = t.oid"),
        f"format('%I on %s', k.conname, {qualified('t.typname')})",
        {
            "definition~": "pg_get_constraintdef(k.oid)",
        },
        version="k.xmin",
        commented=("pg_constraint", "k.oid"),
    ),
    Kind(
        "collation",
        in_schema("pg_collation", "o", "collnamespace"),
        qualified("o.collname"),
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
        in_schema("pg_conversion", "o", "connamespace"),
        qualified("o.conname"),
        {
            "definition": "ARRAY[pg_encoding_to_char(o.conforencoding)::text, pg_encoding_to_char(o.contoencoding)::text,"
            " o.conproc::text, o.condefault::text]",
        },
        version="o.xmin",
        commented=("pg_conversion", "o.oid"),
    ),
    Kind(
        "cast",
        without_schema("pg_cast", "o"),
        "format('%s as %s', format_type(o.castsource, NULL), format_type(o.casttarget, NULL))",
        {
            "function": routine_name("o.castfunc"),
            "definition": "o.castcontext::text || o.castmethod::text",
        },
        version="o.xmin",
        commented=("pg_cast", "o.oid"),
    ),
)

_OPERATORS = (
    Kind(
        "operator",
        in_schema("pg_operator", "o", "oprnamespace", "o.oprcode::oid <> 0"),
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
        in_schema(
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
        in_schema("pg_opfamily", "o", "opfnamespace", "true", "JOIN pg_am m ON m.oid = o.opfmethod"),
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
        without_schema("pg_am", "o"),
        "format('%I', o.amname)",
        {
            "handler": "o.amhandler::text",
            "kind": "o.amtype::text",
        },
        version="o.xmin",
        commented=("pg_am", "o.oid"),
    ),
)

TYPE_KINDS = (*_TYPES, *_OPERATORS)
