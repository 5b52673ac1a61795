# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backups of a system, over all repositories, as one list.

One listing of manifests per repository says which backups there are; a manifest is read only when it is asked for. What
is broken is reported with where and why, never left out silently; a repository that cannot be reached does not hide what
lies in the others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import functools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Union

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    ManifestError,
    ObjectDamaged,
    ObjectMissing,
    RepositoryError,
    UnsafeName,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.found_backup import Backup, Broken, Unread
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest, split_signature
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import ObjectInfo, Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.retired import read_retired
from ansible_collections.lifeboat.postgres.plugins.module_utils.stored_manifest import LIMIT_BYTES, StoredManifest

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest_cache import CachedManifests, ManifestCache

__all__ = ["Catalogue"]

READERS = 8
"""Manifests read at a time: each is one small object, so a distant store is a matter of waiting, not of bytes."""

_Answer = Union[StoredManifest, Broken, None]


class Catalogue:
    """All backups of one system, or of one kind or name in it. Use `load`."""

    def __init__(
        self,
        places: Mapping[BackupRef, Sequence[Repository]],
        strays: Sequence[Broken],
        listed: Iterable[str],
        unreachable: Mapping[str, str],
        verify_keys: Sequence[str],
        infos: Mapping[tuple[BackupRef, str], ObjectInfo],
        caches: Mapping[str, CachedManifests],
        prefix: str,
        repositories: Mapping[str, Repository],
    ) -> None:
        self._repositories = repositories
        self._retired: dict[tuple[str, str, str], frozenset[str]] = {}
        self._infos, self._caches, self._prefix = infos, caches, prefix
        self._places = places
        self._listed = set(listed)
        self._strays = list(strays)
        self._verify_keys = verify_keys
        self._answers: dict[tuple[BackupRef, str], _Answer] = {}
        self._backups: list[Backup] | None = None
        self._links: dict[BackupRef, Backup | None] = {}
        self.unreachable = unreachable
        """Repositories that could not be listed, and why."""

    @classmethod
    def load(
        cls,
        repositories: Sequence[Repository],
        system: str,
        kind: str | None = None,
        name: str | None = None,
        verify_keys: Sequence[str] = (),
        cache: ManifestCache | None = None,
    ) -> Catalogue:
        """List the manifests in every repository. What `cache` knows is not read again.

        `verify_keys` are lines of public key files: with them, a backup whose manifest none of them signed is not good.
        Raises `RepositoryError` when not one repository can be listed, `ConfigurationError` for an unusable key.
        """
        if verify_keys:
            from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import parse_public_keys

            parse_public_keys(verify_keys)
        places: dict[BackupRef, list[Repository]] = {}
        strays: list[Broken] = []
        unreachable: dict[str, str] = {}
        infos: dict[tuple[BackupRef, str], ObjectInfo] = {}
        prefix = layout.manifests_prefix(system, kind, name)
        with ThreadPoolExecutor(max_workers=max(len(repositories), 1)) as pool:
            listings = pool.map(lambda repository: _listing(repository, prefix), repositories)
            for repository, listing in zip(repositories, listings):
                if isinstance(listing, RepositoryError):
                    unreachable[repository.name] = str(listing)
                    continue
                for info in listing:
                    key = info.key
                    ref = layout.parse_manifest_key(key)
                    if ref is None or layout.manifest_key(ref) != key:
                        strays.append(Broken(repository.name, key, "this is not a manifest's name; it was put there by something else"))
                    else:
                        places.setdefault(ref, []).append(repository)
                        infos[ref, repository.name] = info
        if unreachable and len(unreachable) == len(repositories):
            raise RepositoryError("no repository can be listed", "; ".join(unreachable.values()), "Nothing is known about backups.")
        listed = {repository.name for repository in repositories} - set(unreachable)
        caches = {} if cache is None else {place.name: cache.open(place, system) for place in repositories if place.name in listed}
        return cls(places, strays, listed, unreachable, verify_keys, infos, caches, prefix, {place.name: place for place in repositories})

    @property
    def backups(self) -> list[Backup]:
        """Every backup with a readable manifest, newest first; reads what was not read before."""
        if self._backups is None:
            self._read(self._newest_first())
            self._remember()
            judged = (self._judge(ref) for ref in self._newest_first())
            self._backups = [backup for backup in judged if backup is not None]
        return self._backups

    @property
    def broken(self) -> list[Broken]:
        """What lies among the manifests and is none, newest last; reads what was not read before."""
        self._read(self._newest_first())
        found = [answer for answer in self._answers.values() if isinstance(answer, Broken)]
        return self._strays + sorted(found, key=lambda broken: (broken.key, broken.repository))

    def replace_backups(self, backups: Sequence[Backup]) -> None:
        """Put the same backups, looked at more closely, in the place of those with their refs."""
        closer = {backup.ref: backup for backup in backups}
        self._backups = [closer.get(backup.ref, backup) for backup in self.backups]

    def newest(self) -> Backup | None:
        """The newest backup, good or not; None when there is none.

        Raises `ManifestError` when the newest one's manifest is broken wherever it lies, `RepositoryError` when it cannot be
        read anywhere: an older one is no answer (law 2).
        """
        return self._first(self._newest_first(), "the newest backup")

    def find(self, backup_id: str) -> Backup | None:
        """The backup of this id, good or not; reads no other. Raises `ManifestError` as `newest` does."""
        return self._first([ref for ref in self._newest_first() if ref.backup_id == backup_id], "backup")

    @property
    def refs(self) -> list[BackupRef]:
        """Every backup by its manifests' names, newest first; nothing is read for it."""
        return self._newest_first()

    def places(self, ref: BackupRef) -> tuple[str, ...]:
        """Names of the repositories in which something lies under the name of this backup's manifest."""
        return tuple(repository.name for repository in self._places[ref])

    def stored_at(self, ref: BackupRef, repository: str) -> dt.datetime | None:
        """When the repository got the manifest, by its own clock, where it tells."""
        return self._infos[ref, repository].modified

    def get(self, ref: BackupRef) -> Backup | None:
        """One of `refs`, good or not; None when it was removed since. Raises `ManifestError` as `newest` does."""
        return self._first([ref], "backup")

    def readable(self, refs: Sequence[BackupRef]) -> list[Backup]:
        """Those of `refs` that have a readable manifest somewhere, good or not; several are read at a time."""
        self._read(refs)
        judged = (self._judge(ref) for ref in refs)
        return [backup for backup in judged if backup is not None]

    def newest_complete(self, names: Iterable[str]) -> Manifest | None:
        """The newest backup that is whole in every one of the named repositories, or None; reads no more than it needs."""
        wanted = set(names)
        for ref in self._newest_first():
            if wanted <= {repository.name for repository in self._places[ref]}:
                self._read([ref])
                backup = self._judge(ref)
                if backup is not None and backup.good and wanted <= set(backup.repositories) and not wanted & set(backup.absent):
                    return backup.manifest
        return None

    def newest_good_age(self, now: dt.datetime) -> float | None:
        """Seconds since the newest good backup's snapshot, or None when no backup is good."""
        return next((backup.age_seconds(now) for backup in self.backups if backup.good), None)

    def to_documents(self, now: dt.datetime) -> list[dict[str, Any]]:
        """Every backup as plain data, newest first; `newest` marks the newest of its kind and name, good or not."""
        seen: set[tuple[str, str]] = set()
        documents = []
        for backup in self.backups:
            asset = (backup.ref.kind, backup.ref.name)
            documents.append(backup.to_document(now, asset not in seen))
            seen.add(asset)
        return documents

    def _newest_first(self) -> list[BackupRef]:
        return sorted(self._places, key=lambda ref: (ref.backup_id, ref.kind, ref.name), reverse=True)

    def _read(self, refs: Sequence[BackupRef]) -> None:
        """Read the manifests of these backups wherever they lie, several at a time, each only once."""
        pairs = [(ref, place) for ref in refs for place in self._places[ref] if (ref, place.name) not in self._answers]
        for ref, place in pairs:
            cached = self._caches[place.name].get(self._infos[ref, place.name]) if place.name in self._caches else None
            if cached is not None:
                self._answers[ref, place.name] = cached
        pairs = [pair for pair in pairs if (pair[0], pair[1].name) not in self._answers]
        if not pairs:
            return
        with ThreadPoolExecutor(max_workers=min(READERS, len(pairs))) as pool:
            for (ref, place), answer in zip(pairs, pool.map(lambda pair: _manifest(*pair), pairs)):
                self._answers[ref, place.name] = answer

    def _remember(self) -> None:
        """Leave what was read to the next run."""
        for name, cached in self._caches.items():
            known = {
                self._infos[ref, place]: answer
                for (ref, place), answer in self._answers.items()
                if place == name and isinstance(answer, StoredManifest)
            }
            cached.save(self._prefix, known)

    def _whole(self, ref: BackupRef, name: str) -> Manifest:
        """The whole manifest in this repository; a damaged entry of the cache is read again. Raises `ManifestError`."""
        answer = self._answers[ref, name]
        if isinstance(answer, StoredManifest):
            try:
                return answer.manifest()
            except ValueError:
                place = next(place for place in self._places[ref] if place.name == name)
                self._answers[ref, name] = answer = _manifest(ref, place)
        if isinstance(answer, StoredManifest):
            return answer.manifest()
        reason = "it was removed" if answer is None else answer.reason
        raise ManifestError(f"the manifest of backup {ref.backup_id} cannot be read any more: {reason}", f"repository {name!r}")

    def _first(self, refs: Sequence[BackupRef], what: str) -> Backup | None:
        """The first of these that is still there; reads the manifests only up to it."""
        for ref in refs:
            self._read([ref])
            backup = self._judge(ref)
            if backup is not None:
                return backup
            found = self._broken_of(ref)
            reasons = "; ".join(f"{broken.repository}: {broken.reason}" for broken in found)
            if found and len(self.unread(ref)) == len(found):
                raise RepositoryError(f"the manifest of {what} {ref.backup_id} could not be read", reasons, "Nothing is known about it.")
            if found:
                raise ManifestError(f"{what} {ref.backup_id} has no readable manifest", reasons)
        return None

    def unread(self, ref: BackupRef) -> set[str]:
        """Names of the repositories in which the backup's manifest was found and could not be read."""
        return {broken.repository for broken in self._broken_of(ref) if isinstance(broken, Unread)}

    def _broken_of(self, ref: BackupRef) -> list[Broken]:
        answers = (self._answers[ref, place.name] for place in self._places[ref])
        return [answer for answer in answers if isinstance(answer, Broken)]

    def _judge(self, ref: BackupRef) -> Backup | None:
        """The backup as its manifests and those of all that it builds on tell of it, or None when none of its own is readable."""
        backup = self._judge_alone(ref)
        if backup is None or not backup.summary.parent:
            return backup
        problem = self._chain_problem(backup)
        return dataclasses.replace(backup, problems=(*backup.problems, problem)) if problem else backup

    def _chain_problem(self, backup: Backup) -> str:
        """Why nothing can be restored from an incremental backup, though it is whole itself; "" when its chain is whole, too."""
        link, seen = backup, {backup.ref}
        while link.summary.parent:
            ref = dataclasses.replace(link.ref, backup_id=link.summary.parent)
            if ref in seen or ref not in self._places:
                return f"it builds on {ref.backup_id}, which is not there"
            seen.add(ref)
            if ref not in self._links:
                self._read([ref])
                self._links[ref] = self._judge_alone(ref)
            parent = self._links[ref]
            if parent is None:
                return f"it builds on {ref.backup_id}, whose manifest cannot be read"
            if parent.problems:
                return f"it builds on {ref.backup_id}, which is not good: {parent.problems[0]}"
            lacking = sorted(set(backup.repositories) - set(parent.repositories))
            if lacking:
                return f"{lacking[0]}: {ref.backup_id}, which it builds on, is not there"
            link = parent
        return ""

    def _judge_alone(self, ref: BackupRef) -> Backup | None:
        """The backup as its manifests tell of it, or None when none of them is readable."""
        manifests: dict[str, StoredManifest] = {}
        for place in self._places[ref]:
            answer = self._answers[ref, place.name]
            if isinstance(answer, StoredManifest):
                manifests[place.name] = answer
        if not manifests:
            return None
        signers, forged = self._signers(ref, manifests)
        # Where one of them is signed as it should be, what the others say is not believed.
        chosen = next(iter(signers or manifests))
        summary = manifests[chosen].summary
        problems = [f"{broken.repository}: {broken.reason}" for broken in self._broken_of(ref)] + forged
        for name, other in manifests.items():
            if other.summary.sha256 != summary.sha256 and self._whole(ref, name) != self._whole(ref, chosen):
                problems.append(f"{name}: its manifest says otherwise than the others")
        claimed = {name for name, reason in summary.repositories.items() if not reason}
        gone = (claimed & self._listed) - set(manifests) - {broken.repository for broken in self._broken_of(ref)}
        retired = {name for name in gone if self._was_retired(ref, name)}
        problems += [f"{name}: its manifest is not there, though the backup was complete" for name in sorted(gone - retired)]
        problems += [f"{name}: cannot be looked at" for name in sorted(claimed & set(self.unreachable))]
        # A backup that did not get into a repository may have been copied there since, which its manifest cannot say.
        absent = {name: reason for name, reason in summary.repositories.items() if reason and name not in manifests}
        absent.update(dict.fromkeys(sorted(retired), "removed there by retention"))
        places = tuple(sorted(manifests, key=lambda name: bool(signers) and name not in signers))
        read = functools.partial(self._whole, ref, chosen)
        return Backup(ref, summary, read, places, absent, tuple(problems), signed_by=next(iter(signers.values()), ""))

    def _was_retired(self, ref: BackupRef, name: str) -> bool:
        """Whether retention took it from that repository, which says so itself; asked once for each asset."""
        asset = (name, ref.kind, ref.name)
        if asset not in self._retired:
            try:
                self._retired[asset] = read_retired(self._repositories[name], ref.system, ref.kind, ref.name)
            except RepositoryError:
                self._retired[asset] = frozenset()
        return ref.backup_id in self._retired[asset]

    def _signers(self, ref: BackupRef, manifests: Mapping[str, StoredManifest]) -> tuple[dict[str, str], list[str]]:
        """The key that signed the manifest in each repository, and what is wrong where none of the allowed ones did."""
        signers: dict[str, str] = {}
        forged: list[str] = []
        for name, stored in manifests.items() if self._verify_keys else ():
            known = next((other for other in signers if manifests[other].summary.sha256 == stored.summary.sha256), None)
            try:
                signers[name] = signers[known] if known else self._signer(ref, name, stored)
            except ManifestError as error:
                forged.append(f"{name}: the manifest's signature: {error.what}")
        return signers, forged

    def _signer(self, ref: BackupRef, name: str, stored: StoredManifest) -> str:
        """The key that signed it; raises `ManifestError`. A manifest as we write it is not read as a whole for that."""
        from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import verify

        with contextlib.suppress(ManifestError, ValueError):
            parts = split_signature(stored.document())
            if parts is not None:
                return verify(*parts, self._verify_keys)
        manifest = self._whole(ref, name)
        return verify(manifest.signed_bytes(), manifest.signature, self._verify_keys)


def _listing(repository: Repository, prefix: str) -> list[ObjectInfo] | RepositoryError:
    try:
        return list(repository.list(prefix))
    except RepositoryError as error:
        return error


def _manifest(ref: BackupRef, repository: Repository) -> _Answer:
    """What lies under the backup's manifest key; None when it was removed since it was listed."""
    key = layout.manifest_key(ref)
    try:
        document = repository.read(key, LIMIT_BYTES)
        manifest = Manifest.from_bytes(document)
    except ObjectMissing:
        return None
    except (ManifestError, ObjectDamaged, UnsafeName) as error:
        return Broken(repository.name, key, str(error))
    except RepositoryError as error:
        return Unread(repository.name, key, str(error))
    if manifest.ref != ref:
        return Broken(repository.name, key, f"the manifest speaks of another backup, {manifest.backup_id} of {manifest.name!r}")
    return StoredManifest.of(manifest, document)
