# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad days of a directory behind SFTP: the server dies, the line is cut or goes silent, the disk is full."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ObjectExists, RepositoryError, RepositoryStalled
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import sftp_publish, sftp_upload
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp import SftpRepository
from support.leaks import leaves_nothing
from support.sshd import Line, SftpServer, sshd

MIB = 1024 * 1024


@pytest.fixture
def line(sftp_server: SftpServer) -> Iterator[Line]:
    with Line(sftp_server.port) as line:
        yield line


@pytest.fixture
def repository(sftp_server: SftpServer, sftp_place: Path, line: Line) -> Iterator[SftpRepository]:
    """It reaches the server by the line only."""
    with open_repository("vault", sftp_server.spec(sftp_place, port=line.port)) as found:
        assert isinstance(found, SftpRepository)
        yield found


def files(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file() and not path.name.startswith("."))


def test_a_server_that_dies_in_an_upload_leaves_nothing_that_looks_like_an_object(sftp_server: SftpServer, sftp_place: Path) -> None:
    with leaves_nothing(), open_repository("vault", sftp_server.spec(sftp_place)) as repository:
        upload = repository.start_upload("shop/x")
        upload.write(b"x" * MIB)
        sftp_server.end_connections()
        with pytest.raises(RepositoryError, match="the connection to the server broke"):
            for _time in range(100):
                upload.write(b"x" * MIB)
        upload.abort()
        assert list(repository.list()) == []
        # The connection to abort with was made anew, so nothing is left for a pruner.
        assert list(repository.leftovers("shop/")) == []
        assert repository.put("shop/x", b"whole").size_bytes == 5
        assert repository.read("shop/x") == b"whole"
    assert files(sftp_place) == ["shop/x"]


@pytest.mark.parametrize("after", [200_000, 3_000_000, 7_000_000])
def test_a_line_that_is_cut_in_an_upload(repository: SftpRepository, line: Line, sftp_place: Path, after: int) -> None:
    repository.put("shop/before", b"x")
    line.cut_after = after
    upload = repository.start_upload("shop/x")
    with pytest.raises(RepositoryError, match="the connection to the server broke"):
        for _time in range(100):
            upload.write(os.urandom(MIB))
    upload.abort()
    upload.abort()
    assert [found.key for found in repository.list()] == ["shop/before"]
    assert list(repository.leftovers("shop/")) == []


@pytest.mark.parametrize("after", [100_000, 5_000_000])
def test_reading_goes_on_where_the_line_was_cut(repository: SftpRepository, line: Line, after: int) -> None:
    data = os.urandom(8 * MIB + 1)
    repository.put("shop/x", data)
    line.cut_back_after = after
    repository.close()
    assert repository.read("shop/x") == data
    assert line.connections >= 3


def test_an_object_that_becomes_another_one_while_it_is_read_is_an_error(repository: SftpRepository, line: Line, sftp_place: Path) -> None:
    repository.put("shop/x", os.urandom(8 * MIB))
    with repository.open("shop/x") as stream:
        stream.read(10)
        line.cut()
        (sftp_place / "shop/x").write_bytes(b"another one, and shorter")
        with pytest.raises(RepositoryError, match=r"became another one|ended early"):
            stream.read()


def test_an_object_that_is_cut_while_it_is_read_is_an_error(repository: SftpRepository, sftp_place: Path) -> None:
    repository.put("shop/x", os.urandom(40 * MIB))
    with repository.open("shop/x") as stream:
        stream.read(10)
        os.truncate(sftp_place / "shop/x", 30 * MIB)
        with pytest.raises(RepositoryError, match="ended early, at byte 31457280 of 41943040"):
            while stream.read(MIB):
                pass


def test_a_connection_that_ended_while_nobody_used_it_is_made_again(
    repository: SftpRepository, line: Line, sftp_server: SftpServer
) -> None:
    repository.put("shop/x", b"x")
    line.cut()
    assert repository.read("shop/x") == b"x"
    sftp_server.end_connections()
    assert repository.stat("shop/x") is not None
    sftp_server.end_connections()
    assert [found.key for found in repository.list()] == ["shop/x"]
    sftp_server.end_connections()
    repository.put("shop/y", b"y")


def test_a_silent_server_is_given_up_after_the_read_timeout(sftp_server: SftpServer, sftp_place: Path, line: Line) -> None:
    spec = sftp_server.spec(sftp_place, port=line.port, connect_timeout="60s", read_timeout="60s")
    with open_repository("vault", spec) as repository:
        assert isinstance(repository, SftpRepository)
        upload = repository.start_upload("shop/x")
        line.hold.set()
        upload._open_session()._timeout = 1.0
        with pytest.raises(RepositoryStalled, match="the server did not answer within 1 s"):
            for _time in range(100):
                upload.write(bytes(MIB))
        line.hold.clear()
        upload.abort()
        assert list(repository.list()) == []


