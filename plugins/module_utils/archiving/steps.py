# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single steps of the module's story (`run.py`): what is refused, a reload, a session after a restart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.job import ArchivingJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.plan import Plan
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.state import Entry, ServerState, read_state
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DatabaseError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors, one_row, open_connection

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["APPLICATION", "check_library", "connect_again", "refuse_faults", "reload_files", "state_after_reload"]

APPLICATION = "lifeboat wal_archive_config"
_RELOAD_SECONDS = 60.0


def refuse_faults(faults: Sequence[Entry], what_was_done: str) -> None:
    """Raise `ConfigurationError` for lines that the server cannot take, saying what became of our change."""
    if faults:
        said = "; ".join(f"{fault.place}: {fault.name + ': ' if fault.name else ''}{fault.error}" for fault in faults[:5])
        raise ConfigurationError(
            f"the server cannot take its configuration files ({what_was_done}): {said}",
            faults[0].place,
            "Mend these lines first. The server was not told to reload.",
        )


def check_library(connection: Connection[Any], name: str) -> None:
    """Raise `MissingTool` when the server has no library of this name."""
    with database_errors(name):
        row = connection.execute(
            "SELECT coalesce((pg_catalog.pg_stat_file(c.setting || '/' || %s || '.so', true)).size, 0), c.setting"
            " FROM pg_catalog.pg_config AS c WHERE c.name = 'PKGLIBDIR'",
            (name.replace("$libdir/", ""),),
        ).fetchone()
    if row is None or not row[0]:
        raise MissingTool(
            f"there is no library {name}", row[1] if row else "archive_library", "Install it; a library that is missing stops archiving."
        )


def reload_files(connection: Connection[Any]) -> None:
    """Tell the server to read its files, and wait until this session has; raises `DatabaseError`."""
    with database_errors("reload"):
        before = one_row(connection, "SELECT pg_catalog.pg_conf_load_time()")[0]
        if not one_row(connection, "SELECT pg_catalog.pg_reload_conf()")[0]:
            raise DatabaseError("the server could not be told to reload")
        deadline = time.monotonic() + _RELOAD_SECONDS
        while one_row(connection, "SELECT pg_catalog.pg_conf_load_time()")[0] == before:
            if time.monotonic() > deadline:
                raise DatabaseError(f"the server did not reload within {_RELOAD_SECONDS:.0f} s", "", "Look into its log.")
            time.sleep(0.02)


def state_after_reload(connection: Connection[Any], plan: Plan) -> ServerState:
    """What the server is set to now; raises `DatabaseError` when it did not take what it was told."""
    state = read_state(connection)
    stuck = [item.name for item in plan.wanted if not state.rows[item.name].needs_restart and not item.is_met_by(state.running(item.name))]
    if stuck:
        raise DatabaseError(f"the server reloaded and did not take {', '.join(stuck)}", "reload", "Look into its log.")
    return state


def connect_again(job: ArchivingJob) -> Connection[Any]:
    """A restart that has ended well can still be recovering."""
    deadline = time.monotonic() + job.restart_timeout_seconds
    while True:
        try:
            return open_connection(job.login, application_name=APPLICATION)
        except DatabaseError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
