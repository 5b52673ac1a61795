# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`here` and what is copied from it: `abroad`. Directories and buckets, in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.shelf import Shelf
from support.store_fixtures import Bucket, no_ambient_aws, rclone_server

__all__ = ["no_ambient_aws", "rclone_server"]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """Two directories."""
    yield from _shelf({name: _directory(tmp_path / name) for name in ("here", "abroad")})


@pytest.fixture(params=["posix to s3", "s3 to posix", "s3 to s3"])
def any_shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    request.getfixturevalue("no_ambient_aws")
    bucket = Bucket(request.getfixturevalue("rclone_server"))
    kinds = dict(zip(("here", "abroad"), request.param.split(" to ")))
    yield from _shelf({name: _directory(tmp_path / name) if kind == "posix" else bucket.spec(prefix=name) for name, kind in kinds.items()})


def _directory(path: Path) -> dict[str, Any]:
    path.mkdir(mode=0o700)
    return {"type": "posix", "path": str(path)}


def _shelf(specs: dict[str, Any]) -> Iterator[Shelf]:
    shelf = Shelf(specs)
    yield shelf
    shelf.close()
