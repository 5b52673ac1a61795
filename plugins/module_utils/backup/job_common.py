# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every backup of a server is asked, whatever its kind: options read strictly, before anything runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.limits import Limits
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import DEFAULT_VOLUME_BYTES, encode_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository, validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import check_sources, written_directly
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import sealer

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.reach import Entered
    from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login
    from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.inside import Inside
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
    from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import Sealer

__all__ = ["ASSET_KEYS", "Job", "asset_fields", "common_fields"]

ASSET_KEYS = ("compression_level", "volume_size", "max_age", "application_version", "limits", "accept_deviation")
"""The options of `asset_fields`."""


@dataclass(frozen=True)
class Job:
    """What is backed up, from where to where. Durations are seconds, sizes bytes; None means the default of who uses it."""

    system: str
    name: str
    login: Login
    repositories: Mapping[str, Mapping[str, Any]]
    sealer: Sealer
    bin_dir: Path | None = None
    compression_level: int = 3
    volume_bytes: int = DEFAULT_VOLUME_BYTES
    stall_timeout_seconds: float = 120.0
    max_age_seconds: float | None = None
    lock_dir: Path | None = None
    signing_key: Path | None = None
    application_version: str = ""
    staging_dir: Path | None = None
    limits: Limits = field(default_factory=Limits)
    accept_deviation: bool = False
    exec: Inside | None = None
    inside: Entered | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    """The protected keys that production uses now, by name, each with its fingerprint."""
    keys_note: str = ""

    @property
    def own_keys(self) -> tuple[str, ...]:
        """The public half of `signing_key`, as a line, or nothing."""
        return () if self.signing_key is None else (_checked_key(self.signing_key),)

    def open_repositories(self) -> list[Repository]:
        """The repositories, opened for writing in the order they were given."""
        opened: list[Repository] = []
        try:
            for name, spec in self.repositories.items():
                opened.append(open_repository(name, spec))
        except BaseException:
            for repository in opened:
                repository.close()
            raise
        return opened


def common_fields(given: Mapping[str, Any], where: str, login: Login, default_name: str) -> dict[str, Any]:
    """The fields of a `Job` out of a module's parameters; raises `ConfigurationError`, `SealError`, `MissingTool`."""
    repositories = options.mapping(given, "repositories", where)
    if not repositories:
        raise ConfigurationError("repositories is empty", where, "Name one at least, better two in different places.")
    for name, spec in repositories.items():
        validate(name, spec)
    check_sources(repositories)
    # What has copy_from is filled by backup_copy; at least one has not, or its copies would have no beginning.
    repositories = written_directly(repositories)
    signing_key = options.path(given, "signing_key", where)
    if signing_key is not None:
        _checked_key(signing_key)
    within = options.mapping(given, "exec", where, None)
    return {
        "system": options.text(given, "system", where),
        "name": options.text(given, "name", where, default_name),
        "login": login,
        "repositories": repositories,
        "sealer": sealer(options.mapping(given, "encryption", where)),
        "bin_dir": options.path(given, "bin_dir", where),
        "stall_timeout_seconds": options.duration_seconds(given, "stall_timeout", where, 120.0, minimum=1),
        "lock_dir": options.path(given, "lock_dir", where),
        "signing_key": signing_key,
        "staging_dir": options.path(given, "staging_dir", where, absolute=True),
        "exec": None if not within else _inside(within),
        **_protected_keys(given, where),
        **asset_fields(given, where),
    }


def asset_fields(given: Mapping[str, Any], where: str, level: int = 3) -> dict[str, Any]:
    """Those fields that may differ from one asset of a server to the next; raises `ConfigurationError`. `level` is the usual one."""
    return {
        "compression_level": options.integer(given, "compression_level", where, level, minimum=1, maximum=19),
        "volume_bytes": options.size_bytes(given, "volume_size", where, DEFAULT_VOLUME_BYTES, minimum=64 * 1024),
        "max_age_seconds": options.duration_seconds(given, "max_age", where, None),
        "application_version": options.text(given, "application_version", where, ""),
        "limits": Limits.from_options(options.mapping(given, "limits", where, None)),
        "accept_deviation": options.boolean(given, "accept_deviation", where, False),
    }


def _protected_keys(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What `key_escrow` left about the system's keys, so that a backup says which ones it needs.

    A file that was named has to be there and good; what is wrong with the usual one is noted, and no reason to have no backup.
    """
    system = options.text(given, "system", where)
    named = options.path(given, "keys_file", where, absolute=True)
    usual = Path("/var/lib/lifeboat/keys") / encode_name(system) / "fingerprints.json"
    try:
        os.lstat(named or usual)
    except (FileNotFoundError, NotADirectoryError):
        if named is not None:
            hint = "key_escrow writes it; leave it out where no keys are escrowed."
            raise ConfigurationError("keys_file is not there", str(named), hint) from None
        return {}
    except OSError:
        pass  # it may be there, and reading it says why it cannot be read
    from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.state import read_fingerprints

    if named is not None:
        return {"keys": read_fingerprints(named, system)}
    try:
        return {"keys": read_fingerprints(usual, system)}
    except ConfigurationError as error:
        return {"keys_note": f"the backup does not say which protected keys it needs: {error}"}


def _checked_key(signing_key: Path) -> str:
    # Like what is below, loaded where it is asked for: most of a module's starts find that nothing has to be done.
    from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import check_signing_key

    return check_signing_key(str(signing_key))


def _inside(within: Mapping[str, Any]) -> Inside:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.inside import Inside

    return Inside.from_options(within)
