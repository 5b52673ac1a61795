# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad days of S3 and of the way to it: nothing half-made is ever visible, the cause is named, and the time is bounded."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ObjectExists, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3 import S3Repository
from support.s3proxy import BlackHole, Cut, CutAnswer, Damage, Meanwhile, Reply, S3Proxy, Slow
from support.store_fixtures import Bucket, behind

pytestmark = pytest.mark.usefixtures("no_ambient_aws", "short_pauses")

MIB = 1024 * 1024
SMALL = b"a small object"
LARGE = os.urandom(6 * MIB)
"""Two parts."""
ERROR_IN_200 = Reply(200, body=b'<?xml version="1.0"?>\n<Error><Code>InternalError</Code><Message>We are sorry.</Message></Error>')
SHORT = {"connect_timeout": 0.3, "read_timeout": 0.3}
WRITING = ("HeadObject", "PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")


def put_both(repository: S3Repository) -> None:
    repository.put("small", SMALL)
    repository.put("large", LARGE)


def assert_both_are_there(bucket: Bucket) -> None:
    direct = open_repository("direct", bucket.spec())
    assert [found.key for found in direct.list()] == ["large", "small"]
    assert direct.read("small") == SMALL
    assert direct.read("large") == LARGE
    if bucket.store.kind == "versitygw":
        assert bucket.unfinished() == []


class TestPassing:
    """Faults that pass are not noticed."""

    @pytest.mark.parametrize("operation", WRITING)
    @pytest.mark.parametrize("fault", [Reply(500), Reply(503, "SlowDown"), Cut(), Reply(200, body=b"")], ids=["500", "503", "cut", "empty"])
    def test_while_writing(self, bucket: Bucket, proxy: S3Proxy, repository: S3Repository, operation: str, fault: Any) -> None:
        proxy.on(operation, fault, times=2)
        put_both(repository)
        assert_both_are_there(bucket)

    @pytest.mark.parametrize("operation", ["PutObject", "UploadPart", "CompleteMultipartUpload", "CreateMultipartUpload", "HeadObject"])
    def test_an_answer_that_got_lost_on_the_way_back(
        self, bucket: Bucket, proxy: S3Proxy, repository: S3Repository, operation: str
    ) -> None:
        """The store did it, we do not know: what is there is recognised as ours, not taken for another's."""
        proxy.on(operation, Cut(forward=True), times=1)
        put_both(repository)
        direct = open_repository("direct", bucket.spec())
        assert direct.read("small") == SMALL
        assert direct.read("large") == LARGE

    @pytest.mark.parametrize(("key", "data", "operation"), [("small", SMALL, "PutObject"), ("large", LARGE, "CompleteMultipartUpload")])
    def test_a_store_that_did_it_and_shows_it_late(
        self, bucket: Bucket, proxy: S3Proxy, repository: S3Repository, key: str, data: bytes, operation: str
    ) -> None:
        """The second attempt is refused (the key is taken, the upload is gone), because of the first."""
        proxy.on(operation, Cut(forward=True), times=1)
        proxy.on("HeadObject", Reply(404, "NoSuchKey"), skip=1, times=1)
        repository.put(key, data)
        assert proxy.operations().count(operation) == 2
        assert open_repository("direct", bucket.spec()).read(key) == data

    @pytest.mark.parametrize(("key", "data", "operation"), [("small", SMALL, "PutObject"), ("large", LARGE, "CompleteMultipartUpload")])
    def test_an_object_of_the_same_size_from_another_is_not_taken_for_ours(
        self, bucket: Bucket, proxy: S3Proxy, repository: S3Repository, key: str, data: bytes, operation: str
    ) -> None:
        """It comes in the very moment in which our request gets lost."""
        others = bytes(len(data))
        put = bucket.store.client().put_object
        proxy.on(
            operation,
            Meanwhile(lambda: put(Bucket=bucket.name, Key=key, Body=others, Metadata={"lifeboat-upload": "other"}), after=False),
            times=1,
        )
        with pytest.raises(ObjectExists):
            repository.put(key, data)
        assert open_repository("direct", bucket.spec()).read(key) == others

    def test_a_connection_cut_in_the_middle_of_a_part(self, bucket: Bucket, proxy: S3Proxy, repository: S3Repository) -> None:
        proxy.on("UploadPart", Cut(after_bytes=MIB), times=2)
        put_both(repository)
        assert_both_are_there(bucket)

    def test_a_bit_flipped_on_the_way(self, bucket: Bucket, proxy: S3Proxy, repository: S3Repository) -> None:
        proxy.on("PutObject", Damage(), times=2)
        if bucket.store.kind != "rclone":  # rclone gives up an upload of which it refused one part
            proxy.on("UploadPart", Damage(), times=2)
        put_both(repository)
        assert_both_are_there(bucket)

    def test_an_error_inside_a_200_at_completion(self, bucket: Bucket, proxy: S3Proxy, repository: S3Repository) -> None:
        proxy.on("CompleteMultipartUpload", ERROR_IN_200, times=2)
        put_both(repository)
        assert_both_are_there(bucket)

    def test_a_store_that_knows_no_conditions(self, bucket: Bucket, proxy: S3Proxy, repository: S3Repository) -> None:
        proxy.on("PutObject", Reply(501, "NotImplemented"), times=1)
        put_both(repository)
        assert_both_are_there(bucket)
        sent = [request for request in proxy.requests if request.operation in ("PutObject", "CompleteMultipartUpload")]
        assert ["If-None-Match" in request.headers for request in sent] == [True, False, False]
        with pytest.raises(ObjectExists):
            repository.put("small", b"another")

    def test_a_slow_line_that_moves_is_no_fault(self, rclone_bucket: Bucket) -> None:
        """A part takes many times the timeout of the connection here; each piece of it does not."""
        with S3Proxy(rclone_bucket.store.endpoint) as proxy:
            proxy.on("UploadPart", Slow(3 * MIB))
            started = time.monotonic()
            behind(proxy, rclone_bucket, part_size="16MiB", connect_timeout=1).put("large", os.urandom(17 * MIB))
            assert time.monotonic() - started > 4

    def test_listing_and_deleting(self, bucket: Bucket, proxy: S3Proxy, repository: S3Repository) -> None:
        put_both(repository)
        proxy.on("ListObjectsV2", Reply(500), times=2)
        proxy.on("DeleteObject", Cut(forward=True), times=1)
        repository.delete("small")
        assert [found.key for found in repository.list()] == ["large"]

    def test_reading_is_taken_up_where_it_broke(self, bucket: Bucket, proxy: S3Proxy, repository: S3Repository) -> None:
        put_both(repository)
        proxy.clear()
        proxy.on("GetObject", CutAnswer(2 * MIB + 17), times=2)
        assert repository.read("large") == LARGE
        ranges = [request.headers.get("Range") for request in proxy.requests if request.operation == "GetObject"]
        assert ranges == [None, f"bytes={2 * MIB + 17}-{len(LARGE) - 1}", f"bytes={4 * MIB + 34}-{len(LARGE) - 1}"]


