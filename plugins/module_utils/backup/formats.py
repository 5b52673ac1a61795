# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which format a dump gets: streamed as it is made, or staged in a directory that restores faster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job import LogicalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.staging import check_staging_dir, default_staging_dir, room
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors, one_row
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import PgDump, PgRestore

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["AUTO", "CUSTOM", "DIRECTORY", "FORMATS", "Choice", "choose_format"]

AUTO, CUSTOM, DIRECTORY = "auto", "custom", "directory"
FORMATS = (AUTO, CUSTOM, DIRECTORY)

MANY_TABLES = 100
"""From so many tables with rows on, a directory is worth its staging: a streamed archive does not say where in it the rows of a
table begin, so every worker of pg_restore reads nearly all of it (docs/postgres-notes.md#no-offsets)."""
LARGE_ENOUGH_BYTES = 64 * 1024**2
"""Below it looking is no work: a restore is over before it matters."""
MANY_LARGE_OBJECTS = 10_000
"""In a directory every large object is a file of its own; so many files cost more than the directory gains."""

_MEASURES = """
    SELECT count(*), coalesce(sum(pg_catalog.pg_relation_size(c.oid)), 0)::bigint,
           (SELECT count(*) FROM (SELECT FROM pg_catalog.pg_largeobject_metadata LIMIT %(many)s) AS listed),
           pg_catalog.pg_database_size(pg_catalog.current_database())
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND pg_catalog.pg_relation_size(c.oid) > 0
"""
_BLOCKED = "Look for ALTER, TRUNCATE, VACUUM FULL or LOCK in pg_stat_activity, or give a longer lock_timeout."


@dataclass(frozen=True)
class Choice:
    """`format` is custom or directory. `note`: what the operator should know about the choice, "" for nothing."""

    format: str
    note: str = ""


def choose_format(job: LogicalJob, connection: Connection[Any], pg_dump: PgDump) -> Choice:
    """Custom or directory, as asked for or by the rule of `auto`; raises `ConfigurationError` when a directory cannot be had."""
    if job.format == CUSTOM:
        return Choice(CUSTOM)
    directory = job.staging_dir or default_staging_dir()
    with database_errors(job.name, _BLOCKED), connection.transaction():
        # A size is asked of the table itself, and waits for whoever holds it: no longer than the dump would.
        connection.execute(f"SET LOCAL lock_timeout = {max(1, round(job.lock_timeout_seconds * 1000))}")
        query = _MEASURES % {"many": MANY_LARGE_OBJECTS}
        tables, table_bytes, large_objects, database_bytes = one_row(connection, query)
    if job.format == AUTO and not wants_directory(tables, table_bytes, large_objects):
        return Choice(CUSTOM)
    obstacle = _obstacle(directory, pg_dump, database_bytes)
    if not obstacle:
        return Choice(DIRECTORY)
    if job.format == DIRECTORY:
        raise ConfigurationError(
            f"the directory format is not possible: {obstacle}", "format", "Name another staging_dir, or format: custom."
        )
    return Choice(CUSTOM, f"streamed, though a directory would restore {tables} tables faster: {obstacle}")


def wants_directory(tables: int, table_bytes: int, large_objects: int) -> bool:
    """The rule of `auto`: many tables with rows in them, enough of rows for it to matter, not too many files."""
    return tables >= MANY_TABLES and table_bytes >= LARGE_ENOUGH_BYTES and large_objects < MANY_LARGE_OBJECTS


def _obstacle(directory: Path, pg_dump: PgDump, database_bytes: int) -> str:
    """Why nothing can be staged, "" when it can."""
    try:
        PgRestore(pg_dump.major, pg_dump.path.parent)
        check_staging_dir(directory)
    except (ConfigurationError, MissingTool) as error:
        return f"{error.what} ({error.where})" if error.where else error.what
    return room(directory, database_bytes)
