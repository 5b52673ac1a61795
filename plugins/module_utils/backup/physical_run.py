# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From options to a result: a base backup, or the young one that makes it needless. For the module.

Most runs find a young one. So whatever only a backup needs is loaded when one is due.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_job import ARCHIVED, KIND, PhysicalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.young import begin
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, ConfigurationError, WalConflict
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository

__all__ = ["run"]


def run(given: Mapping[str, Any], check_mode: bool = False, progress: Callable[[str], None] = lambda message: None) -> dict[str, Any]:
    """A base backup, unless a young one is complete in every repository; with `check_mode` only what would be done."""
    job = PhysicalJob.from_options(given)
    with contextlib.ExitStack() as stack:
        repositories = [stack.enter_context(repository) for repository in job.open_repositories()]
        young = begin(stack, job, repositories, KIND, job.name, check_mode)
        if young is not None:
            return {
                "changed": False,
                "backup_id": young.backup_id,
                "parent": young.parent,
                "snapshot_at": format_moment(young.snapshot_at),
                "age_seconds": (now() - young.snapshot_at).total_seconds(),
            }
        from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical import back_up, result_of
        from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.reach import reached

        job = stack.enter_context(reached(job))
        if check_mode:
            return {"changed": True, "warnings": list(_rehearse(job, repositories))}
        return result_of(back_up(job, repositories, progress))


def _rehearse(job: PhysicalJob, repositories: Sequence[Repository]) -> Iterator[str]:
    """What a run needs before it begins, for check mode: raises what the run would raise."""
    from ansible_collections.lifeboat.postgres.plugins.module_utils import compress
    from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical import choose_parent, obstacle_to_staging
    from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_wal import archives_of
    from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.base_programs import PgBaseBackup
    from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import open_connection, server_facts
    from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.replication import base_settings, identify

    with open_connection(job.login, application_name="lifeboat check") as connection:
        settings = base_settings(connection)
        facts = server_facts(connection)
    identifier = identify(job.login, "lifeboat check")
    program = PgBaseBackup(facts.major, job.bin_dir, job.inside)
    if job.wal == ARCHIVED:
        try:
            archives_of(repositories, job.required, job.system, identifier)
        except WalConflict:
            raise
        except ArchiveError as error:
            # The task before this one, which sets archiving up, has not run either.
            yield f"{error.what} ({error.where})"
    if job.evidence is not None:
        from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.base_evidence import check_evidence

        check_evidence(job)
    _parent, why_full = choose_parent(job, repositories, facts, settings)
    compress.compressor(job.compression_level)
    if settings.tablespaces:
        obstacle = obstacle_to_staging(job, settings)
        if obstacle:
            raise ConfigurationError(f"the backup cannot be staged: {obstacle}", "staging_dir", "Name another staging_dir.")
        yield "the backup would be staged: the server has tablespaces of its own"
    yield from job.sealer.notes
    yield from program.warnings
    if why_full:
        yield why_full.replace("was taken", "would be taken")
