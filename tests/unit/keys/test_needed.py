# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backups of keys have to stay (law 6): whatever a kept backup needs, and what is in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.needed import keeping_keys, needed_keys
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef
from hypothesis import given
from hypothesis import strategies as st


@dataclass(frozen=True)
class Kept:
    ref: BackupRef
    keys: Mapping[str, str] = field(default_factory=dict)


def backup(day: int, keys: Mapping[str, str], kind: str = "database", name: str = "shop") -> Kept:
    return Kept(BackupRef("shop", kind, name, f"202611{day:02d}T030000Z-00000000"), keys)


def key(day: int, fingerprint: str, name: str = "master-key") -> Kept:
    return backup(day, {name: fingerprint}, "keys", name)


def days(keeping: Mapping[BackupRef, str]) -> list[int]:
    return sorted(int(ref.backup_id[6:8]) for ref in keeping)


KEYS = [key(1, "one"), key(10, "two"), key(20, "three")]


def test_a_key_stays_while_a_kept_backup_needs_it_and_goes_with_the_last() -> None:
    assert days(keeping_keys([backup(5, {"master-key": "one"}), backup(21, {"master-key": "three"})], KEYS)) == [1, 20]
    assert days(keeping_keys([backup(21, {"master-key": "three"})], KEYS)) == [20]


def test_the_key_in_use_stays_even_when_no_backup_is_kept() -> None:
    assert days(keeping_keys([], KEYS)) == [20]
    assert days(keeping_keys([], [*KEYS, key(2, "a", "env")])) == [2, 20]


def test_of_a_key_that_was_sealed_anew_the_newer_one_stays() -> None:
    assert days(keeping_keys([backup(5, {"master-key": "one"})], [*KEYS, key(2, "one")])) == [2, 20]


def test_a_backup_that_says_nothing_may_need_what_was_in_use_and_all_after() -> None:
    assert days(keeping_keys([backup(12, {})], KEYS)) == [10, 20]
    assert days(keeping_keys([backup(12, {}, "globals", "globals")], KEYS)) == [10, 20]


def test_a_base_backup_leads_to_moments_after_it() -> None:
    assert days(keeping_keys([backup(5, {"master-key": "one"}, "base", "cluster")], KEYS)) == [1, 10, 20]


def test_backups_of_keys_need_none_themselves() -> None:
    assert needed_keys(KEYS) == {}
    assert needed_keys([backup(5, {"k": "one"}), backup(6, {"k": "one"})]) == {("k", "one"): "20261106T030000Z-00000000"}


@given(st.lists(st.tuples(st.integers(1, 28), st.sampled_from("abc")), max_size=8), st.lists(st.integers(1, 28), max_size=5, unique=True))
def test_whatever_is_kept_finds_its_key(used: list[tuple[int, str]], shipped: list[int]) -> None:
    held = [key(day, "abc"[day % 3]) for day in shipped]
    kept = [backup(day, {"master-key": fingerprint}) for day, fingerprint in used]
    keeping = keeping_keys(kept, held)
    left = {one.keys["master-key"] for one in held if one.ref in keeping}
    for one in kept:
        wanted = one.keys["master-key"]
        assert wanted in left or wanted not in {each.keys["master-key"] for each in held}
    assert bool(keeping) == bool(held)
