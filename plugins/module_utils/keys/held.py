# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the vaults hold already: of each key the newest backup in each vault, and whether it is whole.

One listing per vault, the newest manifest of each key, and one listing of its files. The vaults are asked and not a note of
ours: what somebody removed there is shipped again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError, ManifestError, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.inspection import inspect
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository

__all__ = ["Held", "HeldKey", "look"]

KIND = "keys"


@dataclass(frozen=True)
class HeldKey:
    """The newest backup of a key in one vault; `problem` is "" when all of it is there."""

    backup_id: str
    fingerprint: str
    recipients: tuple[str, ...]
    problem: str = ""


class Held:
    """`faults` are vaults that could not be listed, and why."""

    def __init__(self, catalogues: dict[str, tuple[Repository, Catalogue]], faults: dict[str, str]) -> None:
        self._catalogues = catalogues
        self.faults = faults

    def newest(self, vault: str, name: str) -> HeldKey | None:
        """The newest backup of the key in this vault, whole or not; None when there is none."""
        repository, catalogue = self._catalogues[vault]
        refs = [ref for ref in catalogue.refs if ref.name == name]
        return None if not refs else self._judged(repository, catalogue, refs[0])

    @staticmethod
    def _judged(repository: Repository, catalogue: Catalogue, ref: BackupRef) -> HeldKey | None:
        try:
            backup = catalogue.get(ref)
        except (ManifestError, RepositoryError) as error:
            return HeldKey(ref.backup_id, "", (), str(error))
        if backup is None:
            return None
        [looked_at] = inspect([backup], [repository], "sizes")
        manifest = looked_at.manifest
        # What the manifest says of other vaults is theirs to say.
        own = [problem for problem in looked_at.problems if problem.startswith(f"{repository.name}: ")]
        return HeldKey(ref.backup_id, manifest.keys.get(ref.name, ""), manifest.recipients, "; ".join(own))


def look(vaults: Sequence[Repository], system: str, own_keys: Sequence[str] = ()) -> Held:
    """Ask every vault. With `own_keys`, a manifest that this host did not sign keeps nobody from shipping."""
    catalogues: dict[str, tuple[Repository, Catalogue]] = {}
    faults: dict[str, str] = {}
    for vault in vaults:
        try:
            catalogues[vault.name] = vault, Catalogue.load([vault], system, KIND, None, own_keys)
        except LifeboatError as error:
            faults[vault.name] = str(error)
    return Held(catalogues, faults)
