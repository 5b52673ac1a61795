# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables and all that hangs on them, views and sequences. What is left out and why: docs/evidence.md."""

from __future__ import annotations

from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.kinds import (
    USER_NAMESPACE,
    Kind,
    in_order,
    not_of_extension,
)

__all__ = ["RELATION_KINDS"]

_RELATION = "format('%I.%I', n.nspname, c.relname)"


def _relations(kinds: str, more: str = "") -> str:
    """Relations of the user's own schemas: c (pg_class) and n (pg_namespace), with what `more` joins."""
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    return (
        f"pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace {more}"
        f" WHERE c.relkind IN ({listed}) AND c.relpersistence <> 't' AND {USER_NAMESPACE} AND {not_of_extension('pg_class', 'c.oid')}"
    )


_OPTIONS = in_order("o", "unnest(c.reloptions) AS o")
_COLUMN_NAMES = (
    "(SELECT array_agg(a.attname::text ORDER BY {order}) FROM pg_attribute a"
    " WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)"
)
# A dump writes a child's inherited columns first, so their order is not kept; a partition keeps its own.
_ORDERED = (
    "CROSS JOIN LATERAL (SELECT c.relispartition OR NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = c.oid) AS columns OFFSET 0)"
    " AS keeps"
)
_COLUMNS = _COLUMN_NAMES.format(order="CASE WHEN keeps.columns THEN a.attnum END, a.attname")
_COLUMN_ROWS = (
    "(SELECT string_agg(format('%s %s', a.attnum, a.xmin), ',' ORDER BY a.attnum) FROM pg_attribute a"
    " WHERE a.attrelid = c.oid AND a.attnum > 0)"
)
_IN_ORDER = _COLUMN_NAMES.format(order="a.attnum")

