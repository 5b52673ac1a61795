# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories of every kind over real stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.remotes import make_remotes
from support.sshd import SftpServer, sftp_place, sftp_server
from support.store_fixtures import Bucket, no_ambient_aws, rclone_bucket, rclone_server, versity_bucket, versity_server

__all__ = ["no_ambient_aws", "rclone_bucket", "rclone_server", "sftp_place", "sftp_server", "versity_bucket", "versity_server"]


@pytest.fixture(params=["posix", "rclone", "versitygw", "sftp", "remote", "crypt"])
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The options of an empty repository, of each kind in turn."""
    if request.param == "posix":
        root = tmp_path / "repository"
        root.mkdir()
        return {"type": "posix", "path": str(root)}
    if request.param == "sftp":
        server: SftpServer = request.getfixturevalue("sftp_server")
        return server.spec(request.getfixturevalue("sftp_place"))
    if request.param in ("remote", "crypt"):
        return make_remotes(tmp_path).spec("disk" if request.param == "remote" else "crypt")
    bucket: Bucket = request.getfixturevalue("rclone_bucket" if request.param == "rclone" else "versity_bucket")
    return bucket.spec(prefix="some/where")
