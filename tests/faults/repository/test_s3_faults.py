# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad days of S3 and of the way to it: nothing half-made is ever visible, the cause is named, and the time is bounded."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import AccessDenied, ObjectExists, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_upload
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3 import S3Repository
from support.s3proxy import Answer, BlackHole, Change, Cut, CutAnswer, Damage, Meanwhile, Reply, S3Proxy, Slow
from support.store_fixtures import Bucket

pytestmark = pytest.mark.usefixtures("no_ambient_aws", "short_pauses")

MIB = 1024 * 1024
SMALL = b"a small object"
LARGE = os.urandom(6 * MIB)
"""Two parts."""
ERROR_IN_200 = Reply(200, body=b'<?xml version="1.0"?>\n<Error><Code>InternalError</Code><Message>We are sorry.</Message></Error>')
SHORT = {"connect_timeout": 0.3, "read_timeout": 0.3}
WRITING = ("HeadObject", "PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")


@pytest.fixture
def repository(bucket: Bucket, proxy: S3Proxy) -> S3Repository:
    return through(proxy, bucket)


def through(proxy: S3Proxy, bucket: Bucket, **overrides: Any) -> S3Repository:
    """The repository behind the proxy."""
    found = open_repository("offsite", bucket.spec(endpoint=proxy.endpoint, **overrides))
    assert isinstance(found, S3Repository)
    return found


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
            proxy.on("UploadPart", Slow(6 * MIB))
            started = time.monotonic()
            through(proxy, rclone_bucket, part_size="16MiB", connect_timeout=0.3).put("large", os.urandom(17 * MIB))
            assert time.monotonic() - started > 2
            assert proxy.operations().count("UploadPart") == 2

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
        repository = through(proxy, bucket, **(SHORT if isinstance(fault, BlackHole) else {}))
        proxy.on(operation, fault)
        key, data = ("small", SMALL) if operation == "PutObject" else ("large", LARGE)
        started = time.monotonic()
        with pytest.raises(RepositoryError) as caught:
            repository.put(key, data)
        assert time.monotonic() - started < 6
        assert re.search(said, str(caught.value)), str(caught.value)
        assert "repository 'offsite'" in str(caught.value)
        assert bucket.keys() == []
        proxy.clear()
        assert through(proxy, bucket).put(key, data).size_bytes == len(data)

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
        through(proxy, bucket).put("large", LARGE)
        proxy.on(operation, BlackHole())
        started = time.monotonic()
        with pytest.raises(RepositoryError, match=r"did not answer within 0\.3 s"):
            use(through(proxy, bucket, **SHORT))
        assert time.monotonic() - started < 6

    def test_an_endpoint_where_nobody_listens(self, bucket: Bucket) -> None:
        repository = open_repository("offsite", bucket.spec(endpoint="http://127.0.0.1:9", connect_timeout=0.2, read_timeout=0.2))
        with pytest.raises(RepositoryError, match="endpoint cannot be reached"):
            repository.put("small", SMALL)


