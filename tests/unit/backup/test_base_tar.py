# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tar that goes by: counted, its telling members caught; one that is not whole is refused."""

from __future__ import annotations

import tarfile

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.base_tar import BaseTar
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import BackupGuardError

FILES = {
    "backup_label": b"START\n",
    "base/1/INCREMENTAL.1259": b"i" * 700,
    "base/1/1249": b"x" * 3_000_000,
    "global/pg_control": b"c" * 8192,
}


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = len(data), kind
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


WHOLE = member("base", kind=tarfile.DIRTYPE) + b"".join(member(name, data) for name, data in FILES.items()) + bytes(1024)


def look(data: bytes, tar: BaseTar, at_a_time: int = 1_000_003) -> BaseTar:
    for begin in range(0, len(data), at_a_time):
        tar.feed(data[begin : begin + at_a_time])
    tar.finish()
    return tar


@pytest.mark.parametrize("at_a_time", [511, 512, 700, 65536, 10**9])
def test_it_says_what_it_held_however_it_comes(at_a_time: int) -> None:
    caught = bytearray()
    seen: list[str] = []
    tar = look(WHOLE, BaseTar({"backup_label": caught.extend}, seen.append), at_a_time)
    assert (tar.size_bytes, tar.files, tar.incremental) == (len(WHOLE), 4, 1)
    assert tar.file_bytes == sum(map(len, FILES.values()))
    assert bytes(caught) == FILES["backup_label"]
    assert seen == ["base", *FILES]


@pytest.mark.parametrize("kept", [0, 100, 512, 700, 1_000_000, len(WHOLE) - 1025, len(WHOLE) - 1024])
def test_one_that_ends_early_is_refused(kept: int) -> None:
    with pytest.raises(BackupGuardError, match="is not a whole tar: it ends"):
        look(WHOLE[:kept], BaseTar({}))


def test_what_is_no_tar_or_goes_on_after_its_end_is_refused() -> None:
    with pytest.raises(BackupGuardError, match="something follows its end"):
        look(WHOLE + member("more", b"x"), BaseTar({}))
    with pytest.raises(BackupGuardError, match="a header in it is damaged"):
        look(b"PGDMP" * 1000, BaseTar({}))
    with pytest.raises(BackupGuardError, match="is of kind"):
        look(member("device", kind=tarfile.CHRTYPE) + bytes(1024), BaseTar({}))
