# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory as a repository: names, modes, and what is listed. (tests/faults/repository has its bad days.)"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ObjectExists, RepositoryError, UnsafeName
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix import PosixRepository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix_upload import TEMPORARY_PREFIX
from support.leaks import open_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def repository(root: Path) -> PosixRepository:
    return PosixRepository("here", str(root))


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277])
def test_modes_do_not_depend_on_the_umask(repository: PosixRepository, root: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        repository.put("shop/database/x", b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / "shop" / "database" / "x").stat().st_mode) == 0o600
    assert [stat.S_IMODE((root / name).stat().st_mode) for name in ("shop", "shop/database")] == [0o700, 0o700]


def test_an_unfinished_upload_lies_hidden_beside_its_place(repository: PosixRepository, root: Path) -> None:
    upload = repository.start_upload("shop/a")
    upload.write(b"1")
    (unfinished,) = (root / "shop").iterdir()
    assert unfinished.name.startswith(TEMPORARY_PREFIX)
    assert stat.S_IMODE(unfinished.stat().st_mode) == 0o600
    assert list(repository.list()) == []
    upload.confirm()
    upload.publish()
    assert os.listdir(root / "shop") == ["a"]


def test_what_a_killed_run_left_is_nobodys(repository: PosixRepository, root: Path) -> None:
    (root / "shop").mkdir()
    (root / "shop" / f"{TEMPORARY_PREFIX}0123").write_bytes(b"half")
    assert list(repository.list()) == []
    with pytest.raises(UnsafeName):
        repository.read(f"shop/{TEMPORARY_PREFIX}0123")


def test_lists_only_what_can_be_an_object(repository: PosixRepository, root: Path) -> None:
    repository.put("shop/a", b"1")
    (root / "lost+found").mkdir(mode=0o000)
    (root / ".snapshot").mkdir()
    (root / ".snapshot" / "old").touch()
    (root / "shop" / "new\nline").touch()
    (root / "shop" / os.fsdecode(b"not-utf8-\xff")).touch()
    os.mkfifo(root / "shop" / "pipe")
    assert [found.key for found in repository.list()] == ["shop/a"]


def test_removes_the_directories_that_it_emptied_and_no_others(repository: PosixRepository, root: Path) -> None:
    repository.put("shop/one/a", b"1")
    repository.put("shop/two/b", b"1")
    repository.delete("shop/one/a")
    assert sorted(os.listdir(root / "shop")) == ["two"]
    repository.start_upload("other/deep/c").abort()
    assert os.listdir(root) == ["shop"]
    repository.delete("shop/two/b")
    assert root.exists()
    assert os.listdir(root) == []


def test_holds_no_file_open_once_an_upload_is_confirmed(repository: PosixRepository) -> None:
    before = open_files()

    def opened() -> dict[int, str]:
        # Only what is new: a thread that an earlier test left behind may close what is its own.
        return {number: target for number, target in open_files().items() if before.get(number) != target}

    uploads = [repository.start_upload(f"shop/volume.{number:03d}") for number in range(50)]
    for upload in uploads:
        upload.write(b"1")
        upload.confirm()
    assert opened() == {}
    for upload in uploads:
        upload.publish()
    with repository.open("shop/volume.007") as stream:
        assert stream.read() == b"1"
    assert len(list(repository.list())) == 50
    assert opened() == {}


def test_a_file_where_a_directory_is_needed(repository: PosixRepository, root: Path) -> None:
    repository.put("shop", b"1")
    with pytest.raises(RepositoryError, match="a file lies where"):
        repository.put("shop/a", b"1")
    assert repository.stat("shop/a") is None
    assert list(repository.list("shop/")) == []
    repository.put("other/a", b"1")
    with pytest.raises(ObjectExists):
        repository.put("other", b"1")


def test_a_name_that_is_too_long_says_so(repository: PosixRepository) -> None:
    with pytest.raises(RepositoryError, match="Shorten the name"):
        repository.put("x" * 300, b"1")


def test_trying_to_write_does_not_depend_on_a_folder_that_is_there(repository: PosixRepository, root: Path) -> None:
    assert repository.can_write("shop/probe/")
    assert repository.capabilities("shop/probe/").no_clobber
    assert os.listdir(root) == []


def test_opened_read_only_it_answers_without_trying(root: Path) -> None:
    repository = PosixRepository("here", str(root / "not-even-there"), read_only=True)
    assert repository.can_write("probe/") is False
    found = repository.capabilities("probe/")
    assert found.read_only is True
    assert not found.no_clobber


def test_an_object_that_is_flushed_on_the_way_stays_whole(repository: PosixRepository) -> None:
    piece = os.urandom(1_234_567)
    upload = repository.start_upload("shop/a")
    for _ in range(40):
        upload.write(piece)
    upload.confirm()
    assert upload.publish().size_bytes == 40 * len(piece)
    with repository.open("shop/a") as stream:
        for _ in range(40):
            assert stream.read(len(piece)) == piece
        assert stream.read(1) == b""


@pytest.mark.parametrize("at_once", [1, 2, 3, 7])
def test_a_directory_that_is_read_in_parts_is_listed_whole_and_in_the_order_of_keys(
    repository: PosixRepository, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    keys = ["a", "a-b", "a.b/c", "ab/1", "ab/2", "ab/2x/3", "ab0", "b", "ü/1", "z" * 200]
    for key in keys:
        repository.put(key, b"x")
    module = "ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix"
    monkeypatch.setattr(f"{module}._NAMES_AT_ONCE", at_once)
    monkeypatch.setattr(f"{module}._FACTS_AT_ONCE", 2)
    assert [info.key for info in repository.list()] == sorted(keys, key=str.encode)
    assert [info.key for info in repository.list("a")] == sorted((key for key in keys if key.startswith("a")), key=str.encode)
    assert [info.key for info in repository.list("ab/2")] == ["ab/2", "ab/2x/3"]
