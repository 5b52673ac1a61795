# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad days of S3 during a drill: what passes is not noticed; what lasts says nothing about the backup, so it is unverified,
unless an object is really not there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_client
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.drills import BackedUp
from support.s3proxy import BlackHole, CutAnswer, Reply, S3Proxy
from support.store_fixtures import Bucket

pytestmark = [pytest.mark.needs("store:versitygw"), pytest.mark.usefixtures("no_ambient_aws")]


class Fault(NamedTuple):
    """What happens to requests of an operation, so many `times`, after the first `skip` of them; verdict and words."""

    operation: str
    action: Any
    verdict: str
    says: str = ""
    skip: int = 0
    times: int = 1_000_000


ROWS: Mapping[str, Fault] = {
    "500 twice": Fault("GetObject", Reply(500), "passed", times=2),
    "503 for the listing": Fault("ListObjectsV2", Reply(503, "SlowDown"), "passed", times=2),
    "every answer is cut in the middle": Fault("GetObject", CutAnswer(100_000), "passed", times=6),
    "500 for ever": Fault("GetObject", Reply(500), "unverified", "the store failed"),
    "the listing fails": Fault("ListObjectsV2", Reply(500), "unverified", "no repository can be listed.*the store failed"),
    "the credential has expired": Fault("*", Reply(400, "ExpiredToken"), "unverified", "expired"),
    "the credential expires midway": Fault("GetObject", Reply(400, "ExpiredToken"), "unverified", "expired", skip=5),
    "reading is denied": Fault("GetObject", Reply(403, "AccessDenied"), "unverified", "may not do that.*s3:GetObject"),
    "the clocks differ": Fault("*", Reply(403, "RequestTimeTooSkewed"), "unverified", "clock of this host and the store's differ"),
    "a black hole": Fault("GetObject", BlackHole(), "unverified", r"did not answer within 0\.3 s", skip=5),
    "an object vanishes": Fault("GetObject", Reply(404, "NoSuchKey"), "failed", "is missing", skip=5),
}


@pytest.fixture
def proxy(versity_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
    monkeypatch.setattr(s3_client, "_FIRST_PAUSE_SECONDS", 0.01)
    with S3Proxy(versity_bucket.store.endpoint) as proxy:
        yield proxy


@pytest.mark.parametrize("row", ROWS)
def test_a_drill_from_a_store_on_a_bad_day(
    taken: Callable[[str], BackedUp], versity_bucket: Bucket, proxy: S3Proxy, work_dir: Path, row: str
) -> None:
    backup, fault = taken("custom, age"), ROWS[row]
    with open_repository("offsite", versity_bucket.spec()) as repository:
        for path in backup.repository.rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                repository.put(str(path.relative_to(backup.repository)), path.read_bytes())
    proxy.on(fault.operation, fault.action, times=fault.times, skip=fault.skip)
    # Short times only where nobody answers: a busy machine is slow, too.
    short = {"connect_timeout": 0.3, "read_timeout": 0.3} if isinstance(fault.action, BlackHole) else {}
    spec = versity_bucket.spec(endpoint=proxy.endpoint, **short)
    started = time.monotonic()
    report = backup.drill(work_dir, repositories={"offsite": spec}, waive=["same_host", "writable_credential"])
    assert (report["verdict"], bool(re.search(fault.says, report["reason"]))) == (fault.verdict, True), report["reason"]
    assert time.monotonic() - started < 180
