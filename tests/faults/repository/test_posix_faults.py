# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad days of a directory: a full or read-only disk, a refusing kernel, a hand that plants links, other runs beside."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    ObjectExists,
    ObjectMissing,
    RepositoryError,
    UnsafeName,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import posix_place
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix import PosixRepository

MIB = 1024 * 1024

PROGRAM_HEAD = """
import os, subprocess, sys
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import AccessDenied, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix import PosixRepository
root = sys.argv[1]
repository = PosixRepository("here", root)

def fault_of(use):
    try:
        use()
    except RepositoryError as error:
        return error
    raise SystemExit("no fault")

def files():
    return sorted(os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(root) for name in names)
"""


@pytest.fixture
def repository(tmp_path: Path) -> PosixRepository:
    root = tmp_path / "root"
    root.mkdir()
    return PosixRepository("here", str(root))


def run_program(program: str, root: Path, *, mounts: bool = False) -> None:
    """Run a test's program in a process of its own, which may mount where nobody else sees it."""
    argv = [sys.executable, "-c", PROGRAM_HEAD + program, str(root)]
    if mounts:
        apart = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
        if subprocess.run([*apart, "mount", "-t", "tmpfs", "tmpfs", str(root)], capture_output=True).returncode != 0:
            pytest.skip("this user cannot mount anything here")
        argv = [*apart, *argv]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.needs("program:unshare")
def test_a_full_disk_leaves_nothing_visible_and_says_what_to_do(tmp_path: Path) -> None:
    program = """
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", root], check=True)
repository.put("shop/small", b"before")
error = fault_of(lambda: repository.put("shop/large", b"x" * 2_000_000))
assert "no space left" in str(error) and "Free space" in str(error), error
assert [found.key for found in repository.list()] == ["shop/small"]
assert files() == ["shop/small"], files()
upload = repository.start_upload("shop/large")
fault_of(lambda: [upload.write(b"x" * 100_000) for _ in range(20)])
assert [found.key for found in repository.list()] == ["shop/small"]
upload.abort()
repository.put("shop/after", b"after")
assert files() == ["shop/after", "shop/small"]
"""
    run_program(program, tmp_path, mounts=True)


@pytest.mark.needs("program:unshare")
def test_a_disk_that_is_mounted_read_only_is_named_and_cannot_be_written(tmp_path: Path) -> None:
    program = """
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", root], check=True)
repository.put("shop/before", b"before")
subprocess.run(["mount", "-o", "remount,ro", root], check=True)
error = fault_of(lambda: repository.put("shop/after", b"after"))
assert isinstance(error, AccessDenied) and "mounted read-only" in str(error), error
assert isinstance(fault_of(lambda: repository.delete("shop/before")), AccessDenied)
assert repository.can_write("probe/") is False
assert repository.capabilities("probe/").read_only is True
assert repository.read("shop/before") == b"before"
"""
    run_program(program, tmp_path, mounts=True)


def test_a_user_without_the_right_is_told_so_and_cannot_write(tmp_path: Path) -> None:
    program = """
repository.put("shop/before", b"before")
for folder, mode in ((root + "/shop/before", 0o444), (root + "/shop", 0o555), (root, 0o555)):
    os.chmod(folder, mode)
os.chdir(root)
repository.root = "."
if os.geteuid() == 0:  # to root nothing is forbidden
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
error = fault_of(lambda: repository.put("shop/after", b"after"))
assert isinstance(error, AccessDenied) and "owner, mode 0700" in str(error), error
assert repository.can_write("probe/") is False
assert repository.read("shop/before") == b"before"
"""
    run_program(program, tmp_path)


