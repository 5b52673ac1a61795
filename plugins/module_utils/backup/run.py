# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From options to a result: a backup, or the young one that makes it needless. For the module and the command.

Most runs find a young one. So whatever only a backup needs is loaded when one is due.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job import DATABASE, GLOBALS, LogicalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.young import begin
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError, Locked
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.several import Choice
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository

__all__ = ["run"]

_GLOBALS = ("true", "false", "only")


def run(given: Mapping[str, Any], check_mode: bool = False, progress: Callable[[str], None] = lambda message: None) -> dict[str, Any]:
    """From options to a result, for the module and the command: a backup, or the young one that makes it needless.

    Beside the database, what belongs to the whole server: the option `globals`.
    """
    asked = options.choice({"globals": _word(given.get("globals"))}, "globals", "pg_logical_backup", _GLOBALS, "true")
    choice = _several(given)
    job = LogicalJob.from_options(given, "" if choice is None else choice.look_in)
    with contextlib.ExitStack() as stack:
        repositories = [stack.enter_context(repository) for repository in job.open_repositories()]
        job = stack.enter_context(_reached(job))

        def back_up_one(one: LogicalJob) -> dict[str, Any]:
            return _back_up_when_due(one, repositories, check_mode, progress)

        def take() -> dict[str, Any]:
            if choice is None:
                return back_up_one(job)
            from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.several import back_up_several

            return back_up_several(job, choice, back_up_one)

        return _with_globals(
            asked,
            take,
            lambda: _globals_when_due(job, repositories, check_mode, progress),
        )


def _back_up_when_due(
    job: LogicalJob, repositories: Sequence[Repository], check_mode: bool, progress: Callable[[str], None]
) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        young = begin(stack, job, repositories, DATABASE, job.name, check_mode)
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
        from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.logical import back_up, result_of

        return result_of(back_up(job, repositories, progress))


def _with_globals(asked: str, take: Callable[[], dict[str, Any]], take_globals: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `take` gives, which backs up databases, and beside it what `take_globals` gives, as `asked` (true, false or only).

    Globals come after the databases: every role that a dump names was there then. A fault of the databases does not keep
    the globals from being taken where some were backed up, and one of the globals does not lose the databases' result.
    """
    if asked == "false":
        return take()
    if asked == "only":
        found = take_globals()
        return {"changed": found["changed"], "warnings": found.pop("warnings", []), "globals": found}
    fault: LifeboatError | None = None
    try:
        result = take()
    except LifeboatError as error:
        if not error.result:
            raise
        fault, result = error, error.result
    try:
        found = take_globals()
    except Locked as error:
        found = {"changed": False, "warnings": [f"globals are being backed up by another run: {error.what}"]}
    except LifeboatError as error:
        if fault is None:
            error.result = {**result, "globals": {"changed": False, **error.result, "problem": str(error)}}
            raise
        found = {"changed": False, "problem": str(error)}
    warnings = [*result.get("warnings", ())]
    result["warnings"] = [*warnings, *(note for note in found.pop("warnings", ()) if note not in warnings)]
    result["globals"] = found
    result["changed"] = bool(result.get("changed")) or found["changed"]
    if fault is not None:
        fault.result = result
        raise fault
    return result


def _globals_when_due(
    job: LogicalJob, repositories: Sequence[Repository], check_mode: bool, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Take the globals, unless a young backup of them is complete in every repository. The key `globals` of a result."""
    with contextlib.ExitStack() as stack:
        young = begin(stack, job, repositories, GLOBALS, GLOBALS, check_mode)
        if young is not None:
            return {"changed": False, "backup_id": young.backup_id, "snapshot_at": format_moment(young.snapshot_at)}
        if check_mode:
            return {"changed": True}
        from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.globals import back_up_globals

        return back_up_globals(job, repositories, progress)


def _several(given: Mapping[str, Any]) -> Choice | None:
    """Which of several databases were asked for, or None when one is meant."""
    if not any(given.get(key) for key in ("databases", "all_databases", "exclude_databases")) and given.get("unlisted") in (None, "warn"):
        return None
    from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.several import Choice

    return Choice.from_options(given)


def _reached(job: LogicalJob) -> AbstractContextManager[LogicalJob]:
    if job.exec is None:
        return contextlib.nullcontext(job)
    from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.reach import reached

    return reached(job)


def _word(value: Any) -> Any:
    """YAML's true and false as the words of the option."""
    return str(value).lower() if isinstance(value, (bool, str)) else value


def _rehearse(job: LogicalJob) -> Iterator[str]:
    """What a run needs before it begins, for check mode: raises what the run would raise."""
    from ansible_collections.lifeboat.postgres.plugins.module_utils import compress
    from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.formats import choose_format
    from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import open_connection, server_facts
    from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.pooler import refuse_pooler
    from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import PgDump

    with open_connection(job.login, application_name="lifeboat check") as connection:
        refuse_pooler(connection, job.login)
        pg_dump = PgDump(server_facts(connection).major, job.bin_dir, job.inside)
        choice = choose_format(job, connection, pg_dump)
    compress.compressor(job.compression_level)
    yield from job.sealer.notes
    yield from pg_dump.warnings
    if choice.note:
        yield choice.note
