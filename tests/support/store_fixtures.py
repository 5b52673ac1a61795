# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""pytest's side of stores.py: one server of each kind per session, a fresh bucket per test. Imported by conftest files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_client
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3 import S3Repository
from support.parts import require
from support.s3proxy import S3Proxy
from support.stores import Store, rclone_s3, versitygw

__all__ = [
    "Bucket", "behind", "bucket", "no_ambient_aws", "proxy", "rclone_bucket", "rclone_server", "short_pauses",
    "versity_bucket", "versity_server",
]  # fmt: skip

_NUMBERS = itertools.count(1)


class Bucket:
    """A bucket of its own in a running store."""

    def __init__(self, store: Store, **features: bool) -> None:
        self.store = store
        self.name = f"bucket-{next(_NUMBERS)}"
        store.create_bucket(self.name, **features)

    def spec(self, **overrides: Any) -> dict[str, Any]:
        """Options of a repository in this bucket, with the smallest parts that S3 allows."""
        return self.store.spec(**{"bucket": self.name, "part_size": "5MiB", **overrides})

    def keys(self) -> list[str]:
        """Every visible key, seen from outside the code under test."""
        return [entry["Key"] for entry in self.store.client().list_objects_v2(Bucket=self.name).get("Contents", ())]

    def unfinished(self) -> list[str]:
        """Keys of multipart uploads that were begun, and neither completed nor aborted."""
        return [entry["Key"] for entry in self.store.client().list_multipart_uploads(Bucket=self.name).get("Uploads", ())]


@pytest.fixture(scope="session")
def rclone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    require("program:rclone")
    with rclone_s3(tmp_path_factory.mktemp("rclone")) as store:
        yield store


@pytest.fixture(scope="session")
def versity_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    require("store:versitygw")
    with versitygw(tmp_path_factory.mktemp("versitygw")) as store:
        yield store


@pytest.fixture
def rclone_bucket(rclone_server: Store) -> Bucket:
    return Bucket(rclone_server)


@pytest.fixture
def versity_bucket(versity_server: Store) -> Bucket:
    """With versions and object lock enabled, as versitygw is the store that has them."""
    return Bucket(versity_server, object_lock=True)


@pytest.fixture
def no_ambient_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the person's own AWS configuration takes part."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials")


def behind(proxy: S3Proxy, bucket: Bucket, **overrides: Any) -> S3Repository:
    """A repository that reaches the bucket through the proxy only."""
    found = open_repository("offsite", bucket.spec(endpoint=proxy.endpoint, **overrides))
    assert isinstance(found, S3Repository)
    return found


@pytest.fixture(params=["rclone", "versitygw"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    """A bucket of each store: one ignores conditions, one honours them."""
    found: Bucket = request.getfixturevalue("rclone_bucket" if request.param == "rclone" else "versity_bucket")
    return found


@pytest.fixture
def proxy(bucket: Bucket) -> Iterator[S3Proxy]:
    with S3Proxy(bucket.store.endpoint) as proxy:
        yield proxy


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between attempts, not their number."""
    monkeypatch.setattr(s3_client, "_FIRST_PAUSE_SECONDS", 0.01)
