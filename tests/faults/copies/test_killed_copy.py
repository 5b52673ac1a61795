# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy that is killed or cut at any point leaves nothing that looks like a backup, and the next run completes it."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.copies.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from support import kill_copies
from support.backups import check_complete
from support.leaks import eventually
from support.s3proxy import BlackHole, Cut, Reply, S3Proxy
from support.shelf import Shelf
from support.store_fixtures import Bucket, no_ambient_aws, rclone_bucket, rclone_server

__all__ = ["no_ambient_aws", "rclone_bucket", "rclone_server"]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    (tmp_path / "here").mkdir(mode=0o700)
    shelf = Shelf({"here": {"type": "posix", "path": str(tmp_path / "here")}})
    yield shelf
    shelf.close()


def test_killed_at_every_step_it_is_no_backup_or_a_whole_one_and_can_be_taken_up(shelf: Shelf, tmp_path: Path) -> None:
    manifest = shelf.backup(at=now() - dt.timedelta(hours=1), into=["here"])
    work = tmp_path / "work"
    work.mkdir()
    argv = [sys.executable, kill_copies.__file__, shelf.specs["here"]["path"], str(work)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, done.stderr
    tries = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(tries) > 50
    assert [found["ended"] for found in tries] == [-9] * (len(tries) - 1) + [0]
    marker, whole = layout.manifest_key(manifest.ref), set(shelf.keys("here"))
    for found in tries:
        assert marker not in found["keys"] or set(found["keys"]) == whole, found
    begun = [found for found in tries if found["keys"] and marker not in found["keys"]]
    # One try of each state that a reader can see: further ones differ in hidden files only.
    for found in {tuple(found["keys"]): found for found in begun}.values():
        target = work / f"target-{found['step']}"
        run(kill_copies.options(shelf.specs["here"]["path"], target))
        with open_repository("abroad", {"type": "posix", "path": str(target)}) as repository:
            assert check_complete(repository, manifest.ref) == manifest


FAULTS: dict[str, Any] = {
    "a refusal": Reply(403, "AccessDenied"),
    "a full store": Reply(507, "InsufficientStorage"),
    "a cut": Cut(after_bytes=10),
    "a black hole": BlackHole(),
}


def _left_behind() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "abroad" in thread.name]


@pytest.mark.usefixtures("no_ambient_aws")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_target_that_fails_in_the_middle_holds_no_backup_and_gets_it_with_the_next_run(
    shelf: Shelf, rclone_bucket: Bucket, tmp_path: Path, fault: str
) -> None:
    manifest = shelf.backup(at=now() - dt.timedelta(hours=1), into=["here"])
    with S3Proxy(rclone_bucket.store.endpoint) as proxy:
        # Short times only where nobody answers: a busy machine is slow, too.
        short = {"connect_timeout": "1s", "read_timeout": "1s"} if isinstance(FAULTS[fault], BlackHole) else {}

        def options(**times: str) -> dict[str, Any]:
            abroad = rclone_bucket.spec(endpoint=proxy.endpoint, copy_from="here", **times)
            specs = {**shelf.specs, "abroad": abroad}
            return {
                "system": "shop",
                "repositories": specs,
                "lock_dir": str(tmp_path / "locks"),
                "stall_timeout": "5s" if times else "120s",
            }

        proxy.on("PutObject", FAULTS[fault], skip=2)
        with pytest.raises(RepositoryError) as caught:
            run(options(**short))
        assert "abroad" in str(caught.value)
        assert caught.value.result["copied"] == []
        seen = rclone_bucket.keys()
        assert not [key for key in seen if "/manifests/" in key]
        # A call that stands still is left behind in its thread; in a process of its own it would have ended with the run.
        eventually(lambda: not _left_behind(), "the calls of the first run have ended")
        proxy.clear()
        assert [copy["backup_id"] for copy in run(options())["copied"]] == [manifest.backup_id]
        with open_repository("abroad", rclone_bucket.spec()) as repository:
            assert check_complete(repository, manifest.ref) == manifest


@pytest.mark.usefixtures("no_ambient_aws")
@pytest.mark.parametrize("operation", ["GetObject", "ListObjectsV2"])
def test_a_source_that_hangs_is_named_within_the_deadline_and_nothing_looks_like_a_copy(
    rclone_bucket: Bucket, tmp_path: Path, operation: str
) -> None:
    (tmp_path / "abroad").mkdir(mode=0o700)
    shelf = Shelf({"here": rclone_bucket.spec(), "abroad": {"type": "posix", "path": str(tmp_path / "abroad")}})
    manifest = shelf.backup(at=now() - dt.timedelta(hours=1), into=["here"])
    with S3Proxy(rclone_bucket.store.endpoint) as proxy:
        # The client itself would wait for ten minutes, as a mount that hangs waits for ever.
        here = rclone_bucket.spec(endpoint=proxy.endpoint, read_timeout="10m")
        specs = {"here": here, "abroad": {**shelf.specs["abroad"], "copy_from": "here"}}
        options = {"system": "shop", "repositories": specs, "lock_dir": str(tmp_path / "locks"), "stall_timeout": "5s"}
        proxy.on(operation, BlackHole(), skip=2 if operation == "GetObject" else 0)  # two manifests, then bytes
        started = time.monotonic()
        with pytest.raises(RepositoryError, match=r"'here'.*made no progress for 5 s") as caught:
            run(options)
        assert time.monotonic() - started < 120
        assert caught.value.result["copied"] == []
        assert not list((tmp_path / "abroad").rglob("manifests/**/*.json"))
        proxy.clear()
        assert [copy["backup_id"] for copy in run({**options, "stall_timeout": "120s"})["copied"]] == [manifest.backup_id]
        assert check_complete(shelf.repositories["abroad"], manifest.ref) == manifest
    shelf.close()
