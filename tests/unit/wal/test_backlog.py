# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits to be archived, as the status directory tells."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal import backlog
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.status import Status, status_file


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / backlog.STATUS_DIR).mkdir(parents=True)
    return tmp_path


def ready(data: Path, name: str, age_seconds: float = 0.0, size_bytes: int = 0) -> None:
    marker = data / backlog.STATUS_DIR / f"{name}.ready"
    marker.touch()
    os.utime(marker, (time.time() - age_seconds,) * 2)
    (data / backlog.WAL_DIR / name).write_bytes(b"x" * size_bytes)


def test_nothing_waits(data: Path) -> None:
    (data / backlog.STATUS_DIR / "000000010000000000000001.done").touch()
    assert backlog.look(data) == backlog.Backlog(0, 0, "", 0.0, ())


def test_histories_come_first_and_segments_in_their_order(data: Path) -> None:
    for name in ("000000020000000000000003", "00000002.history", "000000010000000000000004", "000000010000000000000002.00000028.backup"):
        ready(data, name)
    assert backlog.look(data).names == (
        "00000002.history", "000000010000000000000002.00000028.backup", "000000010000000000000004", "000000020000000000000003",
    )  # fmt: skip


def test_the_age_is_that_of_the_oldest_and_the_bytes_are_those_of_segments(data: Path) -> None:
    ready(data, "000000010000000000000001", 5, 4096)
    ready(data, "000000010000000000000002", 90, 4096)
    ready(data, "00000002.history", 1, 10)
    found = backlog.look(data)
    assert (found.count, found.size_bytes, found.oldest) == (3, 3 * 4096, "000000010000000000000002")
    assert 89 < found.oldest_seconds < 1000


def test_of_a_long_list_few_names_are_held(data: Path) -> None:
    for number in range(2000):
        (data / backlog.STATUS_DIR / f"0000000100000000{number:08X}.ready").touch()
    found = backlog.look(data)
    assert found.count == 2000
    assert len(found.names) == backlog.AHEAD
    assert found.names[-1] == f"0000000100000000{backlog.AHEAD - 1:08X}"


def test_the_status_file_says_what_waits_and_whether_that_is_trouble(tmp_path: Path) -> None:
    status = Status(status_file(tmp_path, "a/b"), "a/b", 4242, 60)
    status.failed("000000010000000000000001", "the store is down.")
    status.write(backlog.Backlog(3, 300, "000000010000000000000001", 59.0, ()))
    document = json.loads((tmp_path / "a%2Fb.json").read_text())
    assert document["trouble"] == ""
    status.write(backlog.Backlog(3, 300, "000000010000000000000001", 61.0, ()))
    document = json.loads((tmp_path / "a%2Fb.json").read_text())
    assert document["trouble"] == (
        "WAL of system 'a/b' is not being archived: 3 files, 300 bytes, 000000010000000000000001 for 61 seconds: the store is down."
    )
    status.archived("000000010000000000000001")
    status.write(backlog.Backlog(0, 0, "", 0.0, ()))
    document = json.loads((tmp_path / "a%2Fb.json").read_text())
    assert (document["trouble"], document["failure"], document["archived"]["name"]) == ("", None, "000000010000000000000001")
    assert [path.name for path in tmp_path.iterdir()] == ["a%2Fb.json"]