def test_a_black_hole_is_given_up_after_the_connect_timeout(sftp_server: SftpServer, sftp_place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody_answers:
        spec = sftp_server.spec(sftp_place, port=nobody_answers.getsockname()[1], connect_timeout="1s", read_timeout="1s")
        with leaves_nothing(), open_repository("vault", spec) as repository:
            with pytest.raises(RepositoryError, match=r"did not answer (in time|within 2 s)"):
                repository.stat("shop/x")


def test_nobody_listens_there(sftp_server: SftpServer, sftp_place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with open_repository("vault", sftp_server.spec(sftp_place, port=taken.getsockname()[1])) as repository:
            with pytest.raises(RepositoryError, match="nothing answers on that port"):
                repository.can_write("shop/probe")


def test_another_thread_can_end_an_upload_that_stands_still(repository: SftpRepository, line: Line) -> None:
    upload = repository.start_upload("shop/x")
    line.hold.set()
    faults: list[BaseException] = []
    writing = threading.Event()

    def write() -> None:
        try:
            writing.set()
            while True:
                upload.write(bytes(MIB))
        except RepositoryError as error:
            faults.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    writing.wait()
    line.hold.clear()
    upload.abort()
    thread.join()
    assert [str(fault) for fault in faults] == [str(upload._over())]
    assert list(repository.list()) == []


@pytest.mark.parametrize("attempt", ["the name was made", "the name was not made", "another run made it"])
def test_when_the_answer_to_the_last_request_is_lost_it_is_found_out_whose_the_name_is(
    repository: SftpRepository, line: Line, sftp_place: Path, monkeypatch: pytest.MonkeyPatch, attempt: str
) -> None:
    made = sftp_publish._name
    calls = []

    def name(*arguments: object) -> str:
        calls.append(arguments)
        if len(calls) > 1:
            return made(*arguments)  # type: ignore[arg-type]
        if attempt == "the name was made":
            # All but the removal of the hidden name, and the answer.
            os.link(next(sftp_place.rglob(".lifeboat-unfinished-*")), sftp_place / "shop/x")
        if attempt == "another run made it":
            (sftp_place / "shop/x").write_bytes(b"other")
            owner = sftp_place.stat()
            os.chown(sftp_place / "shop/x", owner.st_uid, owner.st_gid)
        line.cut()
        return made(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sftp_publish, "_name", name)
    upload = repository.start_upload("shop/x")
    upload.write(b"whole")
    upload.confirm()
    if attempt == "another run made it":
        with pytest.raises(ObjectExists):
            upload.publish()
        assert repository.read("shop/x") == b"other"
    else:
        upload.publish()
        assert repository.read("shop/x") == b"whole"
    assert len(calls) == (1 if attempt == "the name was made" else 2)
    assert list(repository.leftovers("shop/")) == []


@pytest.mark.needs("root", "program:unshare", "program:sshd")
@pytest.mark.parametrize("syncing", [True, False])
def test_a_full_disk_is_named_and_nothing_of_the_object_stays(syncing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="lifeboat-sshd-") as work, sshd(Path(work), disk_bytes=8 * MIB) as server:
        spec = server.spec(server.root / "place-full")
        with open_repository("vault", spec) as repository:
            if not syncing:
                monkeypatch.setattr(sftp_upload, "_SYNC_EVERY_BYTES", MIB)
            repository.put("shop/small", b"x" * MIB)
            upload = repository.start_upload("shop/large")
            with pytest.raises(RepositoryError, match="no space left on the server's disk") as caught:
                for _time in range(20):
                    upload.write(os.urandom(MIB))
                upload.confirm()
            upload.abort()
            assert "\n" not in str(caught.value)
            assert [found.key for found in repository.list()] == ["shop/small"]
            assert list(repository.leftovers("shop/")) == []
            repository.put("shop/again", b"x" * 5 * MIB)


def test_an_unplugged_disk_is_no_reason_to_fill_the_one_below(sftp_server: SftpServer, sftp_place: Path) -> None:
    with open_repository("vault", sftp_server.spec(sftp_place, path="/srv/unmounted")) as repository:
        with pytest.raises(RepositoryError, match="It is never created silently"):
            repository.put("shop/x", b"x")
    assert not (sftp_place.parent / "unmounted").exists()


def test_an_upload_that_broke_can_be_neither_confirmed_nor_published(repository: SftpRepository, line: Line) -> None:
    upload = repository.start_upload("shop/x")
    line.cut()
    with pytest.raises(RepositoryError):
        for _time in range(100):
            upload.write(bytes(MIB))
    for use in (lambda: upload.write(b"x"), upload.confirm, upload.publish):
        with pytest.raises(RepositoryError):
            use()
    assert list(repository.list()) == []
