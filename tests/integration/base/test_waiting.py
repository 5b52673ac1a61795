# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for the log of a base backup: few segments and many, one that comes late, one that is there twice."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_wal import wait_for_segments
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, WalConflict
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import wal_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.archive import StoredWal, WalArchive
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import segment_name
from support.logical import posix

NAMES = [segment_name(1, number, 16 * 1024 * 1024) for number in range(60)]


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with open_repository("here", posix(tmp_path / "here")) as opened:
        yield opened


def put(repository: Repository, name: str, content: bytes = b"x") -> None:
    repository.put(wal_key("shop", name, hashlib.sha256(content).hexdigest(), ".zst.age"), content)


@pytest.mark.parametrize("count", [3, 60])
def test_it_returns_when_the_last_one_has_come(repository: Repository, count: int) -> None:
    for name in NAMES[: count - 1]:
        put(repository, name)

    looked = threading.Event()

    class Archive(WalArchive):
        def find(self, name: str) -> list[StoredWal]:
            found = super().find(name)
            if not found:
                looked.set()
            return found

        def names(self, timeline: int | None = None) -> Iterator[StoredWal]:
            yield from super().names(timeline)
            looked.set()

    def late() -> None:
        looked.wait(120)
        put(repository, NAMES[count - 1])

    writer = threading.Thread(target=late)
    writer.start()
    waited = wait_for_segments({"here": Archive(repository, "shop")}, NAMES[:count], 120)
    writer.join()
    assert 0 < waited < 120


@pytest.mark.parametrize("count", [3, 60])
def test_what_does_not_come_is_named_with_what_the_server_says(repository: Repository, count: int) -> None:
    for name in NAMES[1 : count - 1]:
        put(repository, name)
    with pytest.raises(ArchiveError, match=rf"{NAMES[0]} and 1 more segment is missing") as caught:
        wait_for_segments({"here": WalArchive(repository, "shop")}, NAMES[:count], 0.1, lambda: "the archiver sleeps")
    assert "the archiver sleeps" in str(caught.value)


@pytest.mark.parametrize("count", [3, 60])
def test_one_that_is_there_twice_with_different_content_ends_it_at_once(repository: Repository, count: int) -> None:
    for name in NAMES[:count]:
        put(repository, name)
    put(repository, NAMES[1], b"another")
    with pytest.raises(WalConflict, match=f"holds {NAMES[1]} 2 times"):
        wait_for_segments({"here": WalArchive(repository, "shop")}, NAMES[:count], 30)
