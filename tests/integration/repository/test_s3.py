# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is particular to S3: capabilities found by trying, credentials, TLS, long lists, stores with checksums of their own."""

from __future__ import annotations

import copy
import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_probe
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.harm import Rules
from support.parts import require
from support.store_fixtures import Bucket
from support.stores import Store, moto_s3, rclone_s3, versitygw

pytestmark = pytest.mark.usefixtures("no_ambient_aws")

MIB = 1024 * 1024


def detail(capabilities: Any, name: str) -> str:
    return str(dict(capabilities.detail)[name])


class TestCapabilities:
    def test_a_store_with_conditions_versions_and_lock_is_found_to_have_them(self, versity_bucket: Bucket) -> None:
        found = open_repository("offsite", versity_bucket.spec(object_lock="compliance", object_lock_days=1)).capabilities("probe/")
        assert (found.no_clobber, found.versioning, found.object_lock, found.read_only) == (True, True, True, False)
        assert "deleting, replacing and shortening were refused" in detail(found, "object_lock")
        assert versity_bucket.keys() == []

    def test_a_governance_lock_holds_too(self, versity_bucket: Bucket) -> None:
        found = open_repository("offsite", versity_bucket.spec(object_lock="governance", object_lock_days=1)).capabilities("probe/")
        assert found.object_lock

    def test_a_store_that_ignores_conditions_is_caught(self, rclone_bucket: Bucket) -> None:
        found = open_repository("offsite", rclone_bucket.spec()).capabilities("probe/")
        assert not found.no_clobber
        assert "ignored by a single put and a multipart upload" in detail(found, "no_clobber")
        assert not found.versioning
        assert "no version" in detail(found, "versioning")

    def test_a_store_that_echoes_a_lock_and_does_not_keep_it_is_caught(self, rclone_bucket: Bucket) -> None:
        put = rclone_bucket.store.client().put_object(
            Bucket=rclone_bucket.name, Key="k", Body=b"1", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=tomorrow()
        )
        assert put["ResponseMetadata"]["HTTPStatusCode"] == 200
        assert "ObjectLockMode" in rclone_bucket.store.client().head_object(Bucket=rclone_bucket.name, Key="k")
        found = open_repository("offsite", rclone_bucket.spec(object_lock="compliance", object_lock_days=1)).capabilities("probe/")
        assert not found.object_lock
        assert "let the locked object be" in detail(found, "object_lock")

    @pytest.mark.needs("library:moto")
    def test_a_lock_whose_end_can_be_moved_forward_is_caught(self, moto: Store) -> None:
        bucket = moto.create_bucket("locked", object_lock=True)
        found = open_repository("offsite", moto.spec(bucket, object_lock="compliance", object_lock_days=1)).capabilities("probe/")
        assert not found.object_lock
        assert "moved forward" in detail(found, "object_lock")

    def test_a_bucket_without_lock_is_said_with_the_way_out(self, versity_server: Store) -> None:
        bucket = Bucket(versity_server)
        found = open_repository("offsite", bucket.spec(object_lock="compliance", object_lock_days=1)).capabilities("probe/")
        assert not found.object_lock
        assert "object lock" in detail(found, "object_lock")
        with pytest.raises(RepositoryError, match="object lock enabled"):
            open_repository("offsite", bucket.spec(object_lock="compliance", object_lock_days=1)).put("k", b"1")

    @pytest.mark.needs("library:moto")
    def test_a_lock_that_the_bucket_gives_by_itself_is_tried_too(self, moto: Store) -> None:
        bucket = moto.create_bucket("locked-by-default", object_lock=True)
        rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
        configuration = {"ObjectLockEnabled": "Enabled", "Rule": rule}
        moto.client().put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=configuration)
        found = open_repository("offsite", moto.spec(bucket)).capabilities("probe/")
        assert "moved forward" in detail(found, "object_lock")

    @pytest.mark.needs("library:moto")
    def test_what_a_bucket_does_by_itself_is_read_back(self, moto: Store) -> None:
        client, day = moto.client(), 86400.0
        bare = open_repository("bare", moto.spec(moto.create_bucket("bare"))).rules()
        assert bare == Rules(versions=False)
        bucket = moto.create_bucket("ruled", object_lock=True)
        client.put_object_lock_configuration(
            Bucket=bucket,
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}},
        )
        rules: list[Any] = [
            {"ID": "all", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 365},
             "NoncurrentVersionExpiration": {"NoncurrentDays": 14}, "Transitions": [{"Days": 30, "StorageClass": "GLACIER"}]},
            {"ID": "ours", "Status": "Enabled", "Filter": {"Prefix": "shop/"}, "Expiration": {"Days": 90}},
            {"ID": "others", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 1}},
            {"ID": "off", "Status": "Disabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 2}},
            {"ID": "tagged", "Status": "Enabled", "Filter": {"Tag": {"Key": "a", "Value": "b"}}, "Expiration": {"Days": 3}},
        ]  # fmt: skip
        client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
        found = open_repository("ruled", moto.spec(bucket, prefix="shop")).rules()
        assert found == Rules(versions=True, locks=30 * day, expires=90 * day, removes_old_versions=14 * day, moves_to_cold=30 * day)
        # Below no prefix of ours, each rule takes something that we may write.
        whole = open_repository("ruled", moto.spec(bucket)).rules()
        assert whole is not None
        assert whole.expires == day

    def test_without_a_lock_asked_for_none_is_tried(self, versity_bucket: Bucket) -> None:
        found = open_repository("offsite", versity_bucket.spec()).capabilities("probe/")
        assert not found.object_lock
        assert "not tried" in detail(found, "object_lock")
        assert found.versioning

    def test_objects_carry_the_lock_that_is_asked_for(self, versity_bucket: Bucket) -> None:
        repository = open_repository("offsite", versity_bucket.spec(object_lock="compliance", object_lock_days=30))
        repository.put("small", b"1")
        repository.put("large", b"1" * 6 * MIB)
        client = versity_bucket.store.client()
        for key in ("small", "large"):
            head = client.head_object(Bucket=versity_bucket.name, Key=key)
            assert head["ObjectLockMode"] == "COMPLIANCE"
            assert dt.timedelta(days=29) < head["ObjectLockRetainUntilDate"] - dt.datetime.now(dt.timezone.utc) <= dt.timedelta(days=30)
            with pytest.raises(client.exceptions.ClientError, match="object lock"):
                client.delete_object(Bucket=versity_bucket.name, Key=key, VersionId=head["VersionId"])


