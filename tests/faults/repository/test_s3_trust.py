# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is believed of an S3 store: reading never ends early nor joins two objects, and storing is confirmed or read back."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import AccessDenied, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import s3_upload
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3 import S3Repository
from support.s3proxy import Answer, BlackHole, Change, CutAnswer, Reply, S3Proxy
from support.store_fixtures import Bucket

pytestmark = pytest.mark.usefixtures("no_ambient_aws", "short_pauses")

MIB = 1024 * 1024
SMALL = b"a small object"
LARGE = os.urandom(6 * MIB)
"""Two parts."""


def put_both(repository: S3Repository) -> None:
    repository.put("small", SMALL)
    repository.put("large", LARGE)


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
        repository = open_repository("offsite", bucket.spec(endpoint=proxy.endpoint, read_timeout=600, max_threads=1))
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
        writer.join(120)
        assert time.monotonic() - started < 120
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
        assert time.monotonic() - started < 50  # its own patience is longer


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
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
