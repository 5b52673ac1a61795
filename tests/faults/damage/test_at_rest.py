# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What time, disks, people and thieves do to a backup where it rests: each way, the verdict, and the words that name it."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support import damage
from support.damage import Row, cut, cut_dump, edit, flip, manifest_of, sign_again, volumes
from support.drills import BackedUp
from support.keys import gpg_pair, ssh_pair
from support.logical import new_identity

NEWER = "20991231T235959Z-ffffffff"


def copy_of(path: Path, source: Path) -> None:
    path.write_bytes(source.read_bytes())


def empty(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)


def swap(one: Path, other: Path) -> None:
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)


def replayed(backup: BackedUp) -> None:
    """Its own manifest under a younger name, so that it looks as if it had been taken just now."""
    copy_of(backup.manifest.with_name(f"{NEWER}.json"), backup.manifest)


def emptied(path: Path) -> None:
    cut(path, 0)


def redigested(document: dict[str, Any]) -> None:
    document["artifacts"][0]["sha256"] = "0" * 64


def relocated(document: dict[str, Any]) -> None:
    document["artifacts"][0]["volumes"][0]["name"] = "../../x"


# In every format: what is found by its digest is found whatever seals it.
EVERY: Mapping[str, Row] = {
    "the dump ends at 20 %": Row(lambda b: cut_dump(b, 0.2), "failed", r"is (truncated|missing)"),
    "the dump ends at 60 %": Row(lambda b: cut_dump(b, 0.6), "failed", r"is (truncated|missing)"),
    "the dump ends at 99 %": Row(lambda b: cut_dump(b, 0.99), "failed", r"is truncated: \d+ bytes, the manifest says \d+"),
    "the dump is empty": Row(lambda b: list(map(emptied, volumes(b))), "failed", r"is truncated: 0 bytes"),
    "the dump is gone": Row(lambda b: list(map(Path.unlink, volumes(b))), "failed", r"is missing"),
    "a volume is gone": Row(lambda b: volumes(b)[1].unlink(), "failed", r"\.001 is missing"),
    "a volume is longer": Row(lambda b: volumes(b)[0].open("ab").write(b"x"), "failed", r"is not what was stored: \d+ bytes"),
    "a bit in the middle": Row(lambda b: flip(volumes(b)[1]), "failed", r"\.001 has another SHA-256 digest"),
    "a bit in the evidence": Row(lambda b: flip(volumes(b, "evidence")[0]), "failed", r"evidence.*another SHA-256 digest"),
    "a bit in the evidence's first byte": Row(lambda b: flip(volumes(b, "evidence")[0], 0), "failed", r"evidence.*another SHA-256 digest"),
}

