# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what lies in the repositories is what the manifests say: sizes by listing, digests by reading every byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ObjectMissing, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.found_backup import Backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository

__all__ = ["LEVELS", "inspect", "sha256_of"]

LEVELS = ("none", "sizes", "digests")
CHUNK_BYTES = 1024 * 1024


def inspect(backups: Sequence[Backup], repositories: Sequence[Repository], level: str) -> list[Backup]:
    """The same backups with what was found wrong; one repository after the other within each, all repositories at once.

    `sizes` costs one listing per backup and repository, `digests` reads everything, streamed. A fault of a repository is
    a problem of the backups that could not be looked at, not an error.
    """
    if level == "none":
        return list(backups)
    with ThreadPoolExecutor(max_workers=max(len(repositories), 1)) as pool:
        found = list(pool.map(lambda repository: _inspect_in(backups, repository, level), repositories))
    return [backup.with_problems((problem for problems in found for problem in problems.get(backup.ref, ())), level) for backup in backups]


def _inspect_in(backups: Sequence[Backup], repository: Repository, level: str) -> Mapping[BackupRef, list[str]]:
    here = [backup for backup in backups if repository.name in backup.repositories]
    return {backup.ref: [f"{repository.name}: {problem}" for problem in _problems(backup, repository, level)] for backup in here}


def _problems(backup: Backup, repository: Repository, level: str) -> Iterator[str]:
    try:
        sizes = {info.key: info.size_bytes for info in repository.list(layout.backup_prefix(backup.ref))}
        for artifact in backup.manifest.artifacts:
            for volume in artifact.volumes:
                key = layout.artifact_key(backup.ref, volume.name)
                if key not in sizes:
                    yield f"{volume.name} is missing"
                elif sizes[key] != volume.size_bytes:
                    yield f"{volume.name} has {sizes[key]} bytes, the manifest says {volume.size_bytes}"
                elif level == "digests" and sha256_of(repository, key) != volume.sha256:
                    yield f"{volume.name} has another SHA-256 digest than the manifest says"
    except ObjectMissing:
        yield "it was removed while it was read"
    except RepositoryError as error:
        yield f"could not be looked at: {error}"


def sha256_of(repository: Repository, key: str) -> str:
    """The SHA-256 of an object in hexadecimal, every byte read; raises `RepositoryError`."""
    digest = hashlib.sha256()
    with repository.open(key) as stream:
        for chunk in iter(lambda: stream.read(CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()
