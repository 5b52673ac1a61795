# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.parts import require
from support.store_fixtures import no_ambient_aws, rclone_bucket, rclone_server, versity_bucket, versity_server
from support.stores import Store, moto_s3

__all__ = ["moto_server", "no_ambient_aws", "rclone_bucket", "rclone_server", "versity_bucket", "versity_server"]


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """moto: the one store here that has everything that Amazon lets be set."""
    require("library:moto")
    with moto_s3(tmp_path_factory.mktemp("moto")) as store:
        yield store
