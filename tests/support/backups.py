# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small backups for tests of the writer and its readers: real bytes in real repositories, no database behind them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Artifact, Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import VERSION, now

CHUNKS = [random.Random(number).randbytes(60_000) for number in range(5)]


def new_ref(system: str = "shop", name: str = "shop", kind: str = "database") -> layout.BackupRef:
    return layout.BackupRef(system, kind, name, layout.new_backup_id(now()))


def instructions(artifacts: Sequence[Artifact]) -> Mapping[str, bytes]:
    return {"RESTORE.md": b"# how\n", "restore.sh": b"#!/bin/sh\n"}


def manifest_for(ref: layout.BackupRef) -> Callable[[Sequence[Artifact], Mapping[str, str]], Manifest]:
    moment = now()

    def make(artifacts: Sequence[Artifact], problems: Mapping[str, str]) -> Manifest:
        return Manifest(
            system=ref.system,
            kind=ref.kind,
            name=ref.name,
            backup_id=ref.backup_id,
            started_at=moment,
            snapshot_at=moment,
            finished_at=now(),
            lifeboat_version=VERSION,
            host_name="db1",
            host_id="0123456789abcdef",
            server_version="18.6",
            server_version_num=180006,
            client_version="18.6",
            system_identifier="7000000000000000000",
            database_bytes=1_000_000,
            plain_bytes=500_000,
            compression="zstd",
            encryption="age",
            recipients=("age1test",),
            artifacts=tuple(artifacts),
            repositories=problems,
        )

    return make


def check_complete(reader: Repository, ref: layout.BackupRef) -> Manifest:
    """The backup is whole as a stranger would see it: every volume there, of the size and digest that the manifest says."""
    manifest = Manifest.from_bytes(reader.read(layout.manifest_key(ref)))
    assert manifest.ref == ref
    for artifact in manifest.artifacts:
        whole = hashlib.sha256()
        for volume in artifact.volumes:
            data = reader.read(layout.artifact_key(ref, volume.name))
            assert len(data) == volume.size_bytes
            assert hashlib.sha256(data).hexdigest() == volume.sha256
            whole.update(data)
        assert whole.hexdigest() == artifact.sha256
    return manifest