def test_lists_more_than_one_page(rclone_bucket: Bucket) -> None:
    folder = rclone_bucket.store.directory / rclone_bucket.name / "many"
    folder.mkdir()
    for number in range(2345):
        (folder / f"{number:04d}").touch()
    repository = open_repository("offsite", rclone_bucket.spec())
    assert [found.key for found in repository.list("many/")] == [f"many/{number:04d}" for number in range(2345)]


def test_passes_by_what_is_no_object_of_ours(versity_bucket: Bucket) -> None:
    client = versity_bucket.store.client()
    client.put_object(Bucket=versity_bucket.name, Key="shop/folder/", Body=b"")
    client.put_object(Bucket=versity_bucket.name, Key="shop/real", Body=b"1")
    client.put_object(Bucket=versity_bucket.name, Key="other/real", Body=b"1")
    assert [found.key for found in open_repository("offsite", versity_bucket.spec(prefix="shop")).list()] == ["real"]


def test_etags_of_another_kind_do_not_matter_where_the_store_checks_what_it_gets(tmp_path: Path) -> None:
    require("store:versitygw")
    with versitygw(tmp_path, own_etags=True) as store:
        repository: Any = open_repository("offsite", store.spec(part_size="5MiB"))
        data = os.urandom(11 * MIB)
        upload = repository.start_upload("large")
        upload.write(data)
        upload.confirm()
        assert upload._parts.unconfirmed == 0
        upload.publish()
        assert repository.put("small", b"1").size_bytes == 1
        assert repository.read("large") == data


def test_importing_a_repository_imports_no_boto3() -> None:
    """The library must load on a host that has nothing but Python."""
    program = (
        "import sys; import ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory as factory;"
        "factory.open_repository('offsite', {'type': 's3', 'bucket': 'abc'});"
        "sys.exit(any(name.partition('.')[0] in ('boto3', 'botocore', 'urllib3') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}).returncode == 0


def test_a_probe_leaves_its_parts_behind_in_no_case(versity_bucket: Bucket) -> None:
    repository: Repository = open_repository("offsite", versity_bucket.spec())
    repository.capabilities("probe/")
    assert versity_bucket.unfinished() == []
    assert dt.timedelta(minutes=15) < s3_probe.PROBE_LOCK


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """moto: the store of this test bed whose lock has a hole that is known."""
    with moto_s3(tmp_path_factory.mktemp("moto")) as store:
        yield store


def tomorrow() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=1)


def test_an_older_botocore_sends_conditions_all_the_same(versity_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian 12 and RHEL 9 have one from before 1.35, whose models do not know If-None-Match."""
    from botocore.loaders import Loader

    real = Loader.load_service_model

    def older(self: Loader, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        model = copy.deepcopy(real(self, service_name, type_name, api_version))
        for shape in ("PutObjectRequest", "CompleteMultipartUploadRequest"):
            model.get("shapes", {}).get(shape, {"members": {}})["members"].pop("IfNoneMatch", None)
        return model

    monkeypatch.setattr(Loader, "load_service_model", older)
    repository: Any = open_repository("offsite", versity_bucket.spec())
    assert repository.capabilities("probe/").no_clobber
    repository.put("large", b"1" * 6 * MIB)
    assert repository.conditional
    members = repository.client._boto.meta.service_model.operation_model("PutObject").input_shape.members
    assert "IfNoneMatch" not in members


def test_what_a_killed_rclone_left_of_an_upload_is_nobodys(tmp_path: Path) -> None:
    """It lies beside its place under a hidden name."""
    require("program:rclone")
    with rclone_s3(tmp_path / "one") as store:
        upload = open_repository("offsite", store.spec(part_size="5MiB")).start_upload("shop/large")
        upload.write(b"1" * 11 * MIB)
        upload.confirm()
        os.kill(store.pid, signal.SIGKILL)
    with rclone_s3(tmp_path / "two", directory=store.directory) as store:
        assert [path.name[:8] for path in (store.directory / "backups" / "shop").iterdir()] == [".rclone_"]
        repository = open_repository("offsite", store.spec())
        assert list(repository.list()) == []
        repository.put("shop/large", b"whole")
        assert [found.key for found in repository.list()] == ["shop/large"]
