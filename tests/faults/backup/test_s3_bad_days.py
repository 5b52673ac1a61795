# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad days of S3 during a whole backup: what passes is not noticed; what lasts is named, in bounded time, and leaves no
backup that is half there.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_client
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.backups import check_complete
from support.clusters import Server
from support.logical import manifest_of, manifests_in, new_identity, options, posix
from support.s3proxy import Answer, BlackHole, Change, Cut, Damage, Reply, S3Proxy
from support.store_fixtures import Bucket
from support.stores import Store

pytestmark = [pytest.mark.needs("store:versitygw"), pytest.mark.usefixtures("no_ambient_aws")]

MIB = 1024 * 1024
ERROR_IN_200 = Reply(200, body=b'<?xml version="1.0"?>\n<Error><Code>InternalError</Code><Message>We are sorry.</Message></Error>')


@pytest.fixture(scope="module")
def database(postgres18: Server) -> Iterator[str]:
    """Large enough, and random enough, for two parts of the smallest size."""
    with postgres18.database() as name:
        with postgres18.connect(name) as connection:
            connection.execute("CREATE TABLE blobs (data bytea)")
            for _ in range(6):
                connection.execute("INSERT INTO blobs VALUES (%s)", [os.urandom(MIB)])
        yield name


class Day:
    """A store behind a proxy, and backups into it."""

    def __init__(self, proxy: S3Proxy, bucket: Bucket, take: Callable[[dict[str, Any]], dict[str, Any]], database: str) -> None:
        self.proxy, self.bucket, self.take, self.database = proxy, bucket, take, database

    def back_up(self, beside: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
        """A run; `spec` are more options of the repository behind the proxy, `beside` is another one."""
        repositories = {"offsite": self.bucket.spec(endpoint=self.proxy.endpoint, **spec)}
        return self.take({**repositories, **({"beside": beside} if beside else {})})

    def check_complete(self, backup_id: str) -> None:
        """As a stranger finds it, straight from the store."""
        manifest = manifest_of(self.bucket.spec(), backup_id, self.database)
        with open_repository("direct", self.bucket.spec()) as direct:
            check_complete(direct, manifest.ref)
        assert self.bucket.unfinished() == []

    def check_nothing_is_there(self) -> None:
        assert manifests_in(self.bucket.spec()) == []


@pytest.fixture
def day(versity_bucket: Bucket, postgres18: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Day]:
    monkeypatch.setattr(s3_client, "_FIRST_PAUSE_SECONDS", 0.01)
    identity = new_identity(tmp_path / "identity.txt")

    def take(repositories: dict[str, Any]) -> dict[str, Any]:
        return run(options(postgres18, database, repositories, identity, tmp_path / "locks"))

    with S3Proxy(versity_bucket.store.endpoint) as proxy:
        yield Day(proxy, versity_bucket, take, database)


class Fault(NamedTuple):
    """What happens to requests of an operation, after the first `skip` of them."""

    operation: str
    action: Any
    says: str = ""
    skip: int = 0


PASSING = {
    "500 for the first part": Fault("UploadPart", Reply(500)),
    "503, slow down, for the second part": Fault("UploadPart", Reply(503, "SlowDown"), skip=1),
    "a part is cut in the middle": Fault("UploadPart", Cut(after_bytes=MIB), skip=1),
    "a bit of a part flips on the way": Fault("UploadPart", Damage()),
    "the answer to a part gets lost": Fault("UploadPart", Cut(forward=True)),
    "500 at completion": Fault("CompleteMultipartUpload", Reply(500)),
    "a 200 with an error in it at completion": Fault("CompleteMultipartUpload", ERROR_IN_200),
    "the answer to the completion gets lost": Fault("CompleteMultipartUpload", Cut(forward=True)),
    "503 for the small objects": Fault("PutObject", Reply(503, "SlowDown")),
    "the answer to a small object gets lost": Fault("PutObject", Cut(forward=True)),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_not_noticed(day: Day, name: str) -> None:
    fault = PASSING[name]
    day.proxy.on(fault.operation, fault.action, times=2 if not getattr(fault.action, "forward", False) else 1, skip=fault.skip)
    day.check_complete(day.back_up()["backup_id"])


def refused(code: str, status: int = 403) -> Reply:
    return Reply(status, code)


LASTING = {
    "500 for every part": Fault("UploadPart", Reply(500), "the store failed"),
    "503, slow down, for every part": Fault("UploadPart", Reply(503, "SlowDown"), "asks to slow down"),
    "every part is cut in the middle": Fault("UploadPart", Cut(after_bytes=MIB), "connection to the store broke"),
    "a bit flips in every part": Fault("UploadPart", Damage(), "not those that were sent"),
    "a 200 with an error in it at every completion": Fault("CompleteMultipartUpload", ERROR_IN_200, "the store failed|not as an S3 store"),
    "the credential expires after the first part": Fault("UploadPart", refused("ExpiredToken", 400), "expired", skip=1),
    "the credential expires before completion": Fault("CompleteMultipartUpload", refused("ExpiredToken", 400), "expired"),
    "the credential expires before the manifest": Fault("PutObject", refused("ExpiredToken", 400), "expired", skip=2),
    "the key is withdrawn": Fault("UploadPart", refused("InvalidAccessKeyId"), "does not know|unknown|not known", skip=1),
    "the clocks differ": Fault("*", refused("RequestTimeTooSkewed"), "clock of this host and the store's differ"),
    "the manifest may not be put": Fault("PutObject", refused("AccessDenied"), "may not do that.*s3:PutObject", skip=2),
    "the upload is gone": Fault("UploadPart", refused("NoSuchUpload", 404), "no longer knows the upload", skip=1),
}


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_is_named_and_leaves_nothing_half_there(day: Day, name: str) -> None:
    fault = LASTING[name]
    day.proxy.on(fault.operation, fault.action, skip=fault.skip)
    started = time.monotonic()
    with pytest.raises(LifeboatError) as caught:
        day.back_up()
    said = str(caught.value)
    assert re.search(fault.says, said), said
    assert "offsite" in said
    assert time.monotonic() - started < 120
    day.check_nothing_is_there()


@pytest.mark.parametrize(("operation", "skip"), [("UploadPart", 1), ("CompleteMultipartUpload", 0), ("PutObject", 2)])
def test_the_day_after_is_a_day_like_any_other(day: Day, operation: str, skip: int) -> None:
    """Whatever was begun and not ended is in nobody's way."""
    day.proxy.on(operation, Reply(500), skip=skip)
    with pytest.raises(LifeboatError):
        day.back_up()
    day.proxy.clear()
    backup_id = day.back_up()["backup_id"]
    day.check_complete(backup_id)
    assert len(manifests_in(day.bucket.spec())) == 1


@pytest.mark.parametrize(
    ("operation", "skip"), [("UploadPart", 0), ("UploadPart", 1), ("CompleteMultipartUpload", 0), ("PutObject", 0), ("PutObject", 2)]
)
def test_a_black_hole_is_left_in_bounded_time(day: Day, operation: str, skip: int) -> None:
    day.proxy.on(operation, BlackHole(), skip=skip)
    started = time.monotonic()
    with pytest.raises(LifeboatError, match=r"did not answer within 0\.3 s|no progress|stood still"):
        day.back_up(connect_timeout=0.3, read_timeout=0.3)
    assert time.monotonic() - started < 120
    day.check_nothing_is_there()


def test_a_bucket_that_is_not_there_is_named(day: Day) -> None:
    with pytest.raises(LifeboatError, match=r"there is no bucket 'no-such-bucket'|bucket 'no-such-bucket'"):
        day.back_up(bucket="no-such-bucket")


class TestLocks:
    def test_a_bucket_that_takes_no_locks_is_named(self, day: Day, versity_server: Store) -> None:
        plain = Bucket(versity_server)
        with pytest.raises(LifeboatError, match=r"does not take object locks.*object_lock: none"):
            day.take({"offsite": plain.spec(object_lock="compliance", object_lock_days=1)})
        assert manifests_in(plain.spec()) == []

    @pytest.mark.parametrize(("operation", "skip"), [("CreateMultipartUpload", 0), ("PutObject", 2)])
    def test_a_credential_that_may_not_lock_is_told_what_it_lacks(self, day: Day, operation: str, skip: int) -> None:
        day.proxy.on(operation, refused("AccessDenied"), skip=skip)
        with pytest.raises(LifeboatError, match="s3:PutObjectRetention"):
            day.back_up(object_lock="compliance", object_lock_days=1)
        day.check_nothing_is_there()


class TestBesideAHealthyOne:
    """The other repository gets its backup whatever happens here, and the run says what is missing."""

    def test_what_lasts_fails_the_run_and_the_other_has_it(self, day: Day, tmp_path: Path) -> None:
        beside = posix(tmp_path / "beside")
        day.proxy.on("UploadPart", refused("ExpiredToken", 400), skip=1)
        with pytest.raises(LifeboatError, match="expired") as caught:
            day.back_up(beside)
        [key] = manifests_in(beside)
        ref = layout.parse_manifest_key(key)
        assert ref is not None
        manifest = manifest_of(beside, ref.backup_id, day.database)
        with open_repository("beside", beside) as whole:
            check_complete(whole, manifest.ref)
        assert manifest.repositories["beside"] == ""
        assert "expired" in manifest.repositories["offsite"]
        assert "offsite" in str(caught.value)
        day.check_nothing_is_there()

    def test_what_passes_late_is_copied_from_the_other(self, day: Day, tmp_path: Path) -> None:
        """The upload is lost for good; a second one, from the healthy repository, succeeds."""
        day.proxy.on("CompleteMultipartUpload", refused("NoSuchUpload", 404), times=1)
        result = day.back_up(posix(tmp_path / "beside"))
        day.check_complete(result["backup_id"])
        assert day.proxy.operations().count("CreateMultipartUpload") == 2

    def test_a_black_hole_does_not_keep_the_other_waiting(self, day: Day, tmp_path: Path) -> None:
        beside = posix(tmp_path / "beside")
        day.proxy.on("*", BlackHole(), skip=8)
        started = time.monotonic()
        with pytest.raises(LifeboatError, match=r"did not answer within 0\.3 s|no progress|stood still"):
            day.back_up(beside, connect_timeout=0.3, read_timeout=0.3)
        assert time.monotonic() - started < 120
        assert len(manifests_in(beside)) == 1
        day.check_nothing_is_there()


def test_a_digest_that_the_store_reports_wrongly_is_no_success(day: Day) -> None:
    """It says that it has stored a part, and names another digest than that of what was sent."""

    def other(answer: Answer) -> Answer:
        headers = [(name, '"00000000000000000000000000000000"' if name.lower() == "etag" else value) for name, value in answer.headers]
        return Answer(answer.status, headers, answer.body)

    day.proxy.on("UploadPart", Change(other))
    with pytest.raises(LifeboatError, match="offsite"):
        day.back_up()
    day.check_nothing_is_there()
