# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A chain is one unit to whoever lists or copies backups: a link without what it builds on is not good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup_list import list_backups
from ansible_collections.lifeboat.postgres.plugins.module_utils.copies.run import run as copy
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import manifest_key, new_backup_id
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from support.bases import Production, base_manifests, base_of, restored
from support.leaks import eventually
from support.logical import folder_of, posix

Chain = tuple[list[str], dict[str, Any]]


@pytest.fixture
def chain(production18: Production, tmp_path: Path) -> Chain:
    """The ids of a full backup and two that build on it, and the repository that holds them."""
    place = posix(tmp_path / "here")
    given = production18.given(repositories={"here": place}, mode="incremental", wal="included", state_dir=str(tmp_path / "state"))
    ids: list[str] = []
    while len(ids) < 3:
        # Ids sort by their second, and within one by chance: these backups are smaller than any that is taken in earnest.
        eventually(lambda: not ids or new_backup_id(now())[:16] > ids[-1][:16], "the next second has begun")
        ids.append(run(given)["backup_id"])
    return ids, place


@pytest.fixture
def far(chain: Chain, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Options of backup_copy to a second place."""
    abroad = {**posix(tmp_path / "far"), "copy_from": "here"}
    return lambda **more: {"system": "shop", "repositories": {"here": chain[1], "far": abroad}, "lock_dir": str(tmp_path / "locks"), **more}


def listed(place: dict[str, Any], tmp_path: Path) -> dict[str, dict[str, Any]]:
    answer = list_backups({"system": "shop", "repositories": {"here": place}, "cache_dir": str(tmp_path / "cache")})
    return {backup["backup_id"]: backup for backup in answer["backups"]}


def test_a_list_says_what_builds_on_what_also_when_it_comes_from_the_cache(chain: Chain, tmp_path: Path) -> None:
    (full, first, second), place = chain
    for _number in range(2):
        found = listed(place, tmp_path)
        assert {backup_id: backup["parent"] for backup_id, backup in found.items()} == {full: "", first: full, second: first}
        assert all(backup["good"] for backup in found.values())


def test_a_link_without_its_parent_is_not_good(chain: Chain, tmp_path: Path) -> None:
    (full, first, second), place = chain
    (tmp_path / "here" / manifest_key(base_of(place, full).ref)).unlink()
    found = listed(place, tmp_path)
    assert {first: False, second: False} == {backup_id: backup["good"] for backup_id, backup in found.items()}
    assert f"it builds on {full}, which is not there" in found[second]["problems"]


def test_a_copy_of_the_newest_brings_what_it_builds_on_first(
    chain: Chain, far: Callable[..., dict[str, Any]], production18: Production, tmp_path: Path
) -> None:
    ids, _place = chain
    assert [copied["backup_id"] for copied in copy(far(), check_mode=True)["copied"]] == ids
    assert [copied["backup_id"] for copied in copy(far())["copied"]] == ids
    restored({"type": "posix", "path": str(tmp_path / "far")}, ids, production18.keys, production18.server)
    assert copy(far())["changed"] is False


def test_a_copy_whose_parent_is_damaged_is_not_made(chain: Chain, far: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (full, _first, second), place = chain
    sealed = folder_of(tmp_path / "here", base_of(place, full)) / "base.tar.zst.age"
    data = bytearray(sealed.read_bytes())
    data[100] ^= 1
    sealed.chmod(0o600)
    sealed.write_bytes(data)
    with pytest.raises(IntegrityError, match=second):
        copy(far(backup_id=second))
    assert base_manifests({"type": "posix", "path": str(tmp_path / "far")}) == []
