# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with protected keys, a store for its data and a vault for its keys: what tests of escrow share."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.keys import open_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.logical import new_identity

__all__ = ["Escrow", "written"]


def written(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    return path


class Escrow:
    """Options of `key_escrow`, and what lies in the vault afterwards, seen with its own identity."""

    def __init__(self, root: Path, vault: Mapping[str, Any] | None = None) -> None:
        self.root = root
        self.master = written(root / "production" / "master.key", secrets.token_bytes(32))
        self.data, self.keys = new_identity(root / "data.identity"), new_identity(root / "keys.identity")
        self.safe = new_identity(root / "safe.identity")
        for name in ("store", "vault"):
            (root / name).mkdir(mode=0o700)
        self.store: dict[str, Any] = {"type": "posix", "path": str(root / "store")}
        self.vault: dict[str, Any] = dict(vault or {"type": "posix", "path": str(root / "vault")})

    def options(self, **more: Any) -> dict[str, Any]:
        return {
            "system": "shop",
            "keys": [{"name": "master-key", "path": str(self.master)}],
            "key_repositories": {"vault": self.vault},
            "repositories": {"store": self.store},
            "encryption": {"recipients": [self.data.recipient], "key_recipients": [self.keys.recipient, self.safe.recipient]},
            "state_dir": str(self.root / "state"),
            "lock_dir": str(self.root / "locks"),
            **more,
        }

    def run(self, check_mode: bool = False, **more: Any) -> dict[str, Any]:
        return run(self.options(**more), check_mode)

    def fails(self, **more: Any) -> LifeboatError:
        """The error of a run that has to fail."""
        try:
            run(self.options(**more))
        except LifeboatError as error:
            return error
        raise AssertionError("it did not fail")

    @property
    def fingerprints(self) -> Path:
        return self.root / "state" / "shop" / "fingerprints.json"

    def manifests(self, name: str = "master-key", vault: Mapping[str, Any] | None = None) -> list[Manifest]:
        """Those of one key, oldest first."""
        with open_repository("reader", vault or self.vault, read_only=True) as repository:
            keys = [info.key for info in repository.list(layout.manifests_prefix("shop", "keys", name))]
            return [Manifest.from_bytes(repository.read(key)) for key in sorted(keys)]

    def opened(self, manifest: Manifest, identity: Path | None = None) -> dict[str, bytes]:
        """The files of a shipped key, by name."""
        with open_repository("reader", self.vault, read_only=True) as repository:
            return dict(open_key(repository, manifest, str(identity or self.keys.file))[0].files)

    def objects(self) -> dict[str, bytes]:
        """Everything that lies in the vault."""
        with open_repository("reader", self.vault, read_only=True) as repository:
            return {info.key: repository.read(info.key) for info in repository.list()}
