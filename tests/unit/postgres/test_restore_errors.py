# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""pg_restore's complaints, as 15 and 18 write them, counted and sorted by what to do."""

from __future__ import annotations

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.restore_errors import NEXT_STEPS, RestoreIssue, parse

SERIAL = """\
pg_restore: while PROCESSING TOC:
pg_restore: from TOC entry 215; 1259 16390 TABLE orders shop owner
pg_restore: error: could not execute query: ERROR:  role "shop owner" does not exist
Command was: ALTER TABLE public.orders OWNER TO "shop owner";


pg_restore: from TOC entry 2; 3079 16388 EXTENSION vector (no owner)
pg_restore: error: could not execute query: ERROR:  extension "vector" is not available
DETAIL:  Could not open extension control file "/usr/share/postgresql/15/extension/vector.control": No such file or directory.
HINT:  The extension must first be installed on the system where PostgreSQL is running.
Command was: CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;

pg_restore: error: COPY failed for table "lines": ERROR:  invalid input syntax for type integer: "x"
CONTEXT:  COPY lines, line 1, column n: "x"
pg_restore: warning: errors ignored on restore: 3
"""


def test_each_error_is_read_with_its_entry_and_the_total() -> None:
    errors = parse(SERIAL)
    assert errors.issues == (
        RestoreIssue("role", 'role "shop owner" does not exist', "TABLE orders shop owner"),
        RestoreIssue("extension", 'extension "vector" is not available', "EXTENSION vector (no owner)"),
        RestoreIssue("data", 'COPY failed for table "lines": ERROR:  invalid input syntax for type integer: "x"', ""),
    )
    assert (errors.count, errors.ignored) == (3, 3)
    assert errors.by_kind == {"role": 1, "extension": 1, "data": 1}
    assert errors.summary(1) == '3 errors (1 role, 1 extension, 1 data): TABLE orders shop owner: role "shop owner" does not exist'


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ('could not execute query: ERROR:  relation "orders" already exists', "exists"),
        ('could not execute query: ERROR:  insert or update on table "l" violates foreign key constraint "f"', "constraint"),
        ('could not execute query: ERROR:  could not create unique index "p"', "constraint"),
        ("could not execute query: ERROR:  permission denied for schema public", "permission"),
        ("could not execute query: ERROR:  must be superuser to create a base type", "permission"),
        ("could not execute query: server closed the connection unexpectedly", "connection"),
        ('connection to server on socket "/x/.s.PGSQL.5432" failed: No such file or directory', "connection"),
        ('COPY failed for table "x": ERROR:  could not extend file "base/1/2": No space left on device', "disk"),
        ('could not execute query: ERROR:  could not access file "$libdir/postgis-3": No such file or directory', "library"),
        ('could not execute query: ERROR:  unrecognized configuration parameter "transaction_timeout"', "library"),
        ("cannot restore from compressed archive (compression not supported in this installation)", "library"),
        ('could not execute query: ERROR:  invalid LC_COLLATE locale name: "de_DE.UTF-8"', "locale"),
        ('could not execute query: ERROR:  collation "public.german" for encoding "UTF8" does not exist', "locale"),
        ("could not read from input file: end of file", "data"),
        ("unexpected block ID (0) when reading data -- expected 3364", "data"),
        ("could not execute query: ERROR:  something new", "other"),
    ],
)
def test_an_error_is_of_the_kind_that_says_what_to_do(message: str, kind: str) -> None:
    (issue,) = parse(f"pg_restore: error: {message}\n").issues
    assert issue.kind == kind
    assert NEXT_STEPS[kind]


def test_cut_output_counts_by_what_pg_restore_says() -> None:
    errors = parse("pg_restore: warning: errors ignored on restore: 700\n")
    assert (errors.count, errors.issues) == (700, ())
    assert errors.summary() == "700 errors"


def test_no_error_is_no_error() -> None:
    errors = parse("pg_restore: warning: restoring tables WITH OIDS is not supported anymore\nNOTICE:  something\n")
    assert (errors.count, errors.ignored, errors.summary()) == (0, None, "")
    assert errors.warnings == ("restoring tables WITH OIDS is not supported anymore",)


def test_a_worker_that_died_of_what_it_said_is_counted_once() -> None:
    text = 'pg_restore: error: COPY failed for table "x": ERROR:  value too long\npg_restore: error: a worker process died unexpectedly\n'
    assert [issue.kind for issue in parse(text).issues] == ["data"]
    assert parse("pg_restore: error: a worker process died unexpectedly\n").count == 1
