# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The protected keys of a backup, out of the vault, with the drill's own credential and identity (row C2).

Fetched, compared by digest, opened in memory, and compared by fingerprint with what the backup says that production used.
What the checks then decrypt with is the escrowed key and nothing else.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill import guard
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.choose import Found, check_volumes
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.fetch import Fetcher
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.prepare import unless_waived
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    IntegrityError,
    LifeboatError,
    ManifestError,
    ObjectMissing,
    RepositoryError,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.found_backup import Backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.document import KeyDocument, unpacked_files
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.fingerprint import fingerprint, same, short
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.opened import OpenedKey
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import DamagedSeal, WrongIdentity
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import opener

__all__ = ["FetchedKeys", "fetch_keys", "open_key"]

KIND = "keys"
LIMIT_BYTES = 64 * 1024 * 1024
_KEY_IS_BAD = (DamagedSeal, IntegrityError, ManifestError, ObjectMissing)


@dataclass(frozen=True)
class FetchedKeys:
    """The keys that could be opened, by name; an answer for each; and what the operator should know."""

    keys: Mapping[str, OpenedKey] = field(default_factory=dict, repr=False)
    results: Sequence[CheckResult] = ()
    notes: Sequence[str] = ()


def fetch_keys(plan: DrillPlan, manifest: Manifest, state_at: dt.datetime | None = None, try_writing: bool = True) -> FetchedKeys:
    """Every key that the backup names or a check asks for. `state_at` is the moment that a recovery reached, later than the backup.

    `try_writing`: find out whether the credential can write, by trying, which check mode leaves out.

    What is wrong with a key is an answer and is not raised; raises `DrillRefused` for a credential that can write, `RepositoryError`
    when no vault can be listed.
    """
    names = sorted({*manifest.keys, *plan.wanted_keys})
    if not plan.key_repositories:
        if not names:
            return FetchedKeys()
        said = (
            f"this backup needs protected keys ({', '.join(names)}), and key_repositories is not set: nobody looked whether they are safe"
        )
        return FetchedKeys(notes=[said])
    keys: dict[str, OpenedKey] = {}
    results: list[CheckResult] = []
    notes: list[str] = []
    with contextlib.ExitStack() as stack:
        vaults = [stack.enter_context(open_repository(name, spec, read_only=True)) for name, spec in plan.key_repositories.items()]
        for vault in vaults if try_writing else ():
            notes += unless_waived(plan, "writable_credential", functools.partial(guard.check_credential, vault, plan.system))
        for name in names:
            fetcher = _Fetch(plan, manifest, vaults, name, state_at)
            results += fetcher.run()
            notes += fetcher.notes
            if fetcher.key is not None:
                keys[name] = fetcher.key
    return FetchedKeys(keys, results, notes)


def open_key(repository: Repository, manifest: Manifest, identity_file: str) -> tuple[OpenedKey, KeyDocument]:
    """One backup of kind `keys`, every byte compared and opened, its fingerprint computed anew. Secret.

    Raises `IntegrityError`, `WrongIdentity`, `SealError`, `RepositoryError`.
    """
    where = f"backup {manifest.backup_id} in repository {repository.name!r}"
    check_volumes(Found(manifest, repository))
    fetcher = Fetcher(repository, manifest, opener(manifest.encryption, identity_file))
    document = KeyDocument.from_bytes(_opened(fetcher, "evidence", where), where)
    body = _opened(fetcher, "key", where)
    files = unpacked_files(body, where) if manifest.format == "tar" else [("", body)]
    found = fingerprint(files, bytes.fromhex(document.salt))
    if not same(found, document.fingerprint) or not same(found, manifest.keys.get(manifest.name, "")):
        raise IntegrityError(
            "the opened key is not the one that was shipped: its fingerprint differs", where, "Use another repository's copy."
        )
    return OpenedKey(manifest.name, tuple(files)), document


