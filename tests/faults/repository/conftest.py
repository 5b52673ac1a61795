# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fault tests of repositories share: real stores, and a backup that is put step by step."""

from __future__ import annotations

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3 import S3Repository
from support.s3proxy import S3Proxy
from support.sshd import sftp_place, sftp_server
from support.store_fixtures import (
    Bucket,
    behind,
    bucket,
    no_ambient_aws,
    proxy,
    rclone_bucket,
    rclone_server,
    short_pauses,
    versity_bucket,
    versity_server,
)

__all__ = [
    "bucket",
    "no_ambient_aws",
    "proxy",
    "rclone_bucket",
    "rclone_server",
    "sftp_place",
    "sftp_server",
    "short_pauses",
    "versity_bucket",
    "versity_server",
]


@pytest.fixture
def repository(bucket: Bucket, proxy: S3Proxy) -> S3Repository:
    return behind(proxy, bucket)
