# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backups of keys must not go, because a backup that is kept can only be read with them (law 6). Pure.

A backup names in its manifest the fingerprints of the keys that production used when it was taken (`keys`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef

__all__ = ["HasKeys", "keeping_keys", "needed_keys"]

KIND = "keys"


class HasKeys(Protocol):
    """A manifest, as far as this is concerned."""

    @property
    def ref(self) -> BackupRef: ...

    @property
    def keys(self) -> Mapping[str, str]: ...


def needed_keys(kept: Iterable[HasKeys]) -> dict[tuple[str, str], str]:
    """The keys that these backups need: name and fingerprint, each with the id of the newest backup that needs it.

    Backups of keys themselves need none.
    """
    needed: dict[tuple[str, str], str] = {}
    for manifest in kept:
        if manifest.ref.kind == KIND:
            continue
        for pair in manifest.keys.items():
            needed[pair] = max(manifest.ref.backup_id, needed.get(pair, ""))
    return needed


def keeping_keys(kept: Iterable[HasKeys], backups_of_keys: Iterable[HasKeys]) -> dict[BackupRef, str]:
    """Of the backups of keys those that have to stay, each with the reason in words.

    Of each key the newest one stays, since production uses it; of every key that a kept backup needs, the newest backup with
    that fingerprint (a later one with the same is sealed for other recipients, and stands for it). A base backup leads to every
    moment after it, and a backup that says nothing of keys may need any: so what was in use then stays, and all that came after.
    """
    data = [manifest for manifest in kept if manifest.ref.kind != KIND]
    needed = needed_keys(data)
    oldest = min((manifest.ref.backup_id for manifest in data if not manifest.keys or manifest.ref.kind == "base"), default="")
    keeping: dict[BackupRef, str] = {}
    by_name: dict[str, list[HasKeys]] = {}
    for manifest in sorted(backups_of_keys, key=lambda found: found.ref.backup_id, reverse=True):
        by_name.setdefault(manifest.ref.name, []).append(manifest)
    for name, manifests in by_name.items():
        keeping[manifests[0].ref] = "the newest of this key"
        seen: set[str] = set()
        for manifest in manifests:
            fingerprint = manifest.keys.get(name, "")
            if fingerprint in seen:
                continue
            seen.add(fingerprint)
            wanted_by = needed.get((name, fingerprint))
            if wanted_by:
                keeping.setdefault(manifest.ref, f"needed by backup {wanted_by}")
        if oldest:
            # The one that was in use when that backup was taken, and all after it.
            for manifest in manifests:
                keeping.setdefault(manifest.ref, f"what backup {oldest} leads to may need it")
                if manifest.ref.backup_id <= oldest:
                    break
    return keeping