def _opened(fetcher: Fetcher, role: str, where: str) -> bytes:
    parts: list[bytes] = []
    size_bytes = 0

    def keep(chunk: bytes) -> None:
        nonlocal size_bytes
        size_bytes += len(chunk)
        if size_bytes > LIMIT_BYTES:
            raise IntegrityError(f"the opened {role} is larger than {LIMIT_BYTES} bytes", where)
        parts.append(chunk)

    fetcher.into(fetcher.manifest.artifact(role), keep)
    return b"".join(parts)


class _Fetch:
    """One key: which backup of it, and what it turned out to be."""

    def __init__(self, plan: DrillPlan, manifest: Manifest, vaults: Sequence[Repository], name: str, state_at: dt.datetime | None) -> None:
        self.plan, self.manifest, self.vaults, self.name, self.state_at = plan, manifest, vaults, name, state_at
        self.wanted = manifest.keys.get(name, "")
        self.title = f"protected key {name}"
        self.key: OpenedKey | None = None
        self.notes: list[str] = []

    def run(self) -> list[CheckResult]:
        expected = f"the key that production used, {short(self.wanted)}" if self.wanted else "a key in the vault"
        try:
            catalogue = Catalogue.load(self.vaults, self.plan.system, KIND, self.name, self.plan.verify_keys)
            candidates = self._candidates(catalogue)
        except (ManifestError, RepositoryError) as error:
            verdict = FAILED if isinstance(error, ManifestError) else UNVERIFIED
            return [CheckResult(self.title, verdict, expected, "the vault could not be read", str(error))]
        if not candidates:
            return [self._absent(catalogue, expected)]
        closed = ""
        for backup in candidates:
            place = next(vault for vault in self.vaults if vault.name in backup.repositories)
            try:
                if backup.problems:
                    raise IntegrityError(backup.problems[0], f"backup {backup.ref.backup_id}")
                self.key, _document = open_key(place, backup.manifest, self.plan.key_identity_file)
            except WrongIdentity as error:
                # The same key sealed for others before or since: one of them may be ours.
                closed = str(error)
                continue
            except LifeboatError as error:
                verdict = FAILED if isinstance(error, _KEY_IS_BAD) else UNVERIFIED
                return [CheckResult(self.title, verdict, expected, "could not be had from the vault", str(error))]
            found = f"{short(backup.manifest.keys[self.name])} from {place.name}, opened"
            if not self.wanted:
                self.notes.append(
                    f"the backup does not say which {self.title} it needs; taken is {found}: only a check that decrypts proves it"
                )
                return []
            return [CheckResult(self.title, PASSED, expected, found, self._rotated(backup))]
        return [CheckResult(self.title, UNVERIFIED, expected, "key_identity_file does not open it", closed)]

    def _candidates(self, catalogue: Catalogue) -> list[Backup]:
        """Backups of the wanted key, newest first; of a key that nobody named, the one that was in use."""
        found = catalogue.backups
        if self.state_at is not None:
            # A recovery goes beyond its base backup: a key that was shipped in between is the one in use at its end.
            since = [backup for backup in found if self.manifest.snapshot_at < backup.manifest.snapshot_at <= self.state_at]
            if since:
                self.wanted = since[0].manifest.keys.get(self.name, "")
        if self.wanted:
            return [backup for backup in found if same(backup.manifest.keys.get(self.name, ""), self.wanted)]
        moment = self.state_at or self.manifest.snapshot_at
        return [backup for backup in found if backup.manifest.snapshot_at <= moment][:1] or found[-1:]

    def _absent(self, catalogue: Catalogue, expected: str) -> CheckResult:
        if catalogue.unreachable:
            return CheckResult(self.title, UNVERIFIED, expected, "a vault could not be listed", "; ".join(catalogue.unreachable.values()))
        held = len(catalogue.refs)
        what = f"the vault holds {held} others of this name" if held else "the vault holds none of this name"
        return CheckResult(self.title, FAILED, expected, "not in the vault", f"{what}; what is encrypted with it cannot be read any more")

    def _rotated(self, backup: Backup) -> str:
        return "a recovery beyond its base backup: shipped after it" if backup.manifest.snapshot_at > self.manifest.snapshot_at and (
            self.manifest.keys.get(self.name, "") != self.wanted
        ) else ""  # fmt: skip
