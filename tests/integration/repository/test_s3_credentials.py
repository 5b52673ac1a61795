# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials of S3: what the writer's and the drill's may do, where they come from, and that they are never shown."""

from __future__ import annotations

import logging
import os
import traceback
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import AccessDenied, LifeboatError, ObjectExists
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.store_fixtures import Bucket
from support.stores import SECRET_KEY, Store, rclone_s3

pytestmark = pytest.mark.usefixtures("no_ambient_aws")

MIB = 1024 * 1024
WRITER = ("s3:PutObject", "s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:PutObjectRetention", "s3:GetObjectRetention")


def detail(capabilities: Any, name: str) -> str:
    return str(dict(capabilities.detail)[name])


class TestCredentials:
    """Law 5: the host that writes may put, list and read, and not delete; law 3: a drill's may only read."""

    @pytest.fixture
    def bucket(self, versity_bucket: Bucket) -> Bucket:
        return versity_bucket

    def test_one_that_may_not_delete_is_a_good_writer(self, bucket: Bucket) -> None:
        user = bucket.store.add_user(f"writer-{bucket.name}")
        bucket.store.allow(bucket.name, {user[0]: (*WRITER, "s3:AbortMultipartUpload")})
        repository = open_repository("offsite", bucket.spec(user=user))
        big = os.urandom(11 * MIB)
        repository.put("a/small", b"1")
        repository.put("a/large", big)
        assert repository.read("a/large") == big
        assert [found.key for found in repository.list("a/")] == ["a/large", "a/small"]
        with pytest.raises(ObjectExists):
            repository.put("a/small", b"2")
        with pytest.raises(AccessDenied, match="s3:DeleteObject"):
            repository.delete("a/small")
        given_up = repository.start_upload("a/given-up")
        given_up.write(big)
        given_up.abort()
        assert bucket.unfinished() == []
        assert repository.can_write("probe/") is True

    def test_one_that_may_not_even_abort_leaves_only_what_nobody_sees(self, bucket: Bucket) -> None:
        user = bucket.store.add_user(f"putter-{bucket.name}")
        bucket.store.allow(bucket.name, {user[0]: WRITER})
        repository = open_repository("offsite", bucket.spec(user=user))
        given_up = repository.start_upload("a/given-up")
        given_up.write(b"x" * 11 * MIB)
        given_up.abort()
        assert [found.key for found in repository.list()] == []
        assert repository.put("a/given-up", b"now").size_bytes == 3

    def test_one_that_may_only_put_puts_and_replaces_nothing(self, bucket: Bucket) -> None:
        user = bucket.store.add_user(f"reporter-{bucket.name}")
        bucket.store.allow(bucket.name, {user[0]: ("s3:PutObject",)})
        repository = open_repository("report", bucket.spec(user=user))
        assert repository.put("a/report", b"1").size_bytes == 1
        with pytest.raises(ObjectExists):
            repository.put("a/report", b"2")
        with pytest.raises(AccessDenied):
            repository.put("a/large", os.urandom(11 * MIB))
        assert open_repository("report", bucket.spec()).read("a/report") == b"1"
        assert bucket.keys() == ["a/report"]

    def test_a_lock_is_proven_without_the_right_to_delete(self, bucket: Bucket) -> None:
        user = bucket.store.add_user(f"locker-{bucket.name}")
        bucket.store.allow(bucket.name, {user[0]: WRITER})
        found = open_repository("offsite", bucket.spec(user=user, object_lock="compliance", object_lock_days=1)).capabilities("probe/")
        assert found.object_lock, detail(found, "object_lock")
        assert "can be lengthened, not shortened" in detail(found, "object_lock")

    def test_one_that_may_not_lock_is_told_the_right_it_lacks(self, bucket: Bucket) -> None:
        user = bucket.store.add_user(f"plain-{bucket.name}")
        bucket.store.allow(bucket.name, {user[0]: [action for action in WRITER if action != "s3:PutObjectRetention"]})
        repository = open_repository("offsite", bucket.spec(user=user, object_lock="governance", object_lock_days=1))
        with pytest.raises(AccessDenied, match="s3:PutObjectRetention"):
            repository.put("a", b"1")
        assert "s3:PutObjectRetention" in detail(repository.capabilities("probe/"), "object_lock")

    def test_one_that_may_only_read_cannot_write(self, bucket: Bucket) -> None:
        open_repository("offsite", bucket.spec()).put("a", b"1")
        user = bucket.store.add_user(f"reader-{bucket.name}")
        bucket.store.allow(bucket.name, {user[0]: ("s3:GetObject", "s3:ListBucket")})
        repository = open_repository("offsite", bucket.spec(user=user))
        assert repository.can_write("probe/") is False
        assert repository.capabilities("probe/").read_only is True
        assert repository.read("a") == b"1"
        with pytest.raises(AccessDenied, match="s3:PutObject"):
            repository.put("b", b"1")

    def test_rclone_serving_read_only_cannot_be_written(self, rclone_server: Store, tmp_path: Path) -> None:
        Bucket(rclone_server)
        open_repository("offsite", rclone_server.spec()).put("a", b"1")
        with rclone_s3(tmp_path, directory=rclone_server.directory, read_only=True) as reader:
            repository = open_repository("offsite", reader.spec())
            assert repository.can_write("probe/") is False
            assert repository.read("a") == b"1"

    @pytest.mark.parametrize(
        ("user", "said"),
        [
            (("nobody", "whatever"), "does not know the access key"),
            (("lifeboattest", "wrong"), "secret key does not belong"),
        ],
    )
    def test_a_wrong_one_is_named_and_never_shown(
        self, bucket: Bucket, user: tuple[str, str], said: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, logger="lifeboat")
        repository = open_repository("offsite", bucket.spec(user=user))
        for use in (lambda: repository.put("a", b"1"), lambda: list(repository.list()), lambda: repository.can_write("p")):
            with pytest.raises(AccessDenied, match=said) as caught:
                use()
            shown = "".join(traceback.format_exception(caught.type, caught.value, caught.tb)) + repr(vars(caught.value)) + caplog.text
            assert user[1] not in shown or user[1] == "wrong"
            assert user[0] not in shown or user[0] == "lifeboattest"
            assert caught.value.__context__ is None

    def test_the_good_one_is_never_shown_either(self, bucket: Bucket) -> None:
        repository: Any = open_repository("offsite", bucket.spec())
        repository.put("a", b"1")
        shown = repr([repository, vars(repository), repository.client, repository.client.options, repository.description()])
        assert SECRET_KEY not in shown
        with pytest.raises(LifeboatError) as caught:
            open_repository("offsite", bucket.spec(bucket="no-such-bucket")).put("a", b"1")
        assert SECRET_KEY not in str(caught.value)

    def test_the_environment_and_a_profile_serve_where_no_file_is_named(
        self, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        spec = {key: value for key, value in bucket.spec().items() if key != "credentials_file"}
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket.store.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket.store.secret_key)
        open_repository("offsite", spec).put("by-environment", b"1")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(AccessDenied, match="no usable credential"):
            open_repository("offsite", spec).put("by-nothing", b"1")
        shared = bucket.store.credentials_file().read_text().replace("[default]", "[backups]")
        (tmp_path / "shared").write_text(shared)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "shared"))
        open_repository("offsite", {**spec, "profile": "backups"}).put("by-profile", b"1")
        with pytest.raises(AccessDenied, match="no usable credential"):
            open_repository("offsite", {**spec, "profile": "nobody"}).put("by-nothing", b"1")

    def test_a_file_that_is_named_wins_over_the_environment(self, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone-else")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something-else")
        monkeypatch.setenv("AWS_PROFILE", "one-that-is-nowhere")
        assert open_repository("offsite", bucket.spec()).put("a", b"1").size_bytes == 1
