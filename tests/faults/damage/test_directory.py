# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dump of many files that is sealed and signed as if nothing were wrong, and in which one file is not what it was."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.damage import manifest_of, put, sealed_for
from support.drills import BackedUp
from support.logical import opened

Files = dict[str, bytes]


def largest(files: Files) -> str:
    """The file with the rows of the largest table."""
    return max((name for name in files if name != "toc.dat"), key=lambda name: len(files[name]))


def lost(files: Files) -> None:
    del files[largest(files)]


def without_contents(files: Files) -> None:
    del files["toc.dat"]


def cut(files: Files) -> None:
    files[largest(files)] = files[largest(files)][:-2000]


def contents_cut(files: Files) -> None:
    files["toc.dat"] = files["toc.dat"][: len(files["toc.dat"]) // 2]


def fewer_rows(files: Files) -> None:
    """A row less: the file ends as it should."""
    name = largest(files)
    first, _newline, rest = files[name].partition(b"\n")
    assert b"\t" in first
    files[name] = rest


def led_out(files: Files) -> None:
    files["../../loot"] = b"loot"


def surplus(files: Files) -> None:
    files["notes.txt"] = b"not of pg_dump"


ROWS: Mapping[str, tuple[Callable[[Files], None], str]] = {
    "a table's file is lost": (lost, r"restore: .*could not open"),
    "the table of contents is lost": (without_contents, r"begins with .*, not with the table of contents"),
    "the table of contents is cut": (contents_cut, r"restore: "),
    "a table's file is cut": (cut, r"restore: |row counts: .*public.orders"),
    "a row is missing in a file": (fewer_rows, r"row counts: .*expected 12000, found 11999"),
    "a file leads out of the directory": (led_out, r"it holds '\.\./\.\./loot', which pg_dump does not write"),
    "a file is none of pg_dump's": (surplus, r"it holds 'notes\.txt', which pg_dump does not write"),
}


def replace(backup: BackedUp, harm: Callable[[Files], None]) -> None:
    """Take the tar apart, do harm to its files, and seal it again."""
    with tarfile.open(fileobj=io.BytesIO(opened(backup.repository, manifest_of(backup), "dump", backup.identity))) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    harm(files)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    sealed = sealed_for(backup.identity.recipient, packed.getvalue())
    put(backup, "dump", sealed, plain_bytes=sum(map(len, files.values())))


@pytest.fixture
def directory_shop(taken: Callable[[str], BackedUp], tmp_path: Path) -> BackedUp:
    return taken("directory, age").copy(tmp_path)


@pytest.mark.parametrize("row", ROWS)
def test_a_file_that_is_not_what_it_was_fails(directory_shop: BackedUp, work_dir: Path, row: str) -> None:
    harm, says = ROWS[row]
    replace(directory_shop, harm)
    report = directory_shop.drill(work_dir)
    assert (report["verdict"], bool(re.search(says, report["reason"]))) == ("failed", True), report["reason"]


def test_the_same_files_pass(directory_shop: BackedUp, work_dir: Path) -> None:
    """Else the rows above would prove nothing."""
    replace(directory_shop, lambda files: None)
    report = directory_shop.drill(work_dir)
    assert report["verdict"] == "passed", report["reason"]
