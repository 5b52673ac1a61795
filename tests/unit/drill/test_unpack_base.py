# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tar of a server's files, whole, and as somebody hostile would write it: nothing gets outside of its directory."""

from __future__ import annotations

import contextlib
import stat
import tarfile
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.unpack_base import BaseUnpacker
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError, LifeboatError

FILES = {"backup_label": b"START\n", "base/1/1249": b"x" * 2_000_001, "base/1/empty": b"", "deep/a/b/c": b"1" * 512}


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o600) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname, info.mode = len(data), kind, link, mode
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


def archive(*members: bytes) -> bytes:
    return b"".join(members) + bytes(1024)


GOOD = archive(
    member("base", kind=tarfile.DIRTYPE, mode=0o750),
    member("base/1", kind=tarfile.DIRTYPE),
    member("./pg_wal/archive_status", kind=tarfile.DIRTYPE),
    *(member(name, data, mode=0o644) for name, data in FILES.items()),
)


def unpack(directory: Path, data: bytes, limit: int = 10**7, at_a_time: int = 1_000_003) -> BaseUnpacker:
    unpacker = BaseUnpacker(directory, limit, "backup x")
    with contextlib.closing(unpacker):
        for begin in range(0, len(data), at_a_time):
            unpacker.feed(data[begin : begin + at_a_time])
        unpacker.finish()
    return unpacker


@pytest.mark.parametrize("at_a_time", [511, 512, 700, 65536, 10**9])
def test_the_files_come_out_and_only_their_owner_can_write_them(tmp_path: Path, at_a_time: int) -> None:
    unpacker = unpack(tmp_path, GOOD, at_a_time=at_a_time)
    found = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == FILES
    assert {stat.S_IMODE(path.stat().st_mode) for path in found.values()} == {0o640}
    assert stat.S_IMODE((tmp_path / "base").stat().st_mode) == 0o750
    assert (tmp_path / "pg_wal" / "archive_status").is_dir()
    assert unpacker.size_bytes == len(GOOD)
    assert unpacker.names == {"base", "pg_wal", "backup_label", "deep"}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (archive(member("../outside", b"x")), "no path below"),
        (archive(member("/etc/cron.d/x", b"x")), "no path below"),
        (archive(member("base/../../outside", b"x")), "no path below"),
        (archive(member("..", kind=tarfile.DIRTYPE)), "no path below"),
        (archive(member(".", kind=tarfile.DIRTYPE)), "no path below"),
        (archive(member("pg_tblspc/1", kind=tarfile.SYMTYPE, link="/etc")), "neither a file nor a directory"),
        (archive(member("base", b"x"), member("x", kind=tarfile.LNKTYPE, link="base")), "neither a file nor a directory"),
        (archive(member("null", kind=tarfile.CHRTYPE)), "neither a file nor a directory"),
        (archive(member("pipe", kind=tarfile.FIFOTYPE)), "neither a file nor a directory"),
        (archive(member("a", b"1"), member("a", b"2")), "holds 'a' twice"),
        (archive(member("a", b"1"), member("a/b", b"2")), "holds 'a/b' twice"),
        (archive(member("a", b"1"))[:-1024], "it ends early"),
        (archive(member("a", b"1" * 600))[:900], "it ends within"),
        (archive(member("a", b"1")) + member("b", b"2"), "something follows its end"),
        (b"x" * 5120, "a header in it is damaged"),
        (b"", "it ends early"),
        (archive(member("a", b"1" * 2_000_000)), "holds more than 1000000 bytes"),
    ],
)
def test_what_no_server_writes_is_refused_and_nothing_is_outside(tmp_path: Path, data: bytes, says: str) -> None:
    target = tmp_path / "inside"
    target.mkdir()
    with pytest.raises(LifeboatError, match=says) as caught:
        unpack(target, data, limit=1_000_000)
    assert isinstance(caught.value, IntegrityError)
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert not [path for path in target.rglob("*") if path.is_symlink()]
