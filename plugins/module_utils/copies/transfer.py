# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One backup from one repository into another, sealed as it is: the commit protocol once more (docs/format.md#commit).

Volumes first, each streamed, its digest compared on the way, confirmed at the target and published; then the instructions;
then the manifest, byte for byte, so that its signature stays valid. Until then nothing at the target looks like a backup.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.feed import copy_object
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ManifestError, ObjectExists, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.inspection import sha256_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import artifact_key, backup_prefix, manifest_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest, Volume
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.patience import within
from ansible_collections.lifeboat.postgres.plugins.module_utils.stored_manifest import LIMIT_BYTES

__all__ = ["Copied", "copy_backup"]


@dataclass(frozen=True)
class Copied:
    """A copy that exists: bytes that were moved (less than the backup's size where an earlier run had begun), and how long it took."""

    moved_bytes: int
    seconds: float


def copy_backup(source: Repository, target: Repository, manifest: Manifest, stall_timeout_seconds: float, parallel: int) -> Copied:
    """Copy the backup of this manifest, `parallel` volumes at a time.

    Raises `ObjectDamaged` or `ObjectMissing` when the source does not hold what the manifest says, `ManifestError` when the
    manifest is another one by now, `RepositoryError`. What was published until then stays invisible, and is used by the next run.
    """
    started = time.monotonic()
    _require_room(target, manifest)
    document = source.read(manifest_key(manifest.ref), LIMIT_BYTES)
    if Manifest.from_bytes(document) != manifest:
        raise ManifestError(f"the manifest of backup {manifest.backup_id} changed while it was copied", f"repository {source.name!r}")
    there = {info.key: info.size_bytes for info in target.list(backup_prefix(manifest.ref))}
    instructions = [artifact for artifact in manifest.artifacts if artifact.role == "instructions"]
    others = [artifact for artifact in manifest.artifacts if artifact.role != "instructions"]
    moved = 0
    for artifacts in (others, instructions):
        volumes = {artifact_key(manifest.ref, volume.name): volume for artifact in artifacts for volume in artifact.volumes}
        moved += _copy_all(source, target, volumes, there, stall_timeout_seconds, parallel)
    _commit(target, manifest_key(manifest.ref), document, stall_timeout_seconds)
    return Copied(moved, time.monotonic() - started)


def _require_room(target: Repository, manifest: Manifest) -> None:
    """Volumes are copied as they are: a signed manifest names each of them."""
    largest = max((volume for artifact in manifest.artifacts for volume in artifact.volumes), key=lambda volume: volume.size_bytes)
    if target.max_object_bytes is not None and largest.size_bytes > target.max_object_bytes:
        raise RepositoryError(
            f"{largest.name} of backup {manifest.backup_id} has {largest.size_bytes} bytes, more than one object may have there",
            f"repository {target.name!r}, at most {target.max_object_bytes} bytes",
            "Raise part_size of that repository, or take backups with a smaller volume_size.",
        )


def _copy_all(
    source: Repository, target: Repository, volumes: Mapping[str, Volume], there: Mapping[str, int], stall_timeout: float, parallel: int
) -> int:
    """Bytes that were moved. The first failure ends the others."""
    stop = threading.Event()

    def copy(key: str, volume: Volume) -> int:
        if key in there:
            _require_same(target, key, volume)
            return 0
        try:
            copy_object(source, target, key, volume.sha256, stall_timeout, stop)
        except ObjectExists:  # another run is at the same backup
            _require_same(target, key, volume)
        return volume.size_bytes

    with ThreadPoolExecutor(max_workers=parallel, thread_name_prefix=f"copy {target.name}") as pool:
        futures = [pool.submit(copy, key, volume) for key, volume in volumes.items()]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            # Also when this process is told to stop: the pool waits for its threads, which look at this after each chunk.
            if any(not future.done() or future.exception() for future in futures):
                stop.set()
                for future in futures:
                    future.cancel()
    _raise_first(futures)
    return sum(future.result() for future in futures)


def _raise_first(futures: Iterable[Future[int]]) -> None:
    """Raise what went wrong first; the others were given up because of it."""
    faults = [future.exception() for future in futures if not future.cancelled()]
    causes = [fault for fault in faults if fault is not None]
    for cause in sorted(causes, key=lambda fault: "was given up" in str(fault)):
        raise cause


def _require_same(target: Repository, key: str, volume: Volume) -> None:
    if sha256_of(target, key) != volume.sha256:
        raise RepositoryError(
            f"something else lies where {volume.name} belongs: {key}",
            f"repository {target.name!r}",
            "It belongs to no backup, since there is no manifest: remove it, then copy again.",
        )


def _commit(target: Repository, key: str, document: bytes, stall_timeout_seconds: float) -> None:
    try:
        within(stall_timeout_seconds, lambda: target.put(key, document), target, "writing the manifest")
    except ObjectExists:
        if target.read(key, LIMIT_BYTES) != document:
            raise
