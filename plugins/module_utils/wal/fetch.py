# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One WAL file out of the archive, for a server that recovers. It answers as PostgreSQL reads it:

    0     delivered: whole, and of the digest it was archived with
    1     certainly not in the archive: every required repository was listed and has no such file
    126   anything else; a recovery stops, instead of ending early with less data and calling itself a success

A standby asks again and again and promotes only when it is told to, and 126 would end it: there all trouble is answered
with 1, and logged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    ArchiveError,
    IntegrityError,
    LifeboatError,
    RepositoryError,
    WalConflict,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import Opener
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import opener
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.archive import StoredWal, WalArchive
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.header import HEADER_BYTES, check_header, read_header
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.identity import control_identifier
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import WalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import BACKUP, HISTORY, WalName

__all__ = ["DELIVERED", "MISSING", "TROUBLE", "Fetcher", "fetch_file", "fetch_for_server"]

DELIVERED, MISSING, TROUBLE = 0, 1, 126
STANDBY_SIGNAL = "standby.signal"

_SUFFIXES = {".zst.age": "age", ".zst": "none"}


def fetch_for_server(
    name: str, target: str, make_job: Callable[[], WalJob], say: Callable[[str], None], in_standby: bool | None = None
) -> int:
    """The exit status for `restore_command`; the working directory is the server's data directory."""
    trouble = TROUBLE
    try:
        if in_standby or (in_standby is None and os.path.exists(STANDBY_SIGNAL)):
            trouble = MISSING
        if fetch_file(name, target, make_job(), say):
            return DELIVERED
        say(f"{name} is not in the archive")
        return MISSING
    except LifeboatError as error:
        say(f"{name} was not delivered: {error}")
    except BaseException as error:  # noqa: BLE001 - whatever it was, it must not be read as the end of the log
        say(f"{name} was not delivered: {type(error).__name__}: {clean_line(str(error))}")
    return trouble


def fetch_file(name: str, target: str | os.PathLike[str], job: WalJob, say: Callable[[str], None] = lambda words: None) -> bool:
    """Write the file to `target`: True when it was delivered, False when it is certainly not in the archive.

    Raises `UnsafeName`, `RepositoryError` when that could not be found out, `IntegrityError`, `SealError`, `ArchiveError`.
    """
    with Fetcher(job, say) as fetcher:
        return fetcher.fetch(WalName.parse(name), Path(target))


class Fetcher:
    """The archives of a job, opened for reading. Safe to use from several threads; close it, or use it as a context manager."""

    def __init__(self, job: WalJob, say: Callable[[str], None] = lambda words: None) -> None:
        self.job = job
        self._say = say
        # What is required comes first: an optional one may be behind.
        names = sorted(job.repositories, key=job.is_optional)
        self.archives = [WalArchive(open_repository(name, job.repositories[name], read_only=True), job.system) for name in names]
        self._identifier = control_identifier(job.server_dir)
        self._openers: dict[str, Opener] = {}

    def fetch(self, name: WalName, target: Path) -> bool:
        """As `fetch_file`. A copy that is damaged, or a repository that fails, is passed by when another one delivers."""
        faults: list[LifeboatError] = []
        for archive in self.archives:
            try:
                if self._from(archive, name, target):
                    for fault in faults:
                        self._say(f"{name.text} came from {archive.where}, after: {fault}")
                    return True
            except (RepositoryError, IntegrityError) as fault:
                if not self.job.is_optional(archive.repository.name) or isinstance(fault, IntegrityError):
                    faults.append(fault)
        if faults:
            # Damage is worse news than a store that is down: it will still be there tomorrow.
            worst = next((fault for fault in faults if isinstance(fault, IntegrityError)), faults[0])
            if len(self.archives) > 1 and isinstance(worst, RepositoryError):
                worst.next_step = f"{worst.next_step} Or recover without it: leave it out of the job file.".strip()
            raise worst
        return False

    def find(self, archive: WalArchive, name: WalName) -> StoredWal | None:
        """The one content that this archive has of a name, or None; raises `WalConflict`, `ArchiveError`, `RepositoryError`."""
        found = archive.find(name.text)
        if len({stored.sha256 for stored in found}) > 1:
            raise WalConflict(
                f"CONFLICT: the archive holds {name.text} with {len(found)} different contents",
                archive.where,
                "Two servers wrote the same timeline: find out which one counts, and move the other's file away.",
            )
        if not found:
            self._check_whose(archive)
            return None
        return found[-1]

    def close(self) -> None:
        for archive in self.archives:
            archive.repository.close()

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _from(self, archive: WalArchive, name: WalName, target: Path) -> bool:
        stored = self.find(archive, name)
        if stored is None:
            return False
        # The server makes what it takes durable by itself (KeepFileRestoredFromArchive).
        archive.fetch(stored, self._opener(stored), target, durable=False, check=lambda path: self._check_content(name, path, archive))
        return True

    def _check_content(self, name: WalName, path: Path, archive: WalArchive) -> None:
        """Whether this is the segment, and this server's; else it would take it for the end of the log."""
        if name.kind in (BACKUP, HISTORY):
            self._check_whose(archive)
            return
        with open(path, "rb") as stream:
            header = read_header(stream.read(HEADER_BYTES))
        check_header(name, header, path.stat().st_size)
        if self._identifier not in ("", header.system_identifier):
            raise self._foreign(archive, header.system_identifier)

    def _check_whose(self, archive: WalArchive) -> None:
        """An archive that is empty, or another cluster's, cannot say that a file does not exist: the job names the wrong one."""
        identity = archive.identity()
        if identity is None:
            if self.job.is_optional(archive.repository.name):
                return
            raise ArchiveError(
                f"there is no WAL archive of system {self.job.system!r}", archive.where, "Look at system and at the repository's place."
            )
        if self._identifier not in ("", identity.system_identifier):
            raise self._foreign(archive, identity.system_identifier)

    def _foreign(self, archive: WalArchive, found: str) -> ArchiveError:
        return ArchiveError(
            f"the WAL archive of system {self.job.system!r} is that of cluster {found}, and this server is {self._identifier}",
            archive.where,
            "Name the system whose backup was restored here.",
        )

    def _opener(self, stored: StoredWal) -> Opener:
        if stored.suffix not in self._openers:
            self._openers[stored.suffix] = opener_for(stored.suffix, self.job)
        return self._openers[stored.suffix]


def opener_for(suffix: str, job: WalJob) -> Opener:
    """The opener of what is stored with this suffix; raises `SealError`, `ArchiveError`, `MissingTool`."""
    method = _SUFFIXES.get(suffix)
    if suffix == ".zst.gpg":
        method = "gpg-symmetric" if job.passphrase_file else "gpg"
    if method is None:
        raise ArchiveError(f"it is stored as {suffix!r}, which this version cannot read", job.system)
    return opener(method, os.path.expanduser(job.identity_file), passphrase_file=os.path.expanduser(job.passphrase_file))


def segments_after(name: WalName, segment_bytes: int, count: int) -> Sequence[WalName]:
    """The names of the segments that follow one on its timeline."""
    from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import segment_name

    first = name.number(segment_bytes) + 1
    return [WalName.parse(segment_name(name.timeline, number, segment_bytes)) for number in range(first, first + count)]