# Whatever the format, one is enough.
REST: Mapping[str, Row] = {
    "the last volume is gone": Row(lambda b: volumes(b)[-1].unlink(), "failed", r"\.\d\d\d is missing"),
    "two volumes are swapped": Row(lambda b: swap(volumes(b)[0], volumes(b)[1]), "failed", r"another SHA-256 digest"),
    "a bit in the seal's header": Row(lambda b: flip(volumes(b)[0], 0.0005), "failed", r"another SHA-256 digest"),
    "a bit in the last byte": Row(lambda b: flip(volumes(b)[-1], 1), "failed", r"another SHA-256 digest"),
    "the evidence is gone": Row(lambda b: volumes(b, "evidence")[0].unlink(), "failed", r"evidence.*is missing"),
    "the instructions are gone": Row(lambda b: (b.folder / "RESTORE.md").unlink(), "failed", r"RESTORE\.md is missing"),
    "the script is gone": Row(lambda b: (b.folder / "restore.sh").unlink(), "failed", r"restore\.sh is missing"),
    "the script was altered": Row(lambda b: flip(b.folder / "restore.sh"), "failed", r"restore\.sh has another SHA-256 digest"),
    "the instructions were altered": Row(lambda b: flip(b.folder / "RESTORE.md"), "failed", r"RESTORE\.md has another SHA-256 digest"),
    "only the manifest is left": Row(lambda b: shutil.rmtree(b.folder), "failed", r"is missing"),
    "only the manifest is gone": Row(lambda b: b.manifest.unlink(), "failed", r"there is no backup of database"),
    "the repository is empty": Row(lambda b: empty(b.repository), "failed",
        r"there is no backup of database"),
    "the repository is gone": Row(lambda b: shutil.rmtree(b.repository), "unverified", r"no repository can be listed.*Nothing is known"),
    "the manifest ends in the middle": Row(lambda b: cut(b.manifest), "failed", r"has no readable manifest.*not JSON"),
    "the manifest is empty": Row(lambda b: cut(b.manifest, 0), "failed", r"has no readable manifest.*not JSON"),
    "the manifest is a list": Row(lambda b: b.manifest.write_text("[]"), "failed", r"not a JSON object"),
    "the manifest was edited": Row(lambda b: edit(b, lambda d: d.update(plain_bytes=1)), "failed", r"signature.*does not hold"),
    "a digest was edited": Row(lambda b: edit(b, redigested), "failed", r"signature.*does not hold"),
    "the signature was removed": Row(lambda b: edit(b, lambda d: d.update(signature="")), "failed", r"signature.*not signed"),
    "the manifest is of another schema": Row(lambda b: edit(b, lambda d: d.update(schema=99)), "failed", r"schema 99"),
    "the manifest lost a field": Row(lambda b: edit(b, lambda d: d.pop("host_id")), "failed", r"fields missing: \['host_id'\]"),
    "the manifest won a field": Row(lambda b: edit(b, lambda d: d.update(more=1)), "failed", r"more"),
    "a path out of the repository was written in": Row(lambda b: edit(b, relocated), "failed", r"signature.*does not hold"),
    "the manifest was renamed": Row(lambda b: b.manifest.rename(b.manifest.with_name(f"{NEWER}.json")), "failed", NEWER),
    "the manifest was replayed as a newer one": Row(replayed, "failed", NEWER),
    "it says that it is of another database": Row(lambda b: sign_again(b, name="other"), "failed", r"other"),
    "a newer one is broken, this one is whole": Row(lambda b: b.manifest.with_name(f"{NEWER}.json").write_bytes(b"{"), "failed", NEWER),
}  # fmt: skip


def check(backup: BackedUp, work_dir: Path, row: Row) -> None:
    row.damage(backup)
    report = backup.drill(work_dir, **row.options)
    assert (report["verdict"], bool(re.search(row.says, report["reason"]))) == (row.verdict, True), report["reason"]
    assert report["verified_seconds"] is None
    assert not report["objective"]["met"]


def test_a_healthy_copy_passes(any_shop: BackedUp, work_dir: Path) -> None:
    report = any_shop.drill(work_dir)
    assert report["verdict"] == "passed", report["reason"]


@pytest.mark.parametrize("row", EVERY)
def test_a_broken_dump_fails_and_says_how(any_shop: BackedUp, work_dir: Path, row: str) -> None:
    check(any_shop, work_dir, EVERY[row])


@pytest.mark.parametrize("row", REST)
def test_a_broken_backup_fails_and_says_how(shop: BackedUp, work_dir: Path, row: str) -> None:
    check(shop, work_dir, REST[row])


def others_dump(backup: BackedUp, other: BackedUp) -> None:
    copy_of(volumes(backup)[0], volumes(other)[0])


def others_evidence(backup: BackedUp, other: BackedUp) -> None:
    copy_of(volumes(backup, "evidence")[0], volumes(other, "evidence")[0])


def others_manifest(backup: BackedUp, other: BackedUp) -> None:
    copy_of(backup.manifest, other.manifest)


def others_signature(backup: BackedUp, other: BackedUp) -> None:
    edit(backup, lambda document: document.update(signature=manifest_of(other).signature))


@pytest.mark.parametrize(
    ("exchange", "says"),
    [
        (others_dump, r"truncated|not what was stored|another SHA-256 digest"),
        (others_evidence, r"truncated|not what was stored|another SHA-256 digest"),
        (others_manifest, r"manifest"),
        (others_signature, r"signature.*does not hold"),
    ],
)
def test_what_belongs_to_another_backup_of_the_same_people_fails(
    shop: BackedUp, other: BackedUp, work_dir: Path, exchange: Callable[[BackedUp, BackedUp], None], says: str
) -> None:
    check(shop, work_dir, Row(lambda backup: exchange(backup, other), "failed", says))


def test_a_stranger_who_signs_is_named(shop: BackedUp, work_dir: Path, tmp_path: Path) -> None:
    sign_again(shop, ssh_pair(tmp_path / "stranger"))
    check(shop, work_dir, Row(lambda _: None, "failed", "not among the allowed ones"))
    check(shop, work_dir, Row(lambda _: None, "unverified", "who took this backup cannot be known", {"verify_keys": []}))


