# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Law 5: what the backup host holds is enough to write a backup, and not enough to open or to destroy one."""

from __future__ import annotations

import contextlib
import datetime as dt
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
from support.logical import manifest_of, new_identity, options, posix
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


ASKED = {"object_lock": "compliance", "object_lock_days": 2}
BY_DEFAULT = {"Mode": "COMPLIANCE", "Days": 2}


@pytest.mark.parametrize("by", ["the option object_lock", "the bucket's default retention"])
def test_object_lock_is_on_every_object_of_a_backup_and_the_hosts_credential_cannot_destroy_one(
    by: str, postgres18: Server, database: str, versity_bucket: Bucket, tmp_path: Path
) -> None:
    client, bucket = versity_bucket.store.client(), versity_bucket.name
    if by == "the bucket's default retention":
        rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": BY_DEFAULT}}
        client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=rule)
    # The worst credential that a host could have by mistake: it may delete, versions too.
    user = versity_bucket.store.add_user(f"careless-{os.urandom(3).hex()}")
    rules = ["ListBucket", "PutObject", "GetObject", "GetObjectVersion", "DeleteObject", "DeleteObjectVersion"]
    rules += ["PutObjectRetention", "GetObjectRetention", "AbortMultipartUpload"]
    versity_bucket.store.allow(bucket, {user[0]: [f"s3:{rule}" for rule in rules]})
    spec = versity_bucket.spec(user=user, **(ASKED if by == "the option object_lock" else {}))
    identity = new_identity(tmp_path / "identity.txt")
    backup_id = run(options(postgres18, database, {"offsite": spec}, identity, tmp_path / "locks", globals="false"))["backup_id"]
    manifest = manifest_of(spec, backup_id, database)

    keys = versity_bucket.keys()
    assert {layout.manifest_key(manifest.ref), f"{layout.backup_prefix(manifest.ref)}RESTORE.md"} < set(keys)
    versions = {}
    for key in keys:
        head = client.head_object(Bucket=bucket, Key=key)
        if by == "the option object_lock":  # versitygw does not show what only the bucket's rule says; it keeps to it below
            assert head["ObjectLockMode"] == "COMPLIANCE", key
            assert head["ObjectLockRetainUntilDate"] > dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=1, hours=23), key
        versions[key] = head["VersionId"]
    theirs = versity_bucket.store.client(user)
    for key, version in versions.items():
        with pytest.raises(theirs.exceptions.ClientError, match=r"(?i)lock|worm"):
            theirs.delete_object(Bucket=bucket, Key=key, VersionId=version)
        # Without a version a store may set a marker before it: then the object seems gone, and is there.
        with contextlib.suppress(theirs.exceptions.ClientError):
            theirs.delete_object(Bucket=bucket, Key=key)
        assert client.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read()


def test_a_report_can_say_where_nothing_keeps_a_backup_from_being_destroyed(
    versity_bucket: Bucket, rclone_bucket: Bucket, tmp_path: Path
) -> None:
    plain = Bucket(versity_bucket.store)
    specs = {"locked": versity_bucket.spec(**ASKED), "plain": plain.spec(), "rclone": rclone_bucket.spec()}
    specs["here"] = posix(tmp_path / "here")
    said = {}
    for name, spec in specs.items():
        with open_repository(name, spec) as repository:
            repository.put("shop/x", b"x")
            said[name] = repository.unguarded("shop/x")
    neither = "the store keeps neither versions nor locks of it"
    assert said == {"locked": "", "plain": neither, "rclone": neither, "here": "a directory keeps neither versions nor locks"}


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
