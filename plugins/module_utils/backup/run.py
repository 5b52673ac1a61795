# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From options to a result: a backup, or the young one that makes it needless. For the module and the command."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import compress, options
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.formats import choose_format
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.globals import ASKED, globals_when_due, with_globals
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job import LogicalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.lock import host_lock
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.logical import KIND, back_up, result_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.reach import reached
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.several import LOOK_IN, Choice, back_up_several
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.young import young_backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import open_connection, server_facts
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.pooler import refuse_pooler
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import PgDump
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

__all__ = ["run"]


def run(given: Mapping[str, Any], check_mode: bool = False, progress: Callable[[str], None] = lambda message: None) -> dict[str, Any]:
    """From options to a result, for the module and the command: a backup, or the young one that makes it needless.

    Beside the database, what belongs to the whole server: the option `globals`.
    """
    asked = options.choice({"globals": _word(given.get("globals"))}, "globals", "pg_logical_backup", ASKED, "true")
    choice = Choice.from_options(given)
    job = LogicalJob.from_options(given, "" if choice is None else LOOK_IN)
    with contextlib.ExitStack() as stack:
        repositories = [stack.enter_context(repository) for repository in job.open_repositories()]
        job = stack.enter_context(reached(job))

        def back_up_one(one: LogicalJob) -> dict[str, Any]:
            return _back_up_when_due(one, repositories, check_mode, progress)

        return with_globals(
            asked,
            lambda: back_up_one(job) if choice is None else back_up_several(job, choice, back_up_one),
            lambda: globals_when_due(job, repositories, check_mode, progress),
        )


def _back_up_when_due(
    job: LogicalJob, repositories: Sequence[Repository], check_mode: bool, progress: Callable[[str], None]
) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        if not check_mode:
            stack.enter_context(host_lock(job.system, KIND, job.name, job.lock_dir))
        young = young_backup(job, repositories, KIND, job.name)
        if young is not None:
            age = (now() - young.snapshot_at).total_seconds()
            return {
                "changed": False,
                "backup_id": young.backup_id,
                "snapshot_at": format_moment(young.snapshot_at),
                "age_seconds": age,
            }
        if check_mode:
            return {"changed": True, "warnings": list(_rehearse(job))}
        return result_of(back_up(job, repositories, progress))


def _word(value: Any) -> Any:
    """YAML's true and false as the words of the option."""
    return str(value).lower() if isinstance(value, (bool, str)) else value


def _rehearse(job: LogicalJob) -> Iterator[str]:
    """What a run needs before it begins, for check mode: raises what the run would raise."""
    with open_connection(job.login, application_name="lifeboat check") as connection:
        refuse_pooler(connection, job.login)
        pg_dump = PgDump(server_facts(connection).major, job.bin_dir, job.inside)
        choice = choose_format(job, connection, pg_dump)
    compress.compressor(job.compression_level)
    yield from job.sealer.notes
    yield from pg_dump.warnings
    if choice.note:
        yield choice.note
