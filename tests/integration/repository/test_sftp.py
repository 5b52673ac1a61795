# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory behind a real sshd, whose account gets SFTP and nothing else: what is promised beyond the contract of every kind."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    AccessDenied,
    ConfigurationError,
    ObjectExists,
    RepositoryError,
    UnsafeName,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import sftp_upload
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.posix_upload import TEMPORARY_PREFIX
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp import SftpRepository
from support.leaks import leaves_nothing, program, programs
from support.sshd import Line, SftpServer

MIB = 1024 * 1024
KEY = "shop/database/shop/20261121T031500Z-1a2b3c4d/database.dump.zst.age"


@contextlib.contextmanager
def sftp(server: SftpServer, place: Path, **overrides: Any) -> Iterator[SftpRepository]:
    with open_repository("vault", server.spec(place, **overrides)) as found:
        assert isinstance(found, SftpRepository)
        yield found


def files(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


def test_files_and_directories_are_the_accounts_own(sftp_server: SftpServer, sftp_place: Path) -> None:
    with sftp(sftp_server, sftp_place) as repository:
        repository.put(KEY, b"x")
    assert stat.S_IMODE((sftp_place / KEY).stat().st_mode) == 0o600
    assert stat.S_IMODE((sftp_place / "shop").stat().st_mode) == 0o700
    assert files(sftp_place) == [KEY]


def test_names_an_object_by_a_hard_link_which_replaces_nothing(sftp_server: SftpServer, sftp_place: Path) -> None:
    with sftp(sftp_server, sftp_place) as repository:
        found = repository.capabilities("shop/probe/")
        assert (found.no_clobber, found.read_only) == (True, False)
        assert "hardlink@openssh.com" in dict(found.detail)["no_clobber"]
        first, second = repository.start_upload(KEY), repository.start_upload(KEY)
        first.write(b"first")
        second.write(b"second")
        first.publish()
        with pytest.raises(ObjectExists):
            second.publish()
        assert first.way == "hard link"
    assert files(sftp_place) == [KEY]
    assert (sftp_place / KEY).read_bytes() == b"first"


def test_a_server_without_openssh_s_own_requests_is_read_back_and_renames(sftp_server: SftpServer, sftp_place: Path) -> None:
    """Such as the storage that some providers sell: no hard link, no sync; the rename of OpenSSH's server replaces nothing either."""
    data = os.urandom(20 * MIB)
    with sftp(sftp_server, sftp_place, key="unlinked") as repository:
        upload = repository.start_upload(KEY)
        for start in range(0, len(data), MIB):
            upload.write(data[start : start + MIB])
        upload.publish()
        assert upload.way == "rename"
        with pytest.raises(ObjectExists):
            repository.put(KEY, b"second")
        assert repository.read(KEY) == data
        found = repository.capabilities("shop/probe/")
        assert found.no_clobber is True
        assert "the server's rename" in dict(found.detail)["no_clobber"]
    assert files(sftp_place) == [KEY]


def test_what_comes_back_otherwise_than_it_was_written_is_no_object(
    sftp_server: SftpServer, sftp_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a server that cannot sync, the disk damages a byte between writing and showing."""
    monkeypatch.setattr(sftp_upload, "_SHOWN_AT_ONCE_BYTES", 1)
    with sftp(sftp_server, sftp_place, key="unlinked") as repository:
        upload = repository.start_upload("shop/x")
        upload.write(b"a" * 1000)
        (hidden,) = sftp_place.rglob(f"{TEMPORARY_PREFIX}*")
        upload._shown_bytes = 0
        upload._unshown.update(b"a" * 1000)
        hidden.write_bytes(b"a" * 999 + b"b")
        with pytest.raises(RepositoryError, match="other bytes came back than were written"):
            upload.confirm()
        upload.abort()
    assert files(sftp_place) == []


def test_a_file_that_something_else_cut_is_no_object(sftp_server: SftpServer, sftp_place: Path) -> None:
    with sftp(sftp_server, sftp_place) as repository:
        upload = repository.start_upload("shop/x")
        upload.write(b"a" * 1000)
        upload._collect(upload._open_session(), 0)  # what is still on its way would fill the file again
        next(sftp_place.rglob(f"{TEMPORARY_PREFIX}*")).write_bytes(b"")
        with pytest.raises(RepositoryError, match="1000 bytes were written, 0 are there"):
            upload.confirm()
        upload.abort()
    assert files(sftp_place) == []


def test_an_account_that_may_not_remove_can_write_all_the_same(sftp_server: SftpServer, sftp_place: Path) -> None:
    with sftp(sftp_server, sftp_place, key="keeper") as repository:
        repository.put(KEY, b"whole")
        assert repository.read(KEY) == b"whole"
        with pytest.raises(AccessDenied, match="the account may not do that"):
            repository.delete(KEY)
        assert [found.key for found in repository.list()] == [KEY]
    with sftp(sftp_server, sftp_place) as pruner:
        (left,) = pruner.leftovers("shop/")
        pruner.discard(left)
    assert files(sftp_place) == [KEY]


def test_a_reader_is_found_out_by_trying_and_reads(sftp_server: SftpServer, sftp_place: Path) -> None:
    with sftp(sftp_server, sftp_place) as writer:
        writer.put(KEY, b"whole")
    with sftp(sftp_server, sftp_place, key="reader") as reader:
        assert reader.can_write("shop/probe") is False
        assert reader.capabilities("shop/probe").read_only is True
        assert reader.read(KEY) == b"whole"
        assert reader.clock() is None
        with pytest.raises(AccessDenied, match="read-only account"):
            reader.put("shop/other", b"x")
    assert files(sftp_place) == [KEY]


def test_a_place_of_its_own_that_it_may_only_read(sftp_server: SftpServer, sftp_place: Path) -> None:
    """Not the server's word for the account, but the mode of the directory."""
    with sftp(sftp_server, sftp_place) as writer:
        writer.put(KEY, b"whole")
        sftp_place.chmod(0o500)
        (sftp_place / "shop").chmod(0o500)
        assert writer.can_write("other/probe") is False
        assert writer.can_write("shop/probe") is False
        assert writer.read(KEY) == b"whole"
        sftp_place.chmod(0o700)
        (sftp_place / "shop").chmod(0o700)


@pytest.mark.parametrize("through", ["a directory", "an object", "the directory of an upload"])
def test_never_goes_through_a_link(sftp_server: SftpServer, sftp_place: Path, through: str) -> None:
    with sftp(sftp_server, sftp_place) as repository:
        repository.put("real/one", b"1")
        if through == "an object":
            (sftp_place / "real" / "link").symlink_to("one")
            for use in (lambda: repository.read("real/link"), lambda: repository.stat("real/link"), lambda: list(repository.list())):
                with pytest.raises(UnsafeName, match="symbolic link"):
                    use()
            return
        (sftp_place / "link").symlink_to("real")
        if through == "a directory":
            for use in (lambda: repository.read("link/one"), lambda: repository.stat("link/one"), lambda: list(repository.list("link/"))):
                with pytest.raises(UnsafeName, match="symbolic link"):
                    use()
        else:
            with pytest.raises(UnsafeName, match="symbolic link"):
                repository.put("link/two", b"2")
            assert files(sftp_place / "real") == ["one"]


def test_remains_of_killed_uploads_are_found_by_a_pruner_only(sftp_server: SftpServer, sftp_place: Path) -> None:
    with sftp(sftp_server, sftp_place) as killed:
        upload = killed.start_upload("shop/a/b/one")
        upload.write(b"x" * MIB)
        sftp_server.end_connections()
    with sftp(sftp_server, sftp_place) as repository:
        assert list(repository.list()) == []
        (left,) = repository.leftovers("shop/")
        now = repository.clock()
        assert now is not None
        assert abs((left.modified - now).total_seconds()) < 600
        repository.discard(left)
        repository.discard(left)
        with pytest.raises(UnsafeName, match="no remainder"):
            repository.discard(type(left)("shop/manifest.json", left.modified))
    assert list(sftp_place.iterdir()) == []


def test_lists_thousands_of_names_in_key_order_in_few_round_trips(sftp_server: SftpServer, sftp_place: Path) -> None:
    expected = []
    for folder in range(40):
        (sftp_place / f"shop/x/{folder:03}").mkdir(parents=True)
        for number in range(40 if folder else 1500):
            key = f"shop/x/{folder:03}/object-{number}.json"
            (sftp_place / key).write_bytes(b"x" * (number % 7))
            expected.append(key)
    own = sftp_place.stat()
    for path in (sftp_place / "shop", *(sftp_place / "shop").rglob("*")):
        os.chown(path, own.st_uid, own.st_gid)
    with sftp(sftp_server, sftp_place) as repository:
        found = list(repository.list())
        assert [info.key for info in found] == sorted(expected)
        assert {info.key: info.size_bytes for info in found}["shop/x/005/object-6.json"] == 6
        session = repository.connections.take()
        asked = session._number
        repository.connections.give_back(session, whole=True)
    # 42 directories: one request opens, one closes, and a few read each; so many travel together that few waits remain.
    assert asked < 42 * 8 + 100


def test_holds_no_more_than_its_window_in_memory(sftp_server: SftpServer, sftp_place: Path) -> None:
    with sftp(sftp_server, sftp_place) as repository:
        upload = repository.start_upload("shop/large")
        data = bytes(MIB)
        most = 0
        for _time in range(24):
            upload.write(data)
            most = max(most, upload._waiting_bytes)
        upload.publish()
        assert 0 < most <= sftp_upload._WINDOW_BYTES
        assert repository.stat("shop/large").size_bytes == 24 * MIB  # type: ignore[union-attr]


def test_many_unpublished_volumes_hold_no_connection(sftp_server: SftpServer, sftp_place: Path) -> None:
    with sftp(sftp_server, sftp_place) as repository:
        uploads = [repository.start_upload(f"shop/{number}") for number in range(3)]
        for upload in uploads:
            upload.write(b"x")
            upload.confirm()
        before = programs("ssh")
        more = [repository.start_upload(f"shop/more-{number}") for number in range(3)]
        assert programs("ssh") == before
        for upload in (*uploads, *more):
            upload.publish()
        assert len(list(repository.list())) == 6


def test_leaves_no_process_thread_or_descriptor_behind(sftp_server: SftpServer, sftp_place: Path) -> None:
    with leaves_nothing():
        with sftp(sftp_server, sftp_place) as repository:
            repository.put(KEY, b"x" * MIB)
            stream = repository.open(KEY)
            stream.read(10)
            stream.close()
            assert repository.read(KEY) == b"x" * MIB
            threads = [threading.Thread(target=lambda: repository.stat(KEY)) for _time in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


def test_tells_the_programs_of_this_machine_no_secret(sftp_server: SftpServer, sftp_place: Path) -> None:
    with sftp(sftp_server, sftp_place) as repository:
        repository.stat(KEY)
        ssh = program("ssh")
        argv = Path(f"/proc/{ssh}/cmdline").read_bytes()
        environment = Path(f"/proc/{ssh}/environ").read_bytes()
        secret = sftp_server.keys["writer"].read_bytes().splitlines()[2]
        assert secret not in argv + environment
        assert b"SSH_AUTH_SOCK" not in environment


def test_a_known_hosts_file_is_as_good_as_a_pinned_key(sftp_server: SftpServer, sftp_place: Path, tmp_path: Path) -> None:
    known = tmp_path / "known hosts"
    known.write_text(f"[127.0.0.1]:{sftp_server.port} {sftp_server.host_key}\n")
    before = known.read_bytes()
    with sftp(sftp_server, sftp_place, known_hosts_file=str(known), host_key=None) as repository:
        repository.put(KEY, b"x")
    assert known.read_bytes() == before


def test_a_wrong_host_key_is_one_sentence_and_nothing_is_sent(sftp_server: SftpServer, sftp_place: Path, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    other = (tmp_path / "other.pub").read_text()
    with Line(sftp_server.port) as line, sftp(sftp_server, sftp_place, host_key=other, port=line.port) as repository:
        with pytest.raises(RepositoryError, match="the server's host key is not the one that was pinned; nothing was sent to it"):
            repository.put(KEY, b"x")
    unknown = tmp_path / "known_hosts"
    unknown.write_text(f"elsewhere.example.net {sftp_server.host_key}\n")
    with sftp(sftp_server, sftp_place, host_key=None, known_hosts_file=str(unknown)) as repository:
        with pytest.raises(RepositoryError, match="no host key is pinned for this server; nothing was sent to it"):
            repository.put(KEY, b"x")
    assert unknown.read_text().count("\n") == 1
    assert files(sftp_place) == []


@pytest.mark.parametrize(
    ("overrides", "said", "kind"),
    [
        ({"user": "nobody-of-that-name"}, "lets in neither this user nor this key", AccessDenied),
        ({"path": "/srv/not/there"}, "the repository's directory does not exist", RepositoryError),
        ({"host": "no-such-host.invalid"}, "the name service does not know the host", RepositoryError),
        ({"key": "chatty"}, "SFTP", RepositoryError),
        ({"identity_file": "/nonexistent/key"}, "identity_file /nonexistent/key: no such file", ConfigurationError),
    ],
)
def test_says_in_one_sentence_what_is_wrong(
    sftp_server: SftpServer, sftp_place: Path, overrides: dict[str, str], said: str, kind: type[Exception]
) -> None:
    with sftp(sftp_server, sftp_place, **overrides) as repository:
        for use in (lambda: repository.stat(KEY), lambda: list(repository.list()), lambda: repository.can_write("shop/probe")):
            with pytest.raises(kind) as caught:
                use()
            assert said in str(caught.value)
            assert "\n" not in str(caught.value)


def test_a_key_that_the_server_does_not_know_is_refused(sftp_server: SftpServer, sftp_place: Path, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    with sftp(sftp_server, sftp_place, identity_file=str(tmp_path / "other")) as repository:
        with pytest.raises(AccessDenied, match="neither this user nor this key"):
            repository.can_write("shop/probe")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (["chmod", "0644", "KEY"], "is open to other users"),
        (["ssh-keygen", "-q", "-p", "-P", "", "-N", "a passphrase", "-f", "KEY"], "has a passphrase"),
        (["cp", "KEY.pub", "KEY"], "holds no private key"),
    ],
)
def test_says_what_is_wrong_with_the_key_before_it_connects(
    sftp_server: SftpServer, sftp_place: Path, tmp_path: Path, make: list[str], said: str
) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    subprocess.run([word.replace("KEY", str(key)) for word in make], check=True, capture_output=True)
    with Line(sftp_server.port) as line, sftp(sftp_server, sftp_place, identity_file=str(key), port=line.port) as repository:
        with pytest.raises(ConfigurationError, match=said):
            repository.stat(KEY)
        assert line.connections == 0
