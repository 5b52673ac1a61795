# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an escrow of keys was asked to be: options read strictly, before anything is read or runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.separation import require_apart
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.sources import KeySource, read_sources
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.state import default_state_dir
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import check_sources, written_directly
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import sealer

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import Sealer

__all__ = ["KIND", "KeysJob"]

KIND = "keys"
KEYS = (
    "system", "keys", "key_repositories", "repositories", "encryption", "passphrase_files", "state_dir", "signing_key", "stall_timeout",
    "lock_dir", "application_version",
)  # fmt: skip

_WHERE = "key_escrow"


@dataclass(frozen=True)
class KeysJob:
    """Which keys go into which vaults, for whom. `notes` is what the operator should know of the set-up."""

    system: str
    sources: Sequence[KeySource]
    vaults: Mapping[str, Mapping[str, Any]]
    sealer: Sealer
    state_dir: Path
    notes: tuple[str, ...] = ()
    passphrase_files: Sequence[str] = ()
    signing_key: Path | None = None
    stall_timeout_seconds: float = 120.0
    lock_dir: Path | None = None
    application_version: str = ""

    @classmethod
    def from_options(cls, given: Mapping[str, Any]) -> KeysJob:
        """Read a module's parameters; raises `ConfigurationError`, `SealError`, `MissingTool`."""
        options.unknown_keys(given, KEYS, _WHERE)
        system = options.text(given, "system", _WHERE)
        sources = read_sources(given.get("keys"), _WHERE)
        vaults = options.mapping(given, "key_repositories", _WHERE)
        if not vaults:
            raise ConfigurationError("key_repositories is empty", _WHERE, "Name one at least, apart from the data.")
        stores = options.mapping(given, "repositories", _WHERE)
        for name, spec in [*vaults.items(), *stores.items()]:
            validate(name, spec)
        check_sources(vaults)
        encryption = options.mapping(given, "encryption", _WHERE)
        key_sealer = sealer(encryption, purpose="keys")
        signing_key = options.path(given, "signing_key", _WHERE)
        if signing_key is not None:
            from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import check_signing_key

            check_signing_key(str(signing_key))
        passphrase_file = options.text(encryption, "passphrase_file", _WHERE, "")
        passphrase_files = [*options.texts(given, "passphrase_files", _WHERE, ()), *filter(None, [passphrase_file])]
        return cls(
            system=system,
            sources=sources,
            vaults=written_directly(vaults),
            sealer=key_sealer,
            state_dir=options.path(given, "state_dir", _WHERE, absolute=True) or default_state_dir(),
            notes=(*key_sealer.notes, *require_apart(vaults, stores)),
            passphrase_files=tuple(dict.fromkeys(passphrase_files)),
            signing_key=signing_key,
            stall_timeout_seconds=options.duration_seconds(given, "stall_timeout", _WHERE, 120.0, minimum=1),
            lock_dir=options.path(given, "lock_dir", _WHERE),
            application_version=options.text(given, "application_version", _WHERE, ""),
        )

    @property
    def own_keys(self) -> tuple[str, ...]:
        """The public half of `signing_key`, as a line, or nothing."""
        if self.signing_key is None:
            return ()
        from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import check_signing_key

        return (check_signing_key(str(self.signing_key)),)
