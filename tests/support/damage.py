# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Breaking backups for real: their bytes at rest, their manifests, and (sealed and signed as if nothing were wrong) what
is in them. Everything here changes a copy of a real backup, or another real backup is put into its place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Artifact, Manifest, Volume
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import sign
from support.clusters import Server
from support.drills import BackedUp
from support.keys import KeyPair
from support.leaks import eventually


@dataclass(frozen=True)
class Row:
    """One line of a table: how the copy is damaged, the verdict, the words that must appear (a regular expression).

    `options` are more options of the drill.
    """

    damage: Callable[[BackedUp], object]
    verdict: str
    says: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def volumes(backup: BackedUp, role: str = "dump") -> list[Path]:
    """The files of an artifact, in their order."""
    return [backup.folder / volume.name for volume in manifest_of(backup).artifact(role).volumes]


def manifest_of(backup: BackedUp) -> Manifest:
    return Manifest.from_bytes(backup.manifest.read_bytes())


def flip(path: Path, at: float = 0.5) -> None:
    """One bit of a file."""
    data = bytearray(path.read_bytes())
    data[min(int(len(data) * at), len(data) - 1)] ^= 1
    path.write_bytes(data)


def cut(path: Path, to: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * to)])


def cut_dump(backup: BackedUp, to: float) -> None:
    """The dump ends at this share of its bytes: the volume in which that is is cut, those after it are gone."""
    files = volumes(backup)
    left = int(sum(path.stat().st_size for path in files) * to)
    for path in files:
        size = path.stat().st_size
        if left <= 0:
            path.unlink()
        elif left < size:
            path.write_bytes(path.read_bytes()[:left])
        left -= size


def edit(backup: BackedUp, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest as an editor would, without a signature that fits."""
    document = json.loads(backup.manifest.read_bytes())
    change(document)
    backup.manifest.write_text(json.dumps(document))


def sign_again(backup: BackedUp, signer: KeyPair | None = None, **fields: Any) -> None:
    """Change fields of the manifest and sign it: by the very key that signs backups, or by a stranger's."""
    manifest = dataclasses.replace(manifest_of(backup), **fields, signature="")
    signature = sign(manifest.signed_bytes(), (signer or backup.signer).path)
    backup.manifest.write_bytes(dataclasses.replace(manifest, signature=signature).to_bytes())


def sealed_for(recipient: str, plain: bytes) -> bytes:
    """As a backup seals: by the programs zstd and age."""
    packed = subprocess.run(["zstd", "-q", "-c"], input=plain, capture_output=True, check=True).stdout
    return subprocess.run(["age", "-r", recipient], input=packed, capture_output=True, check=True).stdout


def put(backup: BackedUp, role: str, sealed: bytes, **fields: Any) -> None:
    """Other bytes in an artifact's place; digests, sizes and the signature are right. `fields` are the manifest's."""
    manifest = manifest_of(backup)
    old = manifest.artifact(role)
    for volume in old.volumes:
        (backup.folder / volume.name).unlink()
    digest = hashlib.sha256(sealed).hexdigest()
    new = Artifact(old.name, role, len(sealed), digest, (Volume(old.name, len(sealed), digest),))
    (backup.folder / old.name).write_bytes(sealed)
    sign_again(backup, artifacts=tuple(new if artifact is old else artifact for artifact in manifest.artifacts), **fields)


def reseal_dump(backup: BackedUp, dump: bytes, recipient: str = "") -> None:
    """Another dump, sealed and signed as the backup's own."""
    put(backup, "dump", sealed_for(recipient or backup.identity.recipient, dump), plain_bytes=len(dump))


@contextlib.contextmanager
def altered(server: Server, name: str, statements: str) -> Iterator[str]:
    """A copy of a database in which something is different."""
    with server.connect() as connection:
        copy = f"{name}_altered"
        # Whoever was connected a moment ago may take his time to leave, and the server waits for some seconds only.
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        eventually(lambda: connection.execute(others, (name,)).fetchone() == (0,), "nobody is in the database that is copied")
        connection.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{name}"')
    try:
        server.execute(statements, copy)
        yield copy
    finally:
        server.drop_database(copy)


def dump_of(server: Server, dbname: str, *more: str) -> bytes:
    """A dump in the custom format, as a backup takes it."""
    argv = [str(server.bin_dir / "pg_dump"), "-h", str(server.socket_dir), "-p", str(server.port), "-U", "postgres", "-Fc", "-Z0", *more]
    return subprocess.run([*argv, dbname], capture_output=True, check=True).stdout
