# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tar of a directory dump, whole, in pieces of any size, and as somebody hostile would write it."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.unpack import Unpacker
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FILES = {
    "toc.dat": b"PGDMP" * 300,
    "3361.dat": b"1\ta\n" * 999,
    "3362.dat": b"\\.\n\n\n",
    "blobs.toc": b"7 blob_7.dat\n",
    "blob_7.dat": b"",
}


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def archive(*members: bytes) -> bytes:
    return b"".join(members) + bytes(1024)


GOOD = archive(*(member(name, data) for name, data in FILES.items()))


def unpack(directory: Path, data: bytes, piece: int = 65536, limit: int = 10**6) -> int:
    unpacker = Unpacker(directory, limit, "backup x")
    try:
        for start in range(0, len(data), piece):
            unpacker.feed(data[start : start + piece])
        unpacker.finish()
    finally:
        unpacker.discard()
    return unpacker.size_bytes


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(piece=st.integers(1, 4000))
def test_the_files_come_out_however_the_bytes_come_in(tmp_path_factory: pytest.TempPathFactory, piece: int) -> None:
    directory = tmp_path_factory.mktemp("out")
    assert unpack(directory, GOOD, piece) == sum(len(data) for data in FILES.values())
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == FILES


TOC = member("toc.dat", b"x" * 600)
HOSTILE = {
    "a path upwards": (archive(TOC, member("../3361.dat", b"x")), "pg_dump does not write"),
    "an absolute path": (archive(TOC, member("/etc/cron.d/x", b"x")), "pg_dump does not write"),
    "a folder": (archive(TOC, member("1.dat/2.dat", b"x")), "pg_dump does not write"),
    "another name": (archive(TOC, member(".pgpass", b"x")), "pg_dump does not write"),
    "a name with a line break": (archive(TOC, member("1.dat\n", b"x")), "pg_dump does not write"),
    "a name twice": (archive(TOC, member("1.dat", b"x"), member("1.dat", b"y")), "twice"),
    "a symlink": (archive(TOC, member("1.dat", kind=tarfile.SYMTYPE, link="/etc/passwd")), "no regular file"),
    "a hard link": (archive(TOC, member("1.dat", kind=tarfile.LNKTYPE, link="toc.dat")), "no regular file"),
    "a device": (archive(TOC, member("1.dat", kind=tarfile.CHRTYPE)), "no regular file"),
    "a directory": (archive(member("toc.dat", kind=tarfile.DIRTYPE)), "no regular file"),
    "a long name's header": (archive(TOC, member("././@LongLink", b"1.dat", tarfile.GNUTYPE_LONGNAME)), "no regular file"),
    "a sparse file": (archive(TOC, member("1.dat", kind=tarfile.GNUTYPE_SPARSE)), "no regular file"),
    "no table of contents first": (archive(member("1.dat", b"x")), "not with the table of contents"),
    "more bytes than announced": (archive(TOC, member("1.dat", b"x" * 5000)), "more than 4000 bytes"),
    "more files than can be": (archive(TOC, *(member(f"{n}.dat") for n in range(1000))), "more files"),
    "something behind the end": (GOOD + member("9.dat", b"x"), "follows its end"),
    "a damaged header": (GOOD[:2048] + b"garbage!" * 64 + GOOD[2560:], "header in it is damaged"),
    "a cut in a file": (GOOD[:3000], "ends early"),
    "a cut in a header": (GOOD[:700], "ends early"),
    "no end": (GOOD[:-1024], "ends early"),
    "nothing": (b"", "ends early"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_pg_dump_did_not_write_is_refused(what: str, tmp_path: Path) -> None:
    data, message = HOSTILE[what]
    directory = tmp_path / "out"
    directory.mkdir()
    with pytest.raises(IntegrityError, match=message):
        unpack(directory, data, limit=10**6 if data.startswith(GOOD[:600]) else 4000)
    assert os.listdir(tmp_path) == ["out"]
    assert all(path.is_file() and not path.is_symlink() for path in directory.iterdir())


def test_an_ordinary_tar_program_writes_what_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "out", buffer.getvalue())
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(FILES)


def test_a_size_beyond_8_gib_is_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("toc.dat")
    info.size = 9 * 1024**3
    unpacker = Unpacker(tmp_path, 10**11, "x")
    unpacker.feed(info.tobuf(tarfile.GNU_FORMAT))
    assert unpacker.size_bytes == 9 * 1024**3
    unpacker.discard()
