# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad days of a store while WAL is archived: whatever it does, success means that the file is there, and once."""

from __future__ import annotations

import contextlib
import itertools
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError, RepositoryError, RepositoryStalled
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.archive import WalArchive
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.fetch import Fetcher, fetch_file, fetch_for_server
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import WalName
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.push import Pusher, push_file
from support.leaks import eventually
from support.logical import Identity
from support.s3proxy import BlackHole, Change, Cut, CutAnswer, Damage, Meanwhile, Reply, S3Proxy
from support.store_fixtures import Bucket
from support.wal import Place, RealWal

pytestmark = pytest.mark.usefixtures("no_ambient_aws", "short_pauses")

SHORT = {"connect_timeout": 0.3, "read_timeout": 0.5}


def assert_there_once(bucket: Bucket, wal: RealWal, name: str, keys: Identity, tmp_path: Path) -> None:
    """Seen from outside of the proxy: one object of this name, and it opens to the file."""
    with open_repository("direct", bucket.spec()) as repository:
        assert len(WalArchive(repository, "shop").find(name)) == 1
    assert fetch_file(name, tmp_path / "back", wal.job({"direct": bucket.spec()}, keys, tmp_path / "run"))
    assert (tmp_path / "back").read_bytes() == wal.read(name)


@pytest.mark.parametrize("last", [Cut(forward=True), Cut(), Damage()], ids=["done", "not done", "flipped"])
def test_the_store_dies_at_every_request_and_the_next_attempt_finds_what_it_left(
    wal18: RealWal, bucket: Bucket, proxy: S3Proxy, keys: Identity, tmp_path: Path, last: Any
) -> None:
    """It did what it was asked and never said so, or did not do it, and was gone: at the first request, the second, and so on."""
    name, deaths = wal18.segments[1], 0
    with contextlib.ExitStack() as stack:
        dying = stack.enter_context(Pusher(wal18.job({"here": bucket.spec(endpoint=proxy.endpoint)}, keys, tmp_path / "run")))
        back = stack.enter_context(Pusher(wal18.job({"here": bucket.spec()}, keys, tmp_path / "run")))
        fetcher = stack.enter_context(Fetcher(back.job))
        repositories = dying.required[0].repository, back.required[0].repository
        for step in itertools.count():
            # Each time another archive: a client's start is what takes long.
            dying.required, back.required = ([WalArchive(repository, f"shop{step}")] for repository in repositories)
            fetcher.archives = back.required
            proxy.clear()
            proxy.on("*", last, skip=step, times=1)
            proxy.on("*", Cut(), skip=step)
            try:
                dying.push(wal18.path(name))
                assert len(back.required[0].find(name)) == 1
            except RepositoryError:
                deaths += 1
            requests = len(proxy.requests)
            proxy.clear()
            back.push(wal18.path(name))
            assert len(back.required[0].find(name)) == 1
            assert fetcher.fetch(WalName.parse(name), tmp_path / "back")
            assert (tmp_path / "back").read_bytes() == wal18.read(name)
            if requests <= step:
                break
    assert deaths > 5


def test_an_answer_that_got_lost_is_not_taken_for_a_conflict(
    wal18: RealWal, bucket: Bucket, proxy: S3Proxy, keys: Identity, tmp_path: Path
) -> None:
    job = wal18.job({"here": bucket.spec(endpoint=proxy.endpoint)}, keys, tmp_path / "run")
    proxy.on("PutObject", Cut(forward=True), skip=1, times=1)
    assert push_file(wal18.path(wal18.segments[1]), job).stored == {"here": True}
    assert_there_once(bucket, wal18, wal18.segments[1], keys, tmp_path)


