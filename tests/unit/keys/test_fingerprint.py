# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fingerprint tells whether two keys are the same, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, IntegrityError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.document import packed_files, unpacked_files
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.fingerprint import check_text, fingerprint, new_salt, read_salt
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.state import read_fingerprints, write_fingerprints

SALT = bytes(range(32))


def test_every_byte_and_every_name_counts_and_the_order_does_not() -> None:
    one = fingerprint([("", b"key")], SALT)
    assert one == fingerprint([("", b"key")], SALT) == check_text(one)
    others = [
        fingerprint([("", b"key\n")], SALT),
        fingerprint([("", b"key")], SALT[::-1]),
        fingerprint([("key", b"key")], SALT),
        fingerprint([("a", b"bc"), ("d", b"")], SALT),
        fingerprint([("a", b"b"), ("d", b"c")], SALT),
        fingerprint([("ab", b"c"), ("d", b"")], SALT),
    ]
    assert len({one, *others}) == 7
    assert fingerprint([("a", b"1"), ("b", b"2")], SALT) == fingerprint([("b", b"2"), ("a", b"1")], SALT)


def test_the_salt_is_made_once_for_its_owner_only_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "salt"
    assert read_salt(path) is None
    salt = new_salt(path)
    assert (read_salt(path), new_salt(path), path.stat().st_mode & 0o777) == (salt, salt, 0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == ["salt"]
    path.chmod(0o644)
    with pytest.raises(SealError, match="others can read it"):
        read_salt(path)
    path.chmod(0o600)
    path.write_text("zz")
    with pytest.raises(SealError, match="it is damaged"):
        read_salt(path)


def test_what_the_backups_read_is_strict_about_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "fingerprints.json"
    assert read_fingerprints(path, "shop") == {}
    keys = {"master-key": fingerprint([("", b"key")], SALT)}
    write_fingerprints(path, "shop", keys)
    assert (read_fingerprints(path, "shop"), path.stat().st_mode & 0o777) == (keys, 0o644)
    with pytest.raises(ConfigurationError, match="of another system"):
        read_fingerprints(path, "licences")
    for damaged in (b"{", b"[]", b'{"schema": 2}', b'{"schema": 1, "system": "shop", "keys": {"k": "a secret that is no fingerprint"}}'):
        path.write_bytes(damaged)
        with pytest.raises(ConfigurationError, match="not a file with fingerprints") as caught:
            read_fingerprints(path, "shop")
        assert "a secret" not in str(caught.value)


def test_files_come_back_from_their_tar_and_a_hostile_one_is_refused() -> None:
    files = [("b/c.pem", os.urandom(2000)), ("a.pem", b""), ("ümlaut", b"x"), ("n" * 300, b"y")]
    assert sorted(unpacked_files(packed_files(files), "vault")) == sorted(files)
    assert packed_files(files) == packed_files(files[::-1])
    for name in ("../etc/passwd", "/etc/passwd", "a//b"):
        with pytest.raises(IntegrityError, match="no plain file inside it"):
            unpacked_files(packed_files([(name, b"x")]), "vault")
