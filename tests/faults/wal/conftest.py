# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fault tests of the WAL archive share: real files, keys, and stores with a proxy before them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_client
from support.logical import Identity, new_identity
from support.s3proxy import S3Proxy
from support.store_fixtures import Bucket
from support.wal import Place, archive_place, wal15, wal18

__all__ = ["wal15", "wal18"]


@pytest.fixture
def keys(tmp_path: Path) -> Identity:
    return new_identity(tmp_path / "identity.txt")


@pytest.fixture
def place() -> Place:
    return archive_place()


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
