# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The WAL archive as a drill sees it: read only, of the right cluster, each file checked before the server may have it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils import compress
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.chain import Chain, look, plan_chain
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.choose_base import wal_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, IntegrityError, ObjectMissing
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal import age, gpg, unsealed
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import Opener
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import opener
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.archive import StoredWal, WalArchive
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.header import HEADER_BYTES, check_header, read_header
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.history import history_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import HISTORY, WalName
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

__all__ = ["DrillArchive", "needs_no_archive", "rehearse_chain"]


class DrillArchive:
    """The archive beside a base backup. `scratch` is a directory of ours, for what is read before there is a server."""

    def __init__(self, plan: DrillPlan, repository: Repository, base: Manifest, scratch: Path) -> None:
        self._archive = WalArchive(repository, plan.system)
        self._plan, self._base, self._wal = plan, base, wal_of(base)
        self._scratch = scratch
        self._openers: dict[str, Opener] = {}

    def check_owner(self) -> None:
        """It is the archive of the cluster that the base backup is of; raises `IntegrityError`, `RepositoryError`."""
        where = self._archive.where
        identity = self._archive.identity()
        if identity is None:
            carries = "This base backup carries its own log: target {immediate: true} drills it to its end. Or "
            hint = "Check that archiving goes to this repository."
            raise IntegrityError(
                f"there is no WAL archive of system {self._plan.system!r}",
                where,
                f"{carries}{hint[0].lower()}{hint[1:]}" if self._wal.included else hint,
            )
        base = self._base
        ours = (base.system_identifier, base.server_version_num // 10000, self._wal.segment_bytes)
        if (identity.system_identifier, identity.server_version_num // 10000, identity.segment_bytes) != ours:
            raise IntegrityError(
                f"the WAL archive belongs to cluster {identity}, and the base backup is of cluster {base.system_identifier}"
                f" (PostgreSQL {base.server_version_num // 10000})",
                where,
                "WAL of another cluster cannot be replayed: give each cluster a system of its own.",
            )

    def chain(self) -> Chain:
        """What leads to the target; raises `IntegrityError` that names what is missing, `ArchiveError`, `RepositoryError`."""
        first = WalName.parse(self._wal.first).number(self._wal.segment_bytes)
        holdings = look(self._named(), self._wal.segment_bytes, first)
        return plan_chain(holdings, self._history, self._wal, self._plan.target)

    def checked_chain(self) -> Chain:
        """The chain, when the archive is the right cluster's; raises as `check_owner` and `chain` do."""
        self.check_owner()
        return self.chain()

    def fetch(self, name: WalName, path: Path) -> None:
        """One file, opened and checked, at `path`; what its own header says must be what its name says. Thread-safe."""
        found = self._archive.find(name.text)
        if not found:
            raise ObjectMissing(f"{name.text} is not in the archive", self._archive.where)
        if len({stored.sha256 for stored in found}) > 1:
            raise IntegrityError(f"{name.text} lies in the archive with two contents", self._archive.where, "Find out which one counts.")
        self._archive.fetch(found[0], self._opener(found[0]), path, durable=False)
        if name.kind == HISTORY:
            return
        try:
            self._check_segment(name, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _check_segment(self, name: WalName, path: Path) -> None:
        where = self._archive.where
        with path.open("rb") as stream:
            head = stream.read(HEADER_BYTES)
        try:
            header = read_header(head)
            check_header(name, header, path.stat().st_size)
        except ArchiveError as error:
            raise IntegrityError(f"{name.text} is not what its name says: {error.what}", where) from None
        if header.system_identifier != self._base.system_identifier:
            raise IntegrityError(
                f"{name.text} belongs to cluster {header.system_identifier}, and the base backup is of {self._base.system_identifier}",
                where,
                "Another cluster wrote into this archive: find out which, and give it a system of its own.",
            )
        if header.segment_bytes != self._wal.segment_bytes:
            raise IntegrityError(f"{name.text} is of a cluster with segments of {header.segment_bytes} bytes", where)

    def _named(self) -> Iterator[StoredWal]:
        yield from self._archive.names()

    def _history(self, timeline: int) -> str:
        path = self._scratch / history_name(timeline)
        self.fetch(WalName.parse(history_name(timeline)), path)
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        finally:
            path.unlink()

    def _opener(self, stored: StoredWal) -> Opener:
        """By how the file's name says it was sealed: that may have changed since the base was taken."""
        suffix = stored.suffix.removeprefix(compress.SUFFIX)
        if suffix not in self._openers:
            plan = self._plan
            method = {age.SUFFIX: age.METHOD, "": unsealed.METHOD}.get(suffix, gpg.SYMMETRIC if plan.passphrase_file else gpg.METHOD)
            self._openers[suffix] = opener(method, plan.identity_file, passphrase_file=plan.passphrase_file)
        return self._openers[suffix]


def needs_no_archive(plan: DrillPlan, base: Manifest) -> bool:
    """Whether the base backup comes to the target by the log that it carries itself."""
    return plan.target.immediate and wal_of(base).included


def rehearse_chain(plan: DrillPlan, repository: Repository, base: Manifest) -> str:
    """What would be replayed, for check mode, in words; raises as `DrillArchive.check_owner` and `chain` do."""
    if needs_no_archive(plan, base):
        return "the log up to the target is in the base backup itself"
    with tempfile.TemporaryDirectory(prefix="lifeboat-") as scratch:
        chain = DrillArchive(plan, repository, base, Path(scratch)).checked_chain()
    return (
        f"the WAL archive leads to the target: {many(chain.count, 'segment')}, {chain.first} to {chain.last}, on timeline {chain.timeline}"
    )