def test_a_root_that_is_not_there_is_never_made(tmp_path: Path) -> None:
    """As when the disk that holds it is not mounted."""
    repository = PosixRepository("here", str(tmp_path / "disk" / "backups"))
    (tmp_path / "disk").mkdir()
    for use in (
        lambda: repository.put("a", b"1"),
        lambda: list(repository.list()),
        lambda: repository.stat("a"),
        lambda: repository.can_write("p"),
    ):
        with pytest.raises(RepositoryError, match=r"does not exist .*Mount the disk"):
            use()
    assert list((tmp_path / "disk").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(RepositoryError, match="not a directory"):
        PosixRepository("here", str(tmp_path / "file")).put("a", b"1")


class TestLinks:
    """A link inside the repository is never followed: not to write, not to read, not to delete, not to list."""

    @pytest.fixture
    def outside(self, tmp_path: Path) -> Path:
        folder = tmp_path / "outside"
        folder.mkdir()
        (folder / "secret").write_text("secret")
        return folder

    def test_a_linked_directory(self, repository: PosixRepository, outside: Path) -> None:
        (Path(repository.root) / "shop").symlink_to(outside)
        uses: list[Callable[[], Any]] = [
            lambda: repository.put("shop/new", b"1"),
            lambda: repository.put("shop/deeper/new", b"1"),
            lambda: repository.read("shop/secret"),
            lambda: repository.stat("shop/secret"),
            lambda: repository.delete("shop/secret"),
            lambda: list(repository.list("shop/")),
            lambda: list(repository.list()),
        ]
        for use in uses:
            with pytest.raises(UnsafeName, match=r"symbolic link .*shop"):
                use()
        assert [path.name for path in outside.iterdir()] == ["secret"]

    def test_a_linked_file(self, repository: PosixRepository, outside: Path) -> None:
        repository.put("shop/there", b"1")
        (Path(repository.root) / "shop" / "link").symlink_to(outside / "secret")
        for use in (lambda: repository.read("shop/link"), lambda: repository.stat("shop/link"), lambda: list(repository.list())):
            with pytest.raises(UnsafeName, match="symbolic link"):
                use()
        with pytest.raises(ObjectExists):
            repository.put("shop/link", b"1")
        assert (outside / "secret").read_text() == "secret"

    def test_a_link_that_appears_between_two_calls(self, repository: PosixRepository, outside: Path) -> None:
        upload = repository.start_upload("shop/new")
        upload.write(b"1")
        upload.confirm()
        shop = Path(repository.root) / "shop"
        shop.rename(shop.with_name("moved"))
        shop.symlink_to(outside)
        with pytest.raises(UnsafeName):
            upload.publish()
        upload.abort()
        assert [path.name for path in outside.iterdir()] == ["secret"]

    def test_the_root_itself_may_be_one(self, repository: PosixRepository, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(repository.root)
        PosixRepository("here", str(tmp_path / "link")).put("a", b"1")
        assert repository.read("a") == b"1"


class TestFallbacks:
    """File systems without hard links, and kernels without renameat2, on a real directory that refuses on purpose."""

    def test_a_rename_that_does_not_replace(self, repository: PosixRepository, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "link", refuse(errno.EPERM))
        self.check(repository, no_clobber=True)

    def test_a_check_under_a_lock(self, repository: PosixRepository, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "link", refuse(errno.EOPNOTSUPP))
        monkeypatch.setattr(posix_place, "_by_rename", refuse(errno.EINVAL))
        self.check(repository, no_clobber=False)

    def check(self, repository: PosixRepository, no_clobber: bool) -> None:
        repository.put("shop/a", b"first")
        with pytest.raises(ObjectExists):
            repository.put("shop/a", b"second")
        assert repository.read("shop/a") == b"first"
        assert os.listdir(os.path.join(repository.root, "shop")) == ["a"]
        assert repository.capabilities("probe/").no_clobber is no_clobber

    def test_a_link_whose_answer_got_lost_is_recognised(self, repository: PosixRepository, monkeypatch: pytest.MonkeyPatch) -> None:
        """NFS: the request is repeated, and finds what it made itself."""
        real = os.link

        def link(*arguments: Any, **named: Any) -> None:
            real(*arguments, **named)
            raise FileExistsError(errno.EEXIST, "by the test")

        monkeypatch.setattr(os, "link", link)
        repository.put("shop/a", b"first")
        assert repository.read("shop/a") == b"first"
        monkeypatch.undo()
        with pytest.raises(ObjectExists):
            repository.put("shop/a", b"second")


class TestRefusals:
    """What the kernel says no to in the middle: no half-made object, and the reason."""

    def test_a_content_that_cannot_be_synced(self, repository: PosixRepository, monkeypatch: pytest.MonkeyPatch) -> None:
        upload = repository.start_upload("a")
        upload.write(b"1")
        monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
        with pytest.raises(RepositoryError, match="kernel's log"):
            upload.confirm()
        upload.abort()
        assert os.listdir(repository.root) == []

    def test_a_name_that_cannot_be_synced_is_taken_back(self, repository: PosixRepository, monkeypatch: pytest.MonkeyPatch) -> None:
        upload = repository.start_upload("a")
        upload.write(b"1")
        upload.confirm()
        monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
        with pytest.raises(RepositoryError, match="kernel's log"):
            upload.publish()
        assert repository.stat("a") is None

    def test_a_directory_that_knows_no_sync_is_let_off(self, repository: PosixRepository, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.fsync
        monkeypatch.setattr(os, "fsync", lambda descriptor: real(descriptor) if not is_directory(descriptor) else refuse(errno.EINVAL)())
        repository.put("shop/a", b"1")

    def test_a_write_that_takes_less_than_it_was_given(self, repository: PosixRepository, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.write
        monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[: max(1, len(data) // 3)]))
        repository.put("a", bytes(range(256)) * 100)
        assert repository.read("a") == bytes(range(256)) * 100

    def test_a_file_that_something_else_cut_is_not_published(self, repository: PosixRepository) -> None:
        upload = repository.start_upload("a")
        upload.write(b"12345")
        (unfinished,) = Path(repository.root).iterdir()
        os.truncate(unfinished, 3)
        with pytest.raises(RepositoryError, match="5 bytes were written, 3 are there"):
            upload.confirm()

    def test_an_object_that_is_cut_while_it_is_read(self, repository: PosixRepository) -> None:
        repository.put("a", os.urandom(4 * MIB))
        with repository.open("a") as stream:
            stream.read(MIB)
            os.truncate(os.path.join(repository.root, "a"), 2 * MIB)
            with pytest.raises(RepositoryError, match="bytes early"):
                stream.read()

    def test_a_pipe_of_that_name_does_not_hang_the_reader(self, repository: PosixRepository) -> None:
        os.mkfifo(os.path.join(repository.root, "a"))
        with pytest.raises(ObjectMissing):
            repository.open("a")
        assert repository.stat("a") is None
        assert list(repository.list()) == []

    def test_an_abort_does_not_pull_the_file_away_from_under_a_hanging_write(
        self, repository: PosixRepository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As on a dead NFS mount: a descriptor that was closed and used again would take the bytes into another file."""
        hangs, goes_on = threading.Event(), threading.Event()
        real = os.write

        def write(descriptor: int, data: bytes) -> int:
            hangs.set()
            goes_on.wait(120)
            return real(descriptor, data)

        upload = repository.start_upload("a")
        monkeypatch.setattr(os, "write", write)
        writer = threading.Thread(target=upload.write, args=(b"x" * 10,))
        writer.start()
        assert hangs.wait(120)
        aborter = threading.Thread(target=upload.abort)
        aborter.start()
        other = os.open(os.path.join(repository.root, "other"), os.O_WRONLY | os.O_CREAT, 0o600)
        goes_on.set()
        writer.join(120)
        aborter.join(120)
        assert os.fstat(other).st_size == 0
        os.close(other)
        assert os.listdir(repository.root) == ["other"]


def test_runs_that_write_and_delete_in_one_directory_do_not_disturb_each_other(repository: PosixRepository) -> None:
    """A directory goes when it is empty, and may do so at the very moment in which another run needs it."""
    faults: list[BaseException] = []
    ends = time.monotonic() + 2

    def work(number: int) -> None:
        try:
            while time.monotonic() < ends:
                repository.put(f"shop/deep/{number}", b"1")
                repository.delete(f"shop/deep/{number}")
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert os.listdir(repository.root) == []


def refuse(code: int) -> Callable[..., Any]:
    def call(*_arguments: Any, **_named: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return call


def is_directory(descriptor: int) -> bool:
    return os.path.isdir(f"/proc/self/fd/{descriptor}")
