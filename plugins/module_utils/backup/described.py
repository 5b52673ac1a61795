# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every backup has beside its dump, whatever its kind: sealed evidence, and a manifest that is signed where there is a key."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import compress
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job_common import Job
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.writer import BackupWriter, Delivery
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Artifact, Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import Pipeline
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import ServerFacts
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import VERSION, host_id, host_name, now
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import sign

__all__ = ["deliveries_document", "notes_on_signing", "require_complete", "signed_manifest", "store_evidence"]


def store_evidence(job: Job, writer: BackupWriter, document: bytes, name: str = "evidence.json") -> Artifact:
    """Send the evidence to every repository, compressed and sealed like the dump."""
    with Pipeline([compress.compressor(job.compression_level), job.sealer.stage()], [document]) as sealed:
        return writer.store(f"{name}{compress.SUFFIX}{job.sealer.suffix}", "evidence", sealed)


def notes_on_signing(job: Job) -> list[str]:
    """What a manifest notes about its own signature, when it will have none, and about keys that it cannot name."""
    return [*(["the manifest is not signed: signing_key is not set"] if job.signing_key is None else []), *filter(None, [job.keys_note])]


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
        keys={} if ref.kind == "globals" else dict(job.keys),
        **own,
    )
    if job.signing_key is None:
        return manifest
    return dataclasses.replace(manifest, signature=sign(manifest.signed_bytes(), str(job.signing_key)))


def deliveries_document(deliveries: Sequence[Delivery]) -> dict[str, Any]:
    """What became of a backup in each repository, as a result says it."""
    return {
        delivery.repository: {
            "complete": not delivery.problem,
            "problem": delivery.problem,
            "copied_because": delivery.copied_because,
            "size_bytes": delivery.size_bytes,
            "seconds": round(delivery.seconds, 3),
            "bytes_per_second": round(delivery.bytes_per_second, 1),
        }
        for delivery in deliveries
    }


def require_complete(ref: BackupRef, deliveries: Sequence[Delivery], of_what: str, result: Mapping[str, Any]) -> None:
    """Raise `RepositoryError` with the result when the backup exists, but not in every repository."""
    incomplete = [delivery for delivery in deliveries if delivery.problem]
    if incomplete:
        raise RepositoryError(
            f"backup {ref.backup_id}{of_what} exists, but is not complete in {', '.join(delivery.repository for delivery in incomplete)}",
            "; ".join(delivery.problem for delivery in incomplete),
            "The other repositories hold it whole; mend this one and run again.",
            result=dict(result),
        )
