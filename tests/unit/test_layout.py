# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and keys: reversible, safe, in order of time."""

from __future__ import annotations

import datetime as dt

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, UnsafeName
from hypothesis import given
from hypothesis import strategies as st

MOMENT = dt.datetime(2026, 11, 21, 3, 15, tzinfo=dt.timezone.utc)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@given(names)
def test_any_name_comes_back_from_its_encoded_form(name: str) -> None:
    encoded = layout.encode_name(name)
    assert layout.decode_name(encoded) == name
    assert layout.check_key(encoded) == encoded
    assert encoded not in (".", "..")
    assert not encoded.startswith((".", "-"))
    assert encoded.isascii()


@given(names, names)
def test_two_names_never_share_a_place(one: str, other: str) -> None:
    assert (layout.encode_name(one) == layout.encode_name(other)) == (one == other)


@given(names, names)
def test_a_manifest_key_says_which_backup_it_speaks_of(system: str, name: str) -> None:
    ref = layout.BackupRef(system, "database", name, layout.new_backup_id(MOMENT))
    assert layout.parse_manifest_key(layout.manifest_key(ref)) == ref
    assert layout.manifest_key(ref).startswith(layout.manifests_prefix(system, "database", name))
    assert layout.artifact_key(ref, "database.dump.zst.age").startswith(layout.backup_prefix(ref))


def test_ids_sort_by_time_and_do_not_collide() -> None:
    first, second = layout.new_backup_id(MOMENT), layout.new_backup_id(MOMENT + dt.timedelta(seconds=1))
    assert first < second
    assert layout.moment_of(first) == MOMENT
    assert len({layout.new_backup_id(MOMENT) for _ in range(50)}) == 50  # of thousands in one second two may be the same


def test_an_id_is_taken_in_utc_whatever_the_clock_says() -> None:
    local = MOMENT.astimezone(dt.timezone(dt.timedelta(hours=9)))
    assert layout.new_backup_id(local).startswith("20261121T031500Z-")


@pytest.mark.parametrize("key", ["", "/etc/passwd", "a//b", "a/../b", ".", "a/.", "a\nb", "a\\b", "a\0b", "x" * 901, "a/"])
def test_a_hostile_key_is_refused(key: str) -> None:
    with pytest.raises(UnsafeName):
        layout.check_key(key)


@pytest.mark.parametrize(
    "key", ["shop/manifests/database/shop/x.json", "shop/database/shop/1", "shop/manifests/tea/shop/20261121T031500Z-00000000.json"]
)
def test_a_key_of_another_shape_is_no_manifest(key: str) -> None:
    assert layout.parse_manifest_key(key) is None


def test_an_id_of_another_shape_is_refused_before_it_becomes_a_path() -> None:
    with pytest.raises(UnsafeName, match="not a backup id"):
        layout.backup_prefix(layout.BackupRef("shop", "database", "shop", "../../etc"))


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="empty"):
        layout.encode_name("")


@pytest.mark.parametrize(
    ("name", "room"),
    [
        ("0000000200000003000000FF", "00000002"),
        ("0000000200000003000000FF.partial", "00000002"),
        ("0000000200000003000000FF.00000028.backup", "00000002"),
        ("00000002.history", "00000002"),
    ],
)
def test_a_wal_file_lies_under_its_timeline_and_its_key_says_which_it_is(name: str, room: str) -> None:
    digest = "0123456789abcdef" * 4
    key = layout.wal_key("my shop", name, digest, ".zst.age")
    assert key == f"my%20shop/wal/{room}/{name}-{digest}.zst.age"
    assert key.startswith(layout.wal_file_prefix("my shop", name))
    assert layout.parse_wal_key(key) == (name, digest, ".zst.age")
    assert layout.parse_wal_key(key.replace("/00000002", "/00000001", 1)) is None
    assert layout.parse_wal_key(key.replace(f"/{room}/", f"/{room}/00000009/")) is None


def test_keys_of_segments_sort_as_their_names_do() -> None:
    first = "0000000100000001" + "00000000"
    names = ["0000000100000000000000FF", first, f"{first}.00000028.backup", f"{first}.partial", "000000020000000100000001"]
    keys = [layout.wal_key("shop", name, "0" * 64, ".zst") for name in names]
    assert keys == sorted(keys)
