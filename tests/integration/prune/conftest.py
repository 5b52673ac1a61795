# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`here`, a directory or a bucket with versions and locks, with retention, and a prune of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.run import run
from support.prunes import directory
from support.shelf import Shelf
from support.store_fixtures import Bucket, no_ambient_aws, rclone_server, versity_server

__all__ = ["no_ambient_aws", "rclone_server", "versity_server"]

Prune = Callable[..., dict[str, Any]]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf({"here": directory(tmp_path / "here")})
    yield shelf
    shelf.close()


@pytest.fixture(params=["directory", "versions", "no versions"])
def any_shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    """A directory, a bucket of versitygw with versions, one of rclone without."""
    if request.param == "directory":
        spec = directory(tmp_path / "here")
    else:
        request.getfixturevalue("no_ambient_aws")
        if request.param == "versions":
            spec = Bucket(request.getfixturevalue("versity_server"), versioning=True).spec()
        else:
            spec = Bucket(request.getfixturevalue("rclone_server")).spec()
    shelf = Shelf({"here": spec})
    yield shelf
    shelf.close()


@pytest.fixture
def prune(tmp_path: Path) -> Prune:
    """Run the prune of a shelf's `here` with a retention; in a bucket everything was stored just now, whatever it says."""

    def pruned(shelf: Shelf, retention: dict[str, Any] | None = None, check_mode: bool = False, **options: Any) -> dict[str, Any]:
        here = {**shelf.specs["here"], "retention": retention or {"daily": 3}}
        accept = [*options.pop("accept", ()), *(["dates"] if here["type"] == "s3" else [])]
        given = {
            "system": "shop", "repositories": {**shelf.specs, "here": here}, "accept": accept, "max_remove": "90%",
            "state_dir": str(tmp_path / "state"), "cache_dir": "", "lock_dir": str(tmp_path / "locks"), **options,
        }  # fmt: skip
        return run(given, check_mode)

    return pruned
