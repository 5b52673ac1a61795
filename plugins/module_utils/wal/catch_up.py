# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an optional repository missed, sent there from a required one, sealed as it is: the server's own copy may be gone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, LifeboatError, ObjectExists
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import CHUNK_BYTES
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.archive import StoredWal, WalArchive
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.behind import Behind
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import WalJob

__all__ = ["CaughtUp", "catch_up", "catch_up_one", "lacking"]


@dataclass(frozen=True)
class CaughtUp:
    """What became of one optional repository: files sent now, files that it still lacks as far as is known, and why."""

    copied: int = 0
    missing: int = 0
    reason: str = ""
    status: int = 0


def catch_up(job: WalJob, everything: bool = False) -> dict[str, CaughtUp]:
    """Send each optional repository what was noted, or, with `everything`, whatever a comparison of the archives finds."""
    with contextlib.ExitStack() as stack:
        archives = [WalArchive(stack.enter_context(open_repository(name, spec)), job.system) for name, spec in job.repositories.items()]
        required = [archive for archive in archives if not job.is_optional(archive.repository.name)]
        optional = [archive for archive in archives if job.is_optional(archive.repository.name)]
        behind = Behind(job.run_dir, job.system)
        return {archive.repository.name: catch_up_one(archive, required, behind, everything) for archive in optional}


def catch_up_one(
    target: WalArchive, sources: list[WalArchive], behind: Behind, everything: bool = False, stop: threading.Event | None = None
) -> CaughtUp:
    """One of them, until `stop` is set, one file at least; what could not be sent stays noted."""
    name, copied = target.repository.name, 0
    try:
        identity = sources[0].identity()
        if identity is not None:
            target.claim(identity)
        for stored in lacking(sources[0].names(), target.names()) if everything else _noted(sources, behind, name):
            _copy(stored, sources, target)
            behind.forget(name, stored.name.text)
            copied += 1
            if stop is not None and stop.is_set():
                break
    except LifeboatError as error:
        return CaughtUp(copied, len(behind.names(name)), str(error), error.exit_code)
    behind.is_up(name)
    return CaughtUp(copied, len(behind.names(name)))


def lacking(held: Iterable[StoredWal], there: Iterable[StoredWal]) -> Iterator[StoredWal]:
    """What is in the first listing and not in the second, both in the order of keys; nothing is held in memory."""
    others = iter(there)
    other = next(others, None)
    for stored in held:
        while other is not None and other.key < stored.key:
            other = next(others, None)
        if other is None or other.key != stored.key:
            yield stored


def _noted(sources: list[WalArchive], behind: Behind, name: str) -> Iterator[StoredWal]:
    for noted in behind.names(name):
        found = [stored for archive in sources for stored in archive.find(noted)]
        if not found:
            # The push that noted it failed in the end: the server still has it, and will come with it again.
            behind.forget(name, noted)
            continue
        yield found[0]


def _copy(stored: StoredWal, sources: list[WalArchive], target: WalArchive) -> None:
    if target.holds(stored.name, stored.sha256):
        return
    source = next((archive for archive in sources if archive.repository.stat(stored.key) is not None), None)
    if source is None:
        raise ArchiveError(f"{stored.name.text} is in no required repository any more", target.where)
    upload = target.repository.start_upload(stored.key)
    try:
        with source.repository.open(stored.key) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                upload.write(chunk)
        upload.confirm()
        upload.publish()
    except ObjectExists:
        upload.abort()
    except BaseException:
        upload.abort()
        raise
