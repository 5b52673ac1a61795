# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Broken backups, each broken in one way: the drill's verdict, and the words that name the cause."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.drills import BackedUp
from support.keys import ssh_pair

DUMP = "database.dump.zst.age"


def flip(path: Path, at: float = 0.5) -> None:
    """One bit of a file, somewhere in the middle."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)


def cut(path: Path, to: float = 0.6) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * to)])


def edit_manifest(backup: BackedUp, change: Callable[[dict[str, object]], object]) -> None:
    document = json.loads(backup.manifest.read_bytes())
    change(document)
    backup.manifest.write_text(json.dumps(document))


def swap(backup: BackedUp) -> None:
    one, other = backup.folder / DUMP, backup.folder / f"{DUMP}.001"
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)


# name: how to damage, the message expected
DAMAGES: dict[str, tuple[Callable[[BackedUp], object], str]] = {
    "a volume is cut": (lambda b: cut(b.folder / f"{DUMP}.001"), rf"{DUMP}.001 is truncated: \d+ bytes, the manifest says \d+"),
    "a volume is longer": (lambda b: (b.folder / DUMP).open("ab").write(b"x"), rf"{DUMP} is not what was stored: \d+ bytes"),
    "a volume is empty": (lambda b: cut(b.folder / DUMP, 0), rf"{DUMP} is truncated: 0 bytes"),
    "a bit flipped in the dump": (lambda b: flip(b.folder / f"{DUMP}.001"), rf"{DUMP}.001 has another SHA-256 digest"),
    "a bit flipped in the dump's header": (lambda b: flip(b.folder / DUMP, 0.00003), rf"{DUMP} has another SHA-256 digest"),
    "a bit flipped in the last byte": (lambda b: flip(max(b.folder.glob(f"{DUMP}*")), 0.999999), r"another SHA-256 digest"),
    "two volumes are swapped": (swap, rf"{DUMP} has another SHA-256 digest"),
    "a volume is missing": (lambda b: (b.folder / f"{DUMP}.001").unlink(), rf"{DUMP}.001 is missing"),
    "the evidence is missing": (lambda b: (b.folder / "evidence.json.zst.age").unlink(), r"evidence.json.zst.age is missing"),
    "a bit flipped in the evidence": (lambda b: flip(b.folder / "evidence.json.zst.age"), r"evidence.json.zst.age has another SHA-256"),
    "the instructions are missing": (lambda b: (b.folder / "RESTORE.md").unlink(), r"RESTORE.md is missing"),
    "the manifest is cut": (lambda b: cut(b.manifest), r"has no readable manifest.*not JSON"),
    "the manifest is empty": (lambda b: cut(b.manifest, 0), r"has no readable manifest.*not JSON"),
    "the manifest was edited": (lambda b: edit_manifest(b, lambda d: d.update(plain_bytes=1)), r"signature.*does not hold"),
    "the manifest's signature was removed": (lambda b: edit_manifest(b, lambda d: d.update(signature="")), r"signature.*not signed"),
    "the manifest is of another schema": (lambda b: edit_manifest(b, lambda d: d.update(schema=99)), r"schema 99"),
    "the manifest lost a field": (lambda b: edit_manifest(b, lambda d: d.pop("host_id")), r"fields missing: \['host_id'\]"),
    "everything but the manifest is gone": (lambda b: shutil.rmtree(b.folder), r"is missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_backup_fails_and_says_how(shop: BackedUp, work_dir: Path, tmp_path: Path, damage: str) -> None:
    broken = shop.copy(tmp_path)
    harm, says = DAMAGES[damage]
    harm(broken)
    report = broken.drill(work_dir)
    assert report["verdict"] == "failed", report["reason"]
    assert re.search(says, report["reason"]), report["reason"]
    assert report["verified_seconds"] is None


def test_a_backup_signed_by_a_stranger_fails(shop: BackedUp, work_dir: Path, tmp_path: Path) -> None:
    report = shop.drill(work_dir, verify_keys=[ssh_pair(tmp_path / "stranger").public])
    assert (report["verdict"], "not among the allowed ones" in report["reason"]) == ("failed", True)


def test_an_untouched_copy_passes(shop: BackedUp, work_dir: Path, tmp_path: Path) -> None:
    report = shop.copy(tmp_path).drill(work_dir)
    assert report["verdict"] == "passed", report["reason"]


def test_a_broken_newest_backup_is_never_replaced_by_an_older_one(shop: BackedUp, work_dir: Path, tmp_path: Path) -> None:
    """Law 2: the older backup is whole, and a drill of it would pass."""
    both = shop.copy(tmp_path)
    newer = "20991231T235959Z-ffffffff"
    both.manifest.with_name(f"{newer}.json").write_bytes(both.manifest.read_bytes()[:100])
    report = both.drill(work_dir)
    assert report["verdict"] == "failed"
    assert newer in report["reason"]
    assert both.drill(work_dir, backup_id=shop.backup_id)["verdict"] == "passed"


def test_a_copy_that_is_broken_in_one_place_fails_though_the_other_is_whole(shop: BackedUp, work_dir: Path, tmp_path: Path) -> None:
    broken = shop.copy(tmp_path)
    cut(broken.manifest)
    repositories = {name: {"type": "posix", "path": str(backup.repository)} for name, backup in (("a", broken), ("b", shop))}
    report = shop.drill(work_dir, repositories=repositories)
    assert (report["verdict"], report["repository"]) == ("failed", "b")
    assert report["reason"].startswith("repository a:")


def test_remains_of_a_killed_backup_are_no_backup(shop: BackedUp, work_dir: Path, tmp_path: Path) -> None:
    """Law 1: artifacts without a manifest, newer than the backup."""
    copy = shop.copy(tmp_path)
    shutil.copytree(copy.folder, copy.folder.with_name("20991231T235959Z-ffffffff"))
    report = copy.drill(work_dir)
    assert (report["verdict"], report["backup_id"]) == ("passed", shop.backup_id)
