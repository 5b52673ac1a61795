# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a backup is needless, because a young one is complete everywhere."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job_common import Job
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.lock import host_lock
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import Locked
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now

__all__ = ["begin"]


def begin(
    stack: contextlib.ExitStack, job: Job, repositories: Sequence[Repository], kind: str, name: str, check_mode: bool
) -> Manifest | None:
    """Take this host's lock for the asset, until the stack ends, and look for the backup that makes another one needless.

    Whoever holds the lock is in nobody's way who needs no backup: with a young one there, that one is the answer. Otherwise raises
    `Locked`. Check mode takes no lock. Raises `RepositoryError`.
    """
    try:
        if not check_mode:
            stack.enter_context(host_lock(job.system, kind, name, job.lock_dir))
    except Locked:
        young = _young_backup(job, repositories, kind, name)
        if young is None:
            raise
        return young
    return _young_backup(job, repositories, kind, name)


def _young_backup(job: Job, repositories: Sequence[Repository], kind: str, name: str) -> Manifest | None:
    """The backup of this asset that makes another one needless: whole in every repository and younger than `max_age`.

    Where this host signs, a manifest that it did not sign keeps nobody from taking a backup.
    """
    if job.max_age_seconds is None:
        return None
    catalogue = Catalogue.load(repositories, job.system, kind, name, job.own_keys)
    newest = catalogue.newest_complete({repository.name for repository in repositories})
    if newest is None:
        return None
    age = (now() - newest.snapshot_at).total_seconds()
    # A snapshot from the future means that a clock jumped: never a reason to skip a backup.
    return newest if 0 <= age < job.max_age_seconds else None