class TestReading:
    def test_that_breaks_again_and_again_is_an_error_not_an_early_end(self, proxy: S3Proxy, repository: S3Repository) -> None:
        repository.put("large", LARGE)
        proxy.on("GetObject", CutAnswer(1000))
        with repository.open("large") as stream, pytest.raises(RepositoryError, match=r"connection to the store broke|ended early"):
            stream.read()

    def test_goes_on_as_long_as_it_moves(self, proxy: S3Proxy, repository: S3Repository) -> None:
        repository.put("large", LARGE)
        proxy.on("GetObject", CutAnswer(MIB + 1), times=10)
        assert repository.read("large") == LARGE

    def test_never_joins_two_objects(self, bucket: Bucket, proxy: S3Proxy, repository: S3Repository) -> None:
        """Someone replaces the object between two pieces (rclone), or it has versions, and the first goes on (versitygw)."""
        repository.put("large", LARGE)
        proxy.on("GetObject", CutAnswer(2 * MIB), times=1)
        with repository.open("large") as stream:
            first = stream.read(MIB)
            bucket.store.client().put_object(Bucket=bucket.name, Key="large", Body=os.urandom(len(LARGE)))
            if bucket.store.kind == "versitygw":
                assert first + stream.read() == LARGE
                return
            with pytest.raises(RepositoryError, match="became another one"):
                stream.read()

    def test_a_store_that_cannot_continue_in_the_middle_is_found_out(self, proxy: S3Proxy, repository: S3Repository) -> None:
        repository.put("large", LARGE)

        def ignore_range(answer: Answer) -> Answer:
            headers = [(name, value) for name, value in answer.headers if name.lower() != "content-range"]
            return Answer(200, headers, LARGE)

        proxy.on("GetObject", CutAnswer(2 * MIB), times=1)
        proxy.on("GetObject", Change(ignore_range))
        with repository.open("large") as stream, pytest.raises(RepositoryError, match="cannot continue in the middle"):
            stream.read()

    def test_a_list_that_goes_in_circles_is_an_error(self, bucket: Bucket, proxy: S3Proxy, repository: S3Repository) -> None:
        put_both(repository)

        def again(answer: Answer) -> Answer:
            body = answer.body.replace(b"<IsTruncated>false</IsTruncated>", b"<IsTruncated>true</IsTruncated>")
            return Answer(200, answer.headers, body.replace(b"</Name>", b"</Name><NextContinuationToken>x</NextContinuationToken>"))

        proxy.on("ListObjectsV2", Change(again))
        with pytest.raises(RepositoryError, match="listing"):
            list(repository.list())


class TestConfirming:
    """What the store holds is confirmed by its own checksums, or read back."""

    def test_other_etags_are_fine_where_the_store_checks_what_it_gets(
        self, bucket: Bucket, proxy: S3Proxy, repository: S3Repository
    ) -> None:
        proxy.on("UploadPart", Change(with_header("ETag", '"0123456789abcdef0123456789abcdef"')), times=2)
        upload = repository.start_upload("large")
        upload.write(LARGE)
        upload.confirm()
        assert upload._parts is not None
        assert upload._parts.unconfirmed == 0
        assert proxy.operations().count("UploadPart") == 3, "two parts, and one with a wrong checksum"
        upload.abort()

    def test_what_nothing_confirms_is_read_back(self, bucket: Bucket, proxy: S3Proxy, repository: S3Repository) -> None:
        repository.md5_check._refuses = False
        proxy.on("PutObject", Change(with_header("ETag", '"another"')))
        proxy.on("HeadObject", Change(with_header("ETag", '"another"')))
        repository.put("small", SMALL)
        assert "GetObject" in proxy.operations()

    def test_a_store_that_gives_back_other_bytes_is_not_believed(self, proxy: S3Proxy, repository: S3Repository) -> None:
        proxy.on("PutObject", Change(with_header("ETag", '"another"')))
        proxy.on("HeadObject", Change(with_header("ETag", '"another"')))
        proxy.on("GetObject", Change(lambda answer: Answer(answer.status, answer.headers, answer.body.replace(b"small", b"SMALL"))))
        with pytest.raises(RepositoryError, match="other bytes than were sent"):
            repository.put("small", SMALL)

    def test_a_store_that_keeps_another_size_is_not_believed(self, proxy: S3Proxy, repository: S3Repository) -> None:
        proxy.on("HeadObject", Change(with_header("Content-Length", "7")), skip=1)
        with pytest.raises(RepositoryError, match="bytes were sent, the store holds 7"):
            repository.put("small", SMALL)

    def test_a_composite_etag_that_does_not_fit_makes_it_read_back(self, proxy: S3Proxy, repository: S3Repository) -> None:
        def other(answer: Answer) -> Answer:
            return Answer(answer.status, answer.headers, re.sub(rb"[0-9a-f]{32}-2", b"0" * 32 + b"-2", answer.body))

        proxy.on("CompleteMultipartUpload", Change(other))
        proxy.on("HeadObject", Change(with_header("ETag", f'"{"0" * 32}-2"')))
        repository.put("large", LARGE)
        assert "GetObject" in proxy.operations()

    def test_a_store_that_drops_metadata_is_read_back(self, proxy: S3Proxy, repository: S3Repository) -> None:
        def drop(answer: Answer) -> Answer:
            return Answer(answer.status, [item for item in answer.headers if not item[0].lower().startswith("x-amz-meta")], answer.body)

        proxy.on("HeadObject", Change(drop))
        put_both(repository)
        assert "GetObject" in proxy.operations()


