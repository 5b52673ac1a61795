# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every backup has beside its dump, whatever its kind: sealed evidence, and a manifest that is signed where there is a key."""

from __future__ import annotations

import dataclasses
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import compress
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job_common import Job
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.writer import BackupWriter
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import Pipeline
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import ServerFacts
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import VERSION, host_id, host_name, now
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import sign

__all__ = ["notes_on_signing", "signed_manifest", "store_evidence"]


def store_evidence(job: Job, writer: BackupWriter, document: bytes) -> None:
    """Send the evidence to every repository, compressed and sealed like the dump."""
    with Pipeline([compress.compressor(job.compression_level), job.sealer.stage()], [document]) as sealed:
        writer.store(f"evidence.json{compress.SUFFIX}{job.sealer.suffix}", "evidence", sealed)


def notes_on_signing(job: Job) -> list[str]:
    """What a manifest notes about its own signature, when it will have none."""
    return ["the manifest is not signed: signing_key is not set"] if job.signing_key is None else []


def signed_manifest(job: Job, ref: BackupRef, server: ServerFacts, **own: Any) -> Manifest:
    """The manifest of a backup that ends now; `own` are the fields that this run, host and server do not say."""
    manifest = Manifest(
        system=ref.system,
        kind=ref.kind,
        name=ref.name,
        backup_id=ref.backup_id,
        finished_at=now(),
        lifeboat_version=VERSION,
        host_name=host_name(),
        host_id=host_id(),
        server_version=server.version,
        server_version_num=server.version_num,
        system_identifier=server.system_identifier,
        compression=compress.METHOD,
        encryption=job.sealer.method,
        recipients=job.sealer.recipients,
        application_version=job.application_version,
        **own,
    )
    if job.signing_key is None:
        return manifest
    return dataclasses.replace(manifest, signature=sign(manifest.signed_bytes(), str(job.signing_key)))
