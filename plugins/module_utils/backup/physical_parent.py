# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the next incremental backup is measured against: the manifest of the last one, kept on this host.

The server needs the parent's backup_manifest in clear, and this host cannot open the one in the repositories (law 5). So the last
one stays here as well, in a directory of our own, 0600:

    state_dir/base/<system>/<name>/<backup_id>.manifest

It tells the names, sizes, times and checksums of the server's data files; nothing of what is in them, and nothing that this host,
which reads them all, does not know. When it is lost, the next backup is a full one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.chain import chain_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_job import KIND, PhysicalJob, default_state_dir
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, ManifestError, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef, encode_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.private_directory import private_directory
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

__all__ = ["Parent", "find_parent", "keep_manifest", "manifest_room"]

_FILE = re.compile(r"^(\d{8}T\d{6}Z-[0-9a-f]{8})\.manifest$")


@dataclass(frozen=True)
class Parent:
    """The backup to build on: `file` is its backup_manifest in clear, `manifest` what the repositories say of it."""

    file: Path
    manifest: Manifest


def manifest_room(job: PhysicalJob) -> Path:
    """The directory for this asset's manifest, made when it is not there; raises `ConfigurationError`."""
    folder = job.state_dir or default_state_dir()
    private_directory(folder, "state", "state_dir")
    for part in (KIND, encode_name(job.system), encode_name(job.name)):
        folder = folder / part
        private_directory(folder, "state", "state_dir")
    return folder


def find_parent(job: PhysicalJob, repositories: Sequence[Repository], system_identifier: str) -> tuple[Parent | None, str]:
    """The last backup when an incremental one can build on it; else None, and why a full one is taken. Changes nothing."""
    folder = (job.state_dir or default_state_dir()) / KIND / encode_name(job.system) / encode_name(job.name)
    kept = _kept(folder)
    if not kept:
        return None, "this host keeps no manifest of an earlier one"
    file = kept[-1]
    ref = BackupRef(job.system, KIND, job.name, file.stem)
    catalogue = Catalogue.load(repositories, job.system, KIND, job.name, job.own_keys)
    wanted = {repository.name for repository in repositories}

    def find(link: BackupRef) -> Manifest | None:
        if link not in catalogue.refs:
            return None
        backup = catalogue.get(link)
        if backup is None or not backup.good or not wanted <= set(backup.repositories):
            return None
        return backup.manifest

    try:
        last = find(ref)
        if last is None:
            return None, f"the last one, {ref.backup_id}, is not whole in every repository"
        chain = chain_of(last, find)
    except (ManifestError, RepositoryError) as error:
        return None, f"its chain is not whole: {error.what}"
    if last.system_identifier != system_identifier:
        return None, f"the last one, {ref.backup_id}, is of another server"
    age = (now() - chain[0].snapshot_at).total_seconds()
    if not 0 <= age < job.full_after_seconds:
        return None, f"the last full one, {chain[0].backup_id}, is {many(round(age / 3600), 'hour')} old"
    return Parent(file, last), ""


def keep_manifest(folder: Path, backup_id: str, source: BinaryIO) -> None:
    """Keep this one for the next backup, and no other; `source` is at its beginning. Raises `ConfigurationError` for a full disk."""
    path = folder / f"{backup_id}.manifest"
    partial = path.with_suffix(".part")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
        partial.rename(path)
        for name in os.listdir(folder):
            if name != path.name and (name.endswith(".part") or _FILE.match(name)):
                with contextlib.suppress(FileNotFoundError):
                    (folder / name).unlink()
    except OSError as error:
        what = f"the manifest for the next backup cannot be kept: {error.strerror}"
        raise ConfigurationError(what, str(folder), "Set state_dir.") from None


def _kept(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [folder / name for name in names if _FILE.match(name)]