RELATION_KINDS = (
    Kind(
        "table",
        _relations("rpf", f"LEFT JOIN pg_am m ON m.oid = c.relam LEFT JOIN pg_class t ON t.oid = c.reltoastrelid {_ORDERED}"),
        _RELATION,
        {
            "kind": "c.relkind::text",
            "columns": _COLUMNS,
            "persistence": "c.relpersistence::text",
            "access method": "m.amname::text",
            "options": _OPTIONS,
            "toast options": in_order("o", "unnest(t.reloptions) AS o"),
            "of type": "CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END",
            "replica identity": "c.relreplident::text",
            "row security": "c.relrowsecurity",
            "forced row security": "c.relforcerowsecurity",
            "partition key~": "CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END",
            "partition bound~": "pg_get_expr(c.relpartbound, c.oid)",
            "parents": "(SELECT array_agg(h.inhparent::regclass::text ORDER BY h.inhseqno) FROM pg_inherits h WHERE h.inhrelid = c.oid)",
            "foreign server": "(SELECT s.srvname::text FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver"
            " WHERE f.ftrelid = c.oid)",
            "foreign options": in_order("o", "pg_foreign_table f, unnest(f.ftoptions) AS o WHERE f.ftrelid = c.oid"),
        },
        version=f"concat_ws(' ', c.oid, c.xmin, {_COLUMN_ROWS})",
        commented=("pg_class", "c.oid"),
    ),
    Kind(
        "column",
        _relations(
            "rpfvmc",
            "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type y ON y.oid = a.atttypid"
            " LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum",
        )
        # A composite type belongs to an extension by its type, not by its relation.
        + f" AND (c.relkind <> 'c' OR {not_of_extension('pg_type', 'c.reltype')})",
        "format('%I.%I.%I', n.nspname, c.relname, a.attname)",
        {
            "type": "format_type(a.atttypid, a.atttypmod)",
            "collation": "CASE WHEN a.attcollation <> y.typcollation THEN a.attcollation::regcollation::text END",
            "not null": "a.attnotnull",
            "identity": "a.attidentity::text",
            "generated": "a.attgenerated::text",
            "default~": "pg_get_expr(d.adbin, d.adrelid)",
            "storage": "CASE WHEN c.relkind IN ('r', 'p', 'm') AND a.attstorage <> y.typstorage THEN a.attstorage::text END",
            "compression": "a.attcompression::text",
            "statistics target": "CASE WHEN coalesce(a.attstattarget, -1) >= 0 THEN a.attstattarget::text END",
            # From 15.20 on a server keeps a version of its own there (pg_attver), which pg_dump leaves out, too.
            "options": in_order("o", "unnest(a.attoptions) AS o WHERE o !~ '^pg_'"),
            "foreign options": in_order("o", "unnest(a.attfdwoptions) AS o"),
        },
        version="concat_ws(' ', a.xmin, d.xmin)",
        commented=("pg_class", "c.oid", "a.attnum"),
    ),
    Kind(
        "view",
        _relations("v", "JOIN pg_rewrite v ON v.ev_class = c.oid AND v.rulename = '_RETURN'"),
        _RELATION,
        {
            "columns": _IN_ORDER,
            "definition~": "pg_get_viewdef(c.oid)",
            "options": _OPTIONS,
        },
        version="v.xmin",
        commented=("pg_class", "c.oid"),
    ),
    Kind(
        "materialized view",
        _relations("m", "LEFT JOIN pg_am m ON m.oid = c.relam"),
        _RELATION,
        {
            "columns": _IN_ORDER,
            "definition~": "pg_get_viewdef(c.oid)",
            "populated": "c.relispopulated",
            "access method": "m.amname::text",
            "options": _OPTIONS,
        },
        version="c.oid",
        commented=("pg_class", "c.oid"),
    ),
    Kind(
        "sequence",
        _relations("S", "JOIN pg_sequence s ON s.seqrelid = c.oid"),
        _RELATION,
        {
            "type": "format_type(s.seqtypid, NULL)",
            "numbers": "ARRAY[s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache]",
            "cycle": "s.seqcycle",
            "persistence": "c.relpersistence::text",
            "owned by": "(SELECT format('%s %s.%I', d.deptype, a.attrelid::regclass, a.attname) FROM pg_depend d"
            " JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid WHERE d.classid = 'pg_class'::regclass"
            " AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i'))",
        },
        version="s.xmin",
        commented=("pg_class", "c.oid"),
    ),
    Kind(
        "index",
        # pg_dump leaves out an index that a failed CREATE INDEX CONCURRENTLY left invalid.
        _relations("rpm", "JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class x ON x.oid = i.indexrelid")
        + " AND (i.indisvalid OR x.relkind = 'I') AND i.indislive",
        "format('%I.%I', n.nspname, x.relname)",
        {
            "definition~": "pg_get_indexdef(i.indexrelid)",
            "clustered": "i.indisclustered",
            "replica identity": "i.indisreplident",
            "parent": "(SELECT h.inhparent::regclass::text FROM pg_inherits h WHERE h.inhrelid = x.oid)",
        },
        version="concat_ws(' ', i.xmin, x.oid)",
        commented=("pg_class", "x.oid"),
    ),
    Kind(
        "constraint",
        # Not-null constraints are said of their column. What a partition's key was cloned from its parent is named anew on restore.
        _relations("rpf", "JOIN pg_constraint k ON k.conrelid = c.oid")
        + " AND k.contype IN ('c', 'f', 'p', 'u', 'x') AND (k.conparentid = 0 OR k.contype IN ('p', 'u', 'x'))",
        f"format('%I on %s', k.conname, {_RELATION})",
        {
            "definition~": "pg_get_constraintdef(k.oid)",
        },
        version="k.xmin",
        commented=("pg_constraint", "k.oid"),
    ),
    Kind(
        "trigger",
        _relations("rpfv", "JOIN pg_trigger g ON g.tgrelid = c.oid AND NOT g.tgisinternal"),
        f"format('%I on %s', g.tgname, {_RELATION})",
        {
            "definition~": "pg_get_triggerdef(g.oid)",
            "enabled": "g.tgenabled::text",
        },
        version="g.xmin",
        commented=("pg_trigger", "g.oid"),
    ),
    Kind(
        "rule",
        _relations("rpfvm", "JOIN pg_rewrite w ON w.ev_class = c.oid AND w.rulename <> '_RETURN'"),
        f"format('%I on %s', w.rulename, {_RELATION})",
        {
            "definition~": "pg_get_ruledef(w.oid)",
            "enabled": "w.ev_enabled::text",
        },
        version="w.xmin",
        commented=("pg_rewrite", "w.oid"),
    ),
    Kind(
        "policy",
        _relations("rp", "JOIN pg_policy p ON p.polrelid = c.oid"),
        f"format('%I on %s', p.polname, {_RELATION})",
        {
            "command": "p.polcmd::text",
            "permissive": "p.polpermissive",
            "roles": in_order("CASE r WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END", "unnest(p.polroles) AS r"),
            "using~": "pg_get_expr(p.polqual, p.polrelid)",
            "with check~": "pg_get_expr(p.polwithcheck, p.polrelid)",
        },
        version="p.xmin",
        commented=("pg_policy", "p.oid"),
    ),
    Kind(
        "statistics",
        f"pg_statistic_ext e JOIN pg_namespace n ON n.oid = e.stxnamespace WHERE {USER_NAMESPACE}"
        f" AND {not_of_extension('pg_statistic_ext', 'e.oid')}",
        "format('%I.%I', n.nspname, e.stxname)",
        {
            "definition~": "pg_get_statisticsobjdef(e.oid)",
            "target": "CASE WHEN coalesce(e.stxstattarget, -1) >= 0 THEN e.stxstattarget::text END",
        },
        version="e.xmin",
        commented=("pg_statistic_ext", "e.oid"),
    ),
)