class TestLies:
    def test_a_store_that_says_yes_and_keeps_nothing(
        self, wal18: RealWal, bucket: Bucket, proxy: S3Proxy, keys: Identity, tmp_path: Path
    ) -> None:
        name = wal18.segments[1]
        with Pusher(wal18.job({"here": bucket.spec()}, keys, tmp_path / "run")) as direct:
            direct.push(wal18.path(wal18.segments[0]))
            archive = direct.required[0]

            def forget(answer: Any) -> Any:
                # A store may list late what it took.
                eventually(lambda: bool(archive.find(name)), "it is listed")
                for stored in archive.find(name):
                    archive.repository.delete(stored.key)
                return answer

            proxy.on("PutObject", Change(forget))
            with pytest.raises(RepositoryError):
                push_file(wal18.path(name), wal18.job({"here": bucket.spec(endpoint=proxy.endpoint)}, keys, tmp_path / "run"))

    def test_one_that_took_it_and_does_not_list_it(
        self, wal18: RealWal, bucket: Bucket, proxy: S3Proxy, keys: Identity, tmp_path: Path
    ) -> None:
        job = wal18.job({"here": bucket.spec(endpoint=proxy.endpoint)}, keys, tmp_path / "run")
        with Pusher(job) as pusher:
            pusher.push(wal18.path(wal18.segments[0]))
            empty = b"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>"
            proxy.on("ListObjectsV2", Reply(200, body=empty))
            with pytest.raises(RepositoryError, match=r"took .* and does not list it"):
                pusher.push(wal18.path(wal18.segments[1]))
            proxy.clear()
            assert pusher.push(wal18.path(wal18.segments[1])).stored == {"here": False}

    def test_another_content_that_arrives_between_looking_and_writing_is_told(
        self, wal18: RealWal, bucket: Bucket, proxy: S3Proxy, keys: Identity, tmp_path: Path
    ) -> None:
        other = wal18.copy(tmp_path / "other")
        name = other.segments[1]
        data = other.read(name)
        other.path(name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

        def meanwhile() -> None:
            push_file(other.path(name), other.job({"here": bucket.spec()}, keys, tmp_path / "run"))

        proxy.on("PutObject", Meanwhile(meanwhile, after=False), skip=1, times=1)
        job = wal18.job({"here": bucket.spec(endpoint=proxy.endpoint)}, keys, tmp_path / "run")
        with pytest.raises(LifeboatError, match="CONFLICT"):
            push_file(wal18.path(name), job)


class TestAway:
    @pytest.fixture
    def bucket(self, rclone_bucket: Bucket) -> Bucket:
        return rclone_bucket

    def test_a_black_hole_holds_nobody_up_for_longer_than_was_said(
        self, wal18: RealWal, place: Place, bucket: Bucket, proxy: S3Proxy, keys: Identity, tmp_path: Path
    ) -> None:
        proxy.on("*", BlackHole())
        # Long enough for the other one on a busy disk; the client itself would wait much longer.
        both = {"away": bucket.spec(endpoint=proxy.endpoint, read_timeout="20m"), "here": place.spec}
        job = wal18.job(both, keys, tmp_path / "run", stall_timeout="10s")
        began = time.monotonic()
        with pytest.raises(RepositoryStalled, match="'away' took nothing for 10 seconds") as caught:
            push_file(wal18.path(wal18.segments[1]), job)
        assert time.monotonic() - began < 300
        assert caught.value.result["stored"] == ["here"]
        assert place.opened(wal18.segments[1], keys) == wal18.read(wal18.segments[1])

    def test_an_optional_one_is_not_waited_for_and_then_left_alone_for_a_while(
        self, wal18: RealWal, place: Place, bucket: Bucket, proxy: S3Proxy, keys: Identity, tmp_path: Path
    ) -> None:
        proxy.on("*", BlackHole())
        both = {"away": bucket.spec(endpoint=proxy.endpoint, optional=True), "here": place.spec}
        job = wal18.job(both, keys, tmp_path / "run")
        began = time.monotonic()
        assert list(push_file(wal18.path(wal18.segments[0]), job).behind) == ["away"]
        assert time.monotonic() - began < 100  # what a required one is waited for
        asked = len(proxy.requests)
        for name in wal18.segments[1:4]:
            assert push_file(wal18.path(name), job).behind == {"away": "it was down a moment ago"}
        assert len(proxy.requests) == asked
        assert sorted(place.names()) == sorted(wal18.segments[:4])


class TestFetching:
    @pytest.fixture
    def bucket(self, rclone_bucket: Bucket) -> Bucket:
        return rclone_bucket

    @pytest.fixture
    def archived(self, wal18: RealWal, bucket: Bucket, keys: Identity, tmp_path: Path) -> str:
        name = wal18.segments[-1]
        push_file(wal18.path(name), wal18.job({"here": bucket.spec()}, keys, tmp_path / "run"))
        return name

    @pytest.mark.parametrize(
        ("operation", "fault"),
        [
            ("ListObjectsV2", Reply(503, "SlowDown")),
            ("ListObjectsV2", Cut(forward=True)),
            ("ListObjectsV2", Reply(403, "AccessDenied")),
            ("ListObjectsV2", Reply(404, "NoSuchBucket")),
            ("ListObjectsV2", Reply(200, body=b"<html>a portal</html>")),
            ("GetObject", Reply(500)),
            ("GetObject", Reply(404, "NoSuchKey")),
            ("GetObject", CutAnswer(0)),
            ("GetObject", BlackHole()),
        ],
        ids=["busy", "cut", "denied", "no bucket", "portal", "broken", "gone", "cut midway", "black hole"],
    )
    def test_no_fault_of_the_store_is_the_end_of_the_log(
        self, wal18: RealWal, archived: str, bucket: Bucket, proxy: S3Proxy, keys: Identity, tmp_path: Path, operation: str, fault: Any
    ) -> None:
        proxy.on(operation, fault)
        job = wal18.job({"here": bucket.spec(endpoint=proxy.endpoint, **SHORT)}, keys, tmp_path / "run")
        target, said = tmp_path / "RECOVERYXLOG", list[str]()
        assert fetch_for_server(archived, str(target), lambda: job, said.append) == 126
        assert said
        assert fetch_for_server(archived, str(target), lambda: job, said.append, in_standby=True) == 1
        assert not target.exists()

    def test_a_cut_that_passes_is_not_noticed(
        self, wal18: RealWal, archived: str, bucket: Bucket, proxy: S3Proxy, keys: Identity, tmp_path: Path
    ) -> None:
        proxy.on("GetObject", CutAnswer(1000), times=1)
        proxy.on("ListObjectsV2", Reply(503), times=1)
        job = wal18.job({"here": bucket.spec(endpoint=proxy.endpoint)}, keys, tmp_path / "run")
        assert fetch_file(archived, tmp_path / "back", job)
        assert (tmp_path / "back").read_bytes() == wal18.read(archived)
