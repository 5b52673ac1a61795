# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Law 5: what the backup host holds is enough to write a backup, and not enough to open or to destroy one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import AccessDenied, ObjectExists
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.backups import check_complete
from support.clusters import Server
from support.logical import manifest_of, new_identity, options
from support.store_fixtures import Bucket

pytestmark = pytest.mark.needs("store:versitygw")


@pytest.fixture
def database(postgres18: Server) -> Iterator[str]:
    with postgres18.database() as name:
        postgres18.execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n", name)
        yield name


@pytest.fixture
def write_only(versity_bucket: Bucket) -> dict[str, Any]:
    """A credential that may put, read and list, and neither delete nor change the store."""
    user = versity_bucket.store.add_user(f"writer-{os.urandom(3).hex()}")
    rules = ("s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:AbortMultipartUpload")
    versity_bucket.store.allow(versity_bucket.name, {user[0]: rules})
    return versity_bucket.spec(user=user)


def test_the_hosts_credential_writes_a_backup_and_cannot_destroy_it(
    postgres18: Server, database: str, write_only: dict[str, Any], tmp_path: Path
) -> None:
    identity = new_identity(tmp_path / "identity.txt")
    result = run(options(postgres18, database, {"offsite": write_only}, identity, tmp_path / "locks"))
    manifest = manifest_of(write_only, result["backup_id"], database)
    keys = [layout.manifest_key(manifest.ref), layout.artifact_key(manifest.ref, manifest.artifact("dump").name)]
    with open_repository("offsite", write_only) as repository:
        for key in keys:
            with pytest.raises(AccessDenied):
                repository.delete(key)
            with pytest.raises(ObjectExists):
                repository.put(key, b"something else")
        check_complete(repository, manifest.ref)


def test_what_the_host_holds_does_not_open_the_backup(
    postgres18: Server, database: str, write_only: dict[str, Any], tmp_path: Path
) -> None:
    host = tmp_path / "host"
    host.mkdir()
    signing_key = host / "signing_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(signing_key)], check=True)
    identity = new_identity(tmp_path / "identity.txt")  # lives elsewhere
    given = options(postgres18, database, {"offsite": write_only}, identity, tmp_path / "locks", signing_key=str(signing_key))
    manifest = manifest_of(write_only, run(given)["backup_id"], database)
    with open_repository("offsite", write_only) as repository:
        sealed = repository.read(layout.artifact_key(manifest.ref, manifest.artifact("dump").name))
    assert b"PGDMP" not in sealed
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(sealed, [pyrage.ssh.Identity.from_buffer(signing_key.read_bytes())])
    opening = pyrage.x25519.Identity.from_str(identity.file.read_text().strip())
    assert pyrage.decrypt(sealed, [opening])


def test_object_lock_keeps_even_the_administrator_from_destroying_it(
    postgres18: Server, database: str, versity_bucket: Bucket, tmp_path: Path
) -> None:
    spec = versity_bucket.spec(object_lock="compliance", object_lock_days=1)
    identity = new_identity(tmp_path / "identity.txt")
    manifest = manifest_of(spec, run(options(postgres18, database, {"offsite": spec}, identity, tmp_path / "locks"))["backup_id"], database)
    client = versity_bucket.store.client()
    key = f"{layout.artifact_key(manifest.ref, manifest.artifact('dump').name)}"
    version = client.head_object(Bucket=versity_bucket.name, Key=key)["VersionId"]
    with pytest.raises(client.exceptions.ClientError, match=r"(?i)lock|denied"):
        client.delete_object(Bucket=versity_bucket.name, Key=key, VersionId=version)
