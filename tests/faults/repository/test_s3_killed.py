# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Law 1 in a bucket: killed (SIGKILL) at every request, before the store gets it and after it did, nothing half-made is seen.

A proxy between the run and the store kills the run at its N-th request; N grows until it gets through. The sweep covers
each part, each completion, each put.
"""

from __future__ import annotations

import itertools
import os
import signal

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.kill_backups import Runner, assert_nothing_half_made, put_backup
from support.leaks import eventually
from support.s3proxy import Meanwhile, S3Proxy
from support.store_fixtures import Bucket

pytestmark = pytest.mark.usefixtures("no_ambient_aws")

LARGE = 5 * 1024 * 1024 + 1
"""Two parts."""

_BUCKET = ["HeadObject", "ListObjectsV2"]  # "not there" is believed only of a bucket that is there
_LARGE = ["CreateMultipartUpload", "UploadPart", "UploadPart", *_BUCKET, "CompleteMultipartUpload", "HeadObject"]
_SMALL = ["HeadObject", "PutObject", "HeadObject"]
COMPLETE_RUN = [*_LARGE, *_SMALL, *_SMALL, *_SMALL]
"""The requests of a run that nothing disturbs, and so the points at which the sweep kills."""
LAST_PUT = len(COMPLETE_RUN) - 2


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_request_nothing_half_made_is_seen(bucket: Bucket, proxy: S3Proxy, after: bool) -> None:
    killed_at: list[str] = []
    with Runner() as runner:
        for number in itertools.count():
            place = f"run-{number:02d}"
            proxy.clear()
            victim: list[int] = []
            proxy.on("*", Meanwhile(lambda victim=victim: kill(victim), after), skip=number, times=1)  # type: ignore[misc]
            victim.append(runner.start(bucket.spec(endpoint=proxy.endpoint, prefix=place), "first", LARGE))
            status = runner.wait()
            assert status in (0, -signal.SIGKILL)
            complete = assert_nothing_half_made(open_repository("reader", bucket.spec(prefix=place), read_only=True), {"first": LARGE})
            if status == 0:
                assert complete == {"first"}
                break
            killed_at.append(proxy.operations()[number])
            # From the moment on at which the store has the manifest there is a backup.
            assert bool(complete) == (number > LAST_PUT or (number == LAST_PUT and after)), number
            # The next run works beside what was left, and is all that is added.
            repository = open_repository("next", bucket.spec(prefix=place))
            put_backup(repository, "second", 1000)
            assert assert_nothing_half_made(repository, {"first": LARGE, "second": 1000}) == complete | {"second"}
    assert killed_at == COMPLETE_RUN
    if bucket.store.kind == "versitygw":
        assert bucket.unfinished(), "what was killed left parts behind, which a lifecycle rule removes"


def kill(victim: list[int]) -> None:
    # Its request may come before we have been told who it is.
    eventually(lambda: bool(victim), "the run's process id is known")
    os.kill(victim[0], signal.SIGKILL)
