# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests that were read before are not read again, and nothing on this host's disk is believed that others could have put there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout, manifest_cache
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup_list import list_backups
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import sign
from support.keys import ssh_pair
from support.s3proxy import S3Proxy
from support.shelf import Shelf
from support.store_fixtures import Bucket, rclone_bucket

__all__ = ["rclone_bucket"]


@pytest.mark.usefixtures("no_ambient_aws")
def test_a_second_list_asks_for_the_listing_and_for_what_is_new_only(rclone_bucket: Bucket, tmp_path: Path) -> None:
    shelf = Shelf({"offsite": rclone_bucket.spec()})
    for hours in range(1, 1006):
        shelf.backup(hours, into=["offsite"], files=False)
    with S3Proxy(rclone_bucket.store.endpoint) as proxy:
        options = {
            "system": "shop",
            "repositories": {"offsite": rclone_bucket.spec(endpoint=proxy.endpoint)},
            "cache_dir": str(tmp_path / "cache"),
        }
        first = list_backups(options)
        assert sorted(set(proxy.operations())) == ["GetObject", "ListObjectsV2"]
        proxy.clear()
        second = list_backups(options)
        assert proxy.operations() == ["ListObjectsV2"] * 2, "1,005 keys are two pages"
        assert [backup["backup_id"] for backup in second["backups"]] == [backup["backup_id"] for backup in first["backups"]]
        proxy.clear()
        shelf.backup(0.5, into=["offsite"], files=False)
        assert len(list_backups(options)["backups"]) == 1006
        assert proxy.operations() == ["ListObjectsV2"] * 2 + ["GetObject"]
    shelf.close()


def test_what_is_gone_or_another_by_now_is_seen_and_leaves_the_cache(shelf: Any, tmp_path: Path) -> None:
    options = {"system": "shop", "repositories": shelf.specs, "cache_dir": str(tmp_path / "cache")}
    altered, gone = shelf.backup(1), shelf.backup(2)
    list_backups(options)
    size = sum(file.stat().st_size for file in (tmp_path / "cache").iterdir())
    shelf.overwrite("offsite", layout.manifest_key(altered.ref), b"{")
    for place in ("here", "offsite"):
        shelf.repositories[place].delete(layout.manifest_key(gone.ref))
    (left,) = list_backups(options)["backups"]
    assert "offsite: the manifest is not JSON" in left["problems"][0]
    assert sum(file.stat().st_size for file in (tmp_path / "cache").iterdir()) < size


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped index", "flipped document", "open to others", "a link"])
def test_a_cache_that_is_damaged_or_not_ours_is_read_past(shelf: Any, tmp_path: Path, damage: str) -> None:
    key = ssh_pair(tmp_path / "key")
    shelf.backup(1, sign=lambda data: sign(data, key.path))
    folder = tmp_path / "cache"
    options = {"system": "shop", "repositories": shelf.specs, "cache_dir": str(folder), "verify_keys": [key.public]}
    expected = [(backup["backup_id"], backup["good"]) for backup in list_backups(options)["backups"]]
    assert expected[0][1] is True
    for file in folder.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
        data = bytearray(file.read_bytes())
        if damage == "open to others":
            file.chmod(0o666)
        elif damage == "a link":
            file.rename(tmp_path / f"elsewhere-{file.name}")
            file.symlink_to(tmp_path / f"elsewhere-{file.name}")
        else:
            at = data.index(b"\n") + 40 if damage == "flipped index" else len(data) - 20
            data[at] ^= 1
            file.write_bytes({"empty": b"", "cut": bytes(data[: len(data) // 3])}.get(damage, bytes(data)))
    assert [(backup["backup_id"], backup["good"]) for backup in list_backups(options)["backups"]] == expected


def test_a_named_directory_that_is_somebody_elses_is_refused_and_an_empty_name_keeps_nothing(shelf: Any, tmp_path: Path) -> None:
    shelf.backup(1)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    options = {"system": "shop", "repositories": shelf.specs}
    with pytest.raises(ConfigurationError, match="the cache directory is a symlink"):
        list_backups({**options, "cache_dir": str(tmp_path / "open")})
    assert len(list_backups({**options, "cache_dir": ""})["backups"]) == 1


def test_the_directory_stays_bounded_and_what_was_not_used_the_longest_goes(
    shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_cache, "_MAX_FILES", 4)
    folder = tmp_path / "cache"
    options = {"system": "shop", "repositories": shelf.specs, "cache_dir": str(folder)}
    shelf.backup(1)
    list_backups(options)
    used = sorted(folder.iterdir())
    assert len(used) == 2
    now = time.time()
    for number in range(6):
        old = folder / f"gone-{number}.manifests"
        old.touch()
        os.utime(old, (now - 1000 - number, now - 1000 - number))
    killed, running, foreign = (folder / name for name in (".new-killed", ".new-running", "notes.txt"))
    for path, age in ((killed, 2 * 24 * 3600), (running, 60), (foreign, 10**8)):
        path.touch()
        os.utime(path, (now - age, now - age))
    for path in used:
        os.utime(path, (now - 5000, now - 5000))  # the longest ago, but asked for just now
    shelf.backup(0.5)
    list_backups(options)
    assert sorted(folder.iterdir()) == sorted([*used, folder / "gone-0.manifests", folder / "gone-1.manifests", running, foreign])
