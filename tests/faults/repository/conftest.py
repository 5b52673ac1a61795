# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fault tests of repositories share: real stores, and a backup that is put step by step."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_client
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3 import S3Repository
from support.s3proxy import S3Proxy
from support.store_fixtures import Bucket, behind, no_ambient_aws, rclone_bucket, rclone_server, versity_bucket, versity_server

__all__ = ["no_ambient_aws", "rclone_bucket", "rclone_server", "versity_bucket", "versity_server"]


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


@pytest.fixture
def repository(bucket: Bucket, proxy: S3Proxy) -> S3Repository:
    return behind(proxy, bucket)
