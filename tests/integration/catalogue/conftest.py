# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two repositories, `here` and `offsite`, of one kind at a time: directories, then buckets; and backups to put into them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.shelf import Shelf
from support.store_fixtures import Bucket, no_ambient_aws, rclone_server

__all__ = ["no_ambient_aws", "rclone_server"]


@pytest.fixture(params=["posix", "s3"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    if request.param == "posix":
        specs: dict[str, Any] = {name: {"type": "posix", "path": str(tmp_path / name)} for name in ("here", "offsite")}
        for name in specs:
            (tmp_path / name).mkdir(mode=0o700)
    else:
        request.getfixturevalue("no_ambient_aws")
        bucket = Bucket(request.getfixturevalue("rclone_server"))
        specs = {name: bucket.spec(prefix=name) for name in ("here", "offsite")}
    shelf = Shelf(specs)
    yield shelf
    shelf.close()
