# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Vaults in a directory, in a bucket of a real S3 store, and behind a real SFTP server."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.sshd import SftpServer, sftp_place, sftp_server
from support.store_fixtures import Bucket, no_ambient_aws, rclone_server
from support.vaults import Escrow

__all__ = ["no_ambient_aws", "rclone_server", "sftp_place", "sftp_server"]


@pytest.fixture
def escrow(tmp_path: Path) -> Escrow:
    return Escrow(tmp_path)


@pytest.fixture(params=["posix", "s3", "sftp"])
def any_escrow(request: pytest.FixtureRequest, tmp_path: Path) -> Escrow:
    if request.param == "posix":
        return Escrow(tmp_path)
    if request.param == "sftp":
        server: SftpServer = request.getfixturevalue("sftp_server")
        return Escrow(tmp_path, server.spec(request.getfixturevalue("sftp_place")))
    request.getfixturevalue("no_ambient_aws")
    return Escrow(tmp_path, Bucket(request.getfixturevalue("rclone_server")).spec(prefix="keys"))
