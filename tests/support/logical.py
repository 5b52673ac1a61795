# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real logical backups for tests: keys, options as a module gets them, and opening by hand what was written."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.clusters import Server


@dataclass(frozen=True)
class Identity:
    """An age key pair; the file holds the private half."""

    file: Path
    recipient: str


def new_identity(path: Path) -> Identity:
    pair = pyrage.x25519.Identity.generate()
    path.write_text(f"{pair}\n")
    path.chmod(0o600)
    return Identity(path, str(pair.to_public()))


def posix(root: Path) -> dict[str, Any]:
    root.mkdir(mode=0o700, exist_ok=True)
    return {"type": "posix", "path": str(root)}


def options(
    server: Server, dbname: str, repositories: Mapping[str, Any], identity: Identity, lock_dir: Path, **more: Any
) -> dict[str, Any]:
    """The options of `pg_logical_backup` for a database of a test server, and for nothing but the database."""
    return {
        "system": "shop",
        "login_unix_socket": str(server.socket_dir),
        "login_port": server.port,
        "login_db": dbname,
        "bin_dir": str(server.bin_dir),
        "repositories": dict(repositories),
        "encryption": {"method": "age", "recipients": [identity.recipient]},
        "lock_dir": str(lock_dir),
        "globals": False,
        **more,
    }


def manifest_of(spec: Mapping[str, Any], backup_id: str, name: str, system: str = "shop", kind: str = "database") -> Manifest:
    """The manifest as a reader finds it."""
    ref = layout.BackupRef(system, kind, name, backup_id)
    with open_repository("reader", spec, read_only=True) as repository:
        return Manifest.from_bytes(repository.read(layout.manifest_key(ref)))


def manifests_in(spec: Mapping[str, Any], system: str = "shop") -> list[str]:
    with open_repository("reader", spec, read_only=True) as repository:
        return [item.key for item in repository.list(layout.manifests_prefix(system))]


def folder_of(root: Path, manifest: Manifest) -> Path:
    """Where a backup's artifacts lie in a repository of type posix."""
    return root / layout.backup_prefix(manifest.ref)


def opened(root: Path, manifest: Manifest, role: str, identity: Identity) -> bytes:
    """An artifact's plain bytes, opened with the programs age and zstd."""
    folder = folder_of(root, manifest)
    sealed = b"".join((folder / volume.name).read_bytes() for volume in manifest.artifact(role).volumes)
    packed = subprocess.run(["age", "-d", "-i", str(identity.file)], input=sealed, capture_output=True, check=True).stdout
    return subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, check=True).stdout