def test_the_identity_of_others_opens_nothing_and_proves_nothing(shop: BackedUp, work_dir: Path, tmp_path: Path) -> None:
    others = new_identity(tmp_path / "others")
    check(shop, work_dir, Row(lambda _: None, "unverified", "identity", {"identity_file": str(others.file)}))
    others.file.write_text("")
    check(shop, work_dir, Row(lambda _: None, "unverified", "identity", {"identity_file": str(others.file)}))
    others.file.unlink()
    check(shop, work_dir, Row(lambda _: None, "unverified", "identity cannot be read", {"identity_file": str(others.file)}))


@pytest.mark.needs("program:gpg", "program:gpg-agent", "program:gpgconf")
@pytest.mark.parametrize(("form", "says"), [("custom, gpg", "identity"), ("custom, gpg-symmetric", "passphrase")])
def test_the_key_of_others_proves_nothing_with_gpg_either(
    taken: Callable[[str], BackedUp], work_dir: Path, tmp_path: Path, form: str, says: str
) -> None:
    others = tmp_path / "others"
    if form == "custom, gpg":
        gpg_pair(others)
    else:
        others.touch(mode=0o600)
        others.write_text("battery staple")
    backup = taken(form)
    check(backup, work_dir, Row(lambda _: None, "unverified", says, {backup.opened_by: str(others)}))


def test_what_was_sealed_for_somebody_else_is_lost(shop: BackedUp, work_dir: Path, tmp_path: Path) -> None:
    """The evidence opens, the dump does not: it was taken with the wrong list of recipients."""
    stranger = new_identity(tmp_path / "stranger")
    damage.put(shop, "dump", damage.sealed_for(stranger.recipient, b"PGDMP" + os.urandom(1000)))
    check(shop, work_dir, Row(lambda _: None, "unverified", "identity"))


def test_a_surplus_volume_is_not_read(shop: BackedUp, work_dir: Path) -> None:
    """Only what the signed manifest names is the backup."""
    last = volumes(shop)[-1]
    copy_of(last.with_name(f"{last.name[:-3]}999"), last)
    assert shop.drill(work_dir)["verdict"] == "passed"


def test_remains_of_a_killed_backup_are_no_backup(shop: BackedUp, work_dir: Path) -> None:
    """Law 1: artifacts without a manifest, newer than the backup."""
    shutil.copytree(shop.folder, shop.folder.with_name(NEWER))
    report = shop.drill(work_dir)
    assert (report["verdict"], report["backup_id"]) == ("passed", shop.backup_id)


def test_a_copy_that_is_broken_in_one_place_fails_though_the_other_is_whole(
    shop: BackedUp, taken: Callable[[str], BackedUp], work_dir: Path
) -> None:
    cut(shop.manifest)
    whole = taken("custom, age")
    repositories = {name: {"type": "posix", "path": str(backup.repository)} for name, backup in (("a", shop), ("b", whole))}
    report = whole.drill(work_dir, repositories=repositories)
    assert (report["verdict"], report["repository"]) == ("failed", "b")
    assert report["reason"].startswith("repository a:")


def test_a_newer_broken_backup_is_never_replaced_by_an_older_one_but_the_older_can_be_named(shop: BackedUp, work_dir: Path) -> None:
    """Law 2: the older backup is whole, and a drill of it would pass."""
    newer = shop.manifest.with_name(f"{NEWER}.json")
    newer.write_bytes(shop.manifest.read_bytes())
    cut(newer)
    assert NEWER in shop.drill(work_dir)["reason"]
    assert shop.drill(work_dir, backup_id=shop.backup_id)["verdict"] == "passed"


def test_a_backup_from_the_future_keeps_no_promise(shop: BackedUp, work_dir: Path) -> None:
    """Production's clock is wrong, or this host's: how far the backup lies behind cannot be known."""
    later = manifest_of(shop).snapshot_at + dt.timedelta(days=400)
    sign_again(shop, snapshot_at=later, finished_at=later)
    report = shop.drill(work_dir, objective={"rpo": "24h"})
    assert report["rpo_seconds"] is None
    assert "a clock is wrong" in report["rpo_note"]
    assert not report["objective"]["met"]
