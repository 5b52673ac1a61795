# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One protected key into the vaults that lack it: sealed, written by the common writer, its manifest last."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import grp
import pwd
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.lifeboat.postgres.plugins.module_utils import compress, layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.writer import BackupWriter, Delivery
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.document import FileFacts, KeyDocument, packed_files
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.instructions import key_instructions
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.sources import KeyFile, Material
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Artifact, Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import VERSION, host_id, host_name, now
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import Sealer

__all__ = ["KIND", "Shipment", "facts_of", "ship"]

KIND = "keys"
ONE, SEVERAL = "raw", "tar"
"""The formats of a manifest of kind `keys`: the exact bytes, or the files of a directory."""


@dataclass(frozen=True)
class Shipment:
    """A key on its way: its opened bytes and what is said of them. `body` is secret."""

    name: str
    several: bool
    body: bytes = dataclasses.field(repr=False)
    document: KeyDocument = dataclasses.field(repr=False)

    @classmethod
    def of(cls, name: str, material: Material, fingerprint: str, salt: bytes) -> Shipment:
        document = KeyDocument(now(), material.origin, material.variable, fingerprint, salt.hex(), tuple(map(facts_of, material.files)))
        body = packed_files(material.named_bytes) if material.several else material.files[0].data
        return cls(name, material.several, body, document)


def facts_of(file: KeyFile) -> FileFacts:
    """What who puts the file back has to know: names of users where they have one."""
    owner, group = str(file.uid), str(file.gid)
    with contextlib.suppress(KeyError):
        owner = pwd.getpwuid(file.uid).pw_name
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(file.gid).gr_name
    return FileFacts(file.name, f"{file.mode:04o}", owner, group, len(file.data))


def ship(
    system: str,
    shipment: Shipment,
    sealer: Sealer,
    vaults: Sequence[Repository],
    signing_key: Path | None,
    stall_timeout_seconds: float,
    notes: Sequence[str] = (),
    application_version: str = "",
    progress: Callable[[str], None] = lambda message: None,
    stamp: dt.datetime | None = None,
) -> tuple[Manifest, Sequence[Delivery]]:
    """Write one backup of kind `keys`; what became of it in each vault is in the deliveries. Raises `RepositoryError`, `SealError`.

    `stamp` is the moment in its id, by which it sorts among the others of its name; now, where it is not given.
    """
    started = now()
    clock = time.monotonic()
    ref = layout.BackupRef(system, KIND, shipment.name, layout.new_backup_id(stamp or started))
    fingerprint, taken_at = shipment.document.fingerprint, shipment.document.taken_at

    def manifest(artifacts: Sequence[Artifact], problems: Mapping[str, str]) -> Manifest:
        made = Manifest(
            system=ref.system,
            kind=ref.kind,
            name=ref.name,
            backup_id=ref.backup_id,
            started_at=started,
            snapshot_at=taken_at,
            finished_at=now(),
            lifeboat_version=VERSION,
            host_name=host_name(),
            host_id=host_id(),
            server_version="",
            server_version_num=0,
            client_version="",
            system_identifier="",
            database_bytes=0,
            plain_bytes=0,
            compression=compress.METHOD,
            encryption=sealer.method,
            recipients=sealer.recipients,
            artifacts=tuple(artifacts),
            repositories=dict(problems),
            notes=tuple(notes),
            format=SEVERAL if shipment.several else ONE,
            application_version=application_version,
            costs={"seconds": round(time.monotonic() - clock, 3)},
            keys={ref.name: fingerprint},
        )
        if signing_key is None:
            return made
        from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import sign

        return dataclasses.replace(made, signature=sign(made.signed_bytes(), str(signing_key)))

    def instructions(artifacts: Sequence[Artifact]) -> Mapping[str, bytes]:
        return key_instructions(ref, artifacts, format_moment(taken_at), fingerprint, shipment.several, sealer.method)

    suffix = f"{compress.SUFFIX}{sealer.suffix}"
    with BackupWriter(ref, vaults, stall_timeout_seconds, progress=progress) as writer:
        # In memory and through pipes only: no opened byte is ever on a disk.
        body = sealer.seal(compress.packed(shipment.body))
        writer.store(f"{'keys.tar' if shipment.several else 'key'}{suffix}", "key", [body])
        writer.store(f"key.json{suffix}", "evidence", [sealer.seal(compress.packed(shipment.document.to_bytes()))])
        document = writer.commit(instructions, manifest)
    return document, writer.deliveries
