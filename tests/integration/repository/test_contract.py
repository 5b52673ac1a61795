# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every kind of repository promises (base.py), asked of each over a real place."""

from __future__ import annotations

import datetime as dt
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    AccessDenied,
    ObjectExists,
    ObjectMissing,
    RepositoryError,
    UnsafeName,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository

MIB = 1024 * 1024
KEY = "shop/database/shop/20261121T031500Z-1a2b3c4d/database.dump.zst.age"


@pytest.fixture
def repository(spec: Mapping[str, Any]) -> Iterator[Repository]:
    with open_repository("offsite", spec) as found:
        yield found


def keys(repository: Repository, prefix: str = "") -> list[str]:
    return [found.key for found in repository.list(prefix)]


@pytest.mark.parametrize("size", [0, 1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 10 * MIB, 12 * MIB + 7])
def test_gives_back_what_was_put(repository: Repository, size: int) -> None:
    data = os.urandom(size)
    upload = repository.start_upload(KEY)
    for start in range(0, size, MIB):
        upload.write(data[start : start + MIB])
    upload.confirm()
    stored = upload.publish()
    assert (stored.key, stored.size_bytes) == (KEY, size)
    with repository.open(KEY) as stream:
        assert stream.read() == data
    found = repository.stat(KEY)
    assert found is not None
    assert found.size_bytes == size
    assert found.modified is not None
    assert abs(found.modified - dt.datetime.now(dt.timezone.utc)) < dt.timedelta(minutes=10)


@pytest.mark.parametrize("size", [3, 11 * MIB])
def test_shows_nothing_before_publish(repository: Repository, size: int) -> None:
    upload = repository.start_upload(KEY)
    upload.write(b"x" * size)
    assert keys(repository) == []
    upload.confirm()
    assert keys(repository) == []
    assert repository.stat(KEY) is None
    with pytest.raises(ObjectMissing):
        repository.open(KEY)
    upload.publish()
    assert keys(repository) == [KEY]


@pytest.mark.parametrize("size", [3, 11 * MIB])
def test_shows_nothing_after_abort(repository: Repository, size: int) -> None:
    for confirmed in (False, True):
        upload = repository.start_upload(KEY)
        upload.write(b"x" * size)
        if confirmed:
            upload.confirm()
        upload.abort()
        upload.abort()
        assert keys(repository) == []
        for use in (lambda upload=upload: upload.write(b"more"), upload.confirm, upload.publish):
            with pytest.raises(RepositoryError):
                use()
        assert keys(repository) == []
    assert repository.put(KEY, b"whole").size_bytes == 5


def test_an_abort_after_publish_takes_nothing_away(repository: Repository) -> None:
    upload = repository.start_upload(KEY)
    upload.write(b"whole")
    upload.confirm()
    upload.publish()
    upload.abort()
    assert repository.read(KEY) == b"whole"


@pytest.mark.parametrize("size", [3, 11 * MIB])
def test_never_replaces_an_object(repository: Repository, size: int) -> None:
    upload = repository.start_upload(KEY)
    upload.write(b"x" * size)
    upload.confirm()
    repository.put(KEY, b"first")
    with pytest.raises(ObjectExists):
        upload.publish()
    upload.abort()
    with pytest.raises(ObjectExists):
        repository.put(KEY, b"third")
    assert repository.read(KEY) == b"first"


def test_says_what_is_missing(repository: Repository) -> None:
    assert repository.stat("nothing/here") is None
    assert keys(repository, "nothing/") == []
    with pytest.raises(ObjectMissing):
        repository.open("nothing/here")
    with pytest.raises(ObjectMissing):
        repository.delete("nothing/here")


def test_deletes_one_object(repository: Repository) -> None:
    repository.put("shop/a/one", b"1")
    repository.put("shop/a/two", b"2")
    repository.delete("shop/a/one")
    assert keys(repository) == ["shop/a/two"]
    assert repository.stat("shop/a/one") is None
    with pytest.raises(ObjectMissing):
        repository.open("shop/a/one")


def test_lists_by_prefix_in_key_order(repository: Repository) -> None:
    names = ["a", "a-b", "a/b", "a/c/d", "a0", "shop%20x/z", "shop/manifests/database/x/1.json", "shop/manifests/databases.json", "Z"]
    for name in ("a-b", "a0", "shop%20x/z", "shop/manifests/database/x/1.json", "shop/manifests/databases.json", "Z", "b/c/d", "b/b"):
        repository.put(name, name.encode())
    expected = sorted(set(names) - {"a", "a/b", "a/c/d"} | {"b/c/d", "b/b"}, key=str.encode)
    assert keys(repository) == expected
    assert keys(repository, "shop/manifests/database") == ["shop/manifests/database/x/1.json", "shop/manifests/databases.json"]
    assert keys(repository, "shop/manifests/database/") == ["shop/manifests/database/x/1.json"]
    assert [found.size_bytes for found in repository.list("Z")] == [1]


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/./b", "a/", "new\nline", "nul\0", "bell\a", "back\\slash", "x" * 901]
)
def test_refuses_hostile_keys(repository: Repository, key: str) -> None:
    for use in (repository.start_upload, repository.open, repository.stat, repository.delete):
        with pytest.raises(UnsafeName):
            use(key)
    if key not in ("", "a/"):
        with pytest.raises(UnsafeName):
            list(repository.list(key))
    assert keys(repository) == []


def test_opened_read_only_it_writes_nothing(spec: Mapping[str, Any]) -> None:
    with open_repository("offsite", spec) as writer:
        writer.put(KEY, b"whole")
    with open_repository("offsite", spec, read_only=True) as reader:
        with pytest.raises(AccessDenied, match="read-only"):
            reader.start_upload("other")
        with pytest.raises(AccessDenied, match="read-only"):
            reader.delete(KEY)
        assert reader.read(KEY) == b"whole"
        assert keys(reader) == [KEY]


def test_trying_to_write_leaves_nothing_behind(repository: Repository) -> None:
    assert repository.can_write("shop/probe/") is True
    assert keys(repository) == []


def test_refuses_to_read_a_large_object_into_memory(repository: Repository) -> None:
    repository.put(KEY, b"x" * 100)
    with pytest.raises(RepositoryError, match="larger than 99"):
        repository.read(KEY, limit_bytes=99)


def test_serves_several_threads_at_once(repository: Repository) -> None:
    contents = {f"shop/t/{number}": os.urandom(6 * MIB + number) for number in range(4)}
    faults: list[BaseException] = []

    def work(key: str, data: bytes) -> None:
        try:
            repository.put(key, data)
            assert repository.read(key) == data
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=item) for item in contents.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert keys(repository) == sorted(contents)


def test_of_many_writers_of_one_key_one_wins(repository: Repository) -> None:
    """Where the store has no conditions (rclone) two may both believe so: then what is there must be one of them, whole."""
    uploads = []
    for number in range(4):
        upload = repository.start_upload(KEY)
        upload.write(bytes([number]) * 1000)
        upload.confirm()
        uploads.append(upload)
    won: list[int] = []
    lost: list[int] = []

    def publish(number: int) -> None:
        try:
            uploads[number].publish()
            won.append(number)
        except RepositoryError:
            lost.append(number)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) + len(lost) == 4
    content = repository.read(KEY)
    assert content in {bytes([number]) * 1000 for number in won}
    if repository.capabilities("shop/probe/").no_clobber:
        assert len(won) == 1


def test_describes_its_place_without_a_credential(repository: Repository) -> None:
    text = str(repository.description())
    assert repository.type in text
    assert "secret" not in text.lower()
    assert "lifeboattest" not in text
