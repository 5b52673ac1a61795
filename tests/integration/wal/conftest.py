# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the WAL archive share: real files, keys, and places of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.logical import Identity, new_identity
from support.store_fixtures import Bucket, no_ambient_aws, rclone_bucket, rclone_server, versity_bucket, versity_server
from support.wal import Place, archive_place, wal, wal15, wal18

__all__ = ["no_ambient_aws", "rclone_bucket", "rclone_server", "versity_bucket", "versity_server", "wal", "wal15", "wal18"]


@pytest.fixture
def keys(tmp_path: Path) -> Identity:
    return new_identity(tmp_path / "identity.txt")


@pytest.fixture
def place() -> Place:
    return archive_place()


@pytest.fixture(params=["posix", "rclone", "versitygw"])
def spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of an empty repository, of each kind in turn."""
    if request.param == "posix":
        return archive_place().spec
    bucket: Bucket = request.getfixturevalue("rclone_bucket" if request.param == "rclone" else "versity_bucket")
    return bucket.spec(prefix="some/where")
