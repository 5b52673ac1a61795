# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a backup is needless, because a young one is complete everywhere."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job_common import Job
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now

__all__ = ["young_backup"]


def young_backup(job: Job, repositories: Sequence[Repository], kind: str, name: str) -> Manifest | None:
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