@pytest.mark.parametrize("bucket", ["rclone"], indirect=True)
class TestLasting:
    """Faults that last end in one sentence, within the deadline, with nothing visible."""

    @pytest.mark.parametrize("operation", WRITING)
    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            (Reply(500), "the store failed"),
            (Reply(503, "SlowDown"), "slow down|the store failed"),
            (Cut(), "connection to the store broke"),
            (BlackHole(), "did not answer within 0.3 s"),
            (Reply(403, "AccessDenied"), "may not do that"),
            (Reply(403, "ExpiredToken"), "expired|may not do that"),
            (Reply(403, "RequestTimeTooSkewed"), "clock|may not do that"),
            (Reply(507, "InsufficientStorage"), "store is full|the store failed"),
            (Reply(301, "PermanentRedirect"), "another region"),
            (Reply(200, body=b"<html>A console</html>"), "not as an S3 store"),
        ],
        ids=["500", "503", "cut", "black hole", "denied", "expired", "clock", "full", "region", "html"],
    )
    def test_while_writing(self, bucket: Bucket, proxy: S3Proxy, operation: str, fault: Any, said: str) -> None:
        repository = behind(proxy, bucket, **(SHORT if isinstance(fault, BlackHole) else {}))
        proxy.on(operation, fault)
        key, data = ("small", SMALL) if operation == "PutObject" else ("large", LARGE)
        started = time.monotonic()
        with pytest.raises(RepositoryError) as caught:
            repository.put(key, data)
        assert time.monotonic() - started < 120
        assert re.search(said, str(caught.value)), str(caught.value)
        assert "repository 'offsite'" in str(caught.value)
        assert bucket.keys() == []
        proxy.clear()
        assert behind(proxy, bucket).put(key, data).size_bytes == len(data)

    def test_a_connection_cut_in_the_middle_of_every_part(self, bucket: Bucket, proxy: S3Proxy, repository: S3Repository) -> None:
        proxy.on("UploadPart", Cut(after_bytes=MIB))
        with pytest.raises(RepositoryError, match="connection to the store broke"):
            repository.put("large", LARGE)
        assert bucket.keys() == []

    def test_an_error_inside_every_200_at_completion(self, bucket: Bucket, proxy: S3Proxy, repository: S3Repository) -> None:
        proxy.on("CompleteMultipartUpload", ERROR_IN_200)
        with pytest.raises(RepositoryError, match=r"the store failed|not as an S3 store"):
            repository.put("large", LARGE)
        assert bucket.keys() == []

    def test_a_bit_flipped_every_time(self, bucket: Bucket, proxy: S3Proxy, repository: S3Repository) -> None:
        proxy.on("UploadPart", Damage())
        with pytest.raises(RepositoryError, match=r"not those that were sent|no longer knows the upload"):
            repository.put("large", LARGE)
        assert bucket.keys() == []

    @pytest.mark.parametrize(
        ("use", "operation"),
        [
            (lambda repository: repository.read("large"), "GetObject"),
            (lambda repository: repository.stat("large"), "HeadObject"),
            (lambda repository: list(repository.list()), "ListObjectsV2"),
            (lambda repository: repository.delete("large"), "DeleteObject"),
            (lambda repository: repository.can_write("probe/"), "PutObject"),
        ],
    )
    def test_a_black_hole_is_left_in_bounded_time(
        self, bucket: Bucket, proxy: S3Proxy, use: Callable[[S3Repository], Any], operation: str
    ) -> None:
        behind(proxy, bucket).put("large", LARGE)
        proxy.on(operation, BlackHole())
        started = time.monotonic()
        with pytest.raises(RepositoryError, match=r"did not answer within 0\.3 s"):
            use(behind(proxy, bucket, **SHORT))
        assert time.monotonic() - started < 120

    def test_an_endpoint_where_nobody_listens(self, bucket: Bucket) -> None:
        repository = open_repository("offsite", bucket.spec(endpoint="http://127.0.0.1:9"))
        with pytest.raises(RepositoryError, match="endpoint cannot be reached"):
            repository.put("small", SMALL)