class TestGivingUp:
    def test_an_upload_that_is_stuck_can_be_given_up_from_another_thread(
        self, bucket: Bucket, proxy: S3Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(s3_upload, "_ABORT_WAIT_SECONDS", 1.0)
        repository = open_repository("offsite", bucket.spec(endpoint=proxy.endpoint, read_timeout=30, max_threads=1))
        proxy.on("UploadPart", BlackHole())
        upload = repository.start_upload("large")
        fault: list[BaseException] = []

        def write() -> None:
            try:
                upload.write(LARGE)
                upload.confirm()
            except RepositoryError as error:
                fault.append(error)

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        wait_for(lambda: "UploadPart" in proxy.operations())
        started = time.monotonic()
        upload.abort()
        writer.join(5)
        assert time.monotonic() - started < 4
        assert [type(error) for error in fault] == [RepositoryError]
        assert "given up" in str(fault[0])
        assert bucket.keys() == []

    def test_an_abort_that_gets_no_answer_does_not_hold_the_run(
        self, proxy: S3Proxy, repository: S3Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(s3_upload, "_ABORT_WAIT_SECONDS", 0.3)
        proxy.on("AbortMultipartUpload", BlackHole())
        upload = repository.start_upload("large")
        upload.write(LARGE)
        started = time.monotonic()
        upload.abort()
        assert time.monotonic() - started < 2


class TestProbing:
    def test_a_lock_is_not_believed_when_a_refusal_proves_nothing(self, versity_bucket: Bucket) -> None:
        """A credential that may neither delete nor move the end of a lock: its refusals say nothing of the lock."""
        with S3Proxy(versity_bucket.store.endpoint) as proxy:
            proxy.on("DeleteObject", Reply(403, "AccessDenied"))
            proxy.on("PutObjectRetention", Reply(403, "AccessDenied"))
            spec = versity_bucket.spec(endpoint=proxy.endpoint, object_lock="governance", object_lock_days=1)
            found = open_repository("offsite", spec).capabilities("probe/")
        assert not found.object_lock
        assert "not proven" in dict(found.detail)["object_lock"]

    def test_a_store_that_is_out_of_order_is_not_taken_for_read_only(self, proxy: S3Proxy, repository: S3Repository) -> None:
        proxy.on("*", Reply(500))
        with pytest.raises(RepositoryError):
            repository.can_write("probe/")
        proxy.clear()
        proxy.on("PutObject", Reply(503, "SlowDown"))
        with pytest.raises(RepositoryError, match="slow down"):
            repository.can_write("probe/")

    def test_a_credential_that_is_refused_is_an_error_not_read_only(self, proxy: S3Proxy, repository: S3Repository) -> None:
        proxy.on("PutObject", Reply(403, "InvalidAccessKeyId"))
        with pytest.raises(AccessDenied, match="does not know the access key"):
            repository.can_write("probe/")


def with_header(name: str, value: str) -> Callable[[Answer], Answer]:
    def change(answer: Answer) -> Answer:
        return Answer(
            answer.status, [(found, value if found.lower() == name.lower() else old) for found, old in answer.headers], answer.body
        )

    return change


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
