# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A young backup makes another one needless, but not one that somebody else signed, or nobody."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import sign
from support.keys import ssh_pair

pytestmark = pytest.mark.needs("program:ssh-keygen", "library:cryptography", "program:age", "program:zstd")
Given = Callable[..., dict[str, Any]]


def test_a_forged_young_backup_keeps_nobody_from_taking_a_real_one(given: Given, places: dict[str, Any], shop: str, tmp_path: Path) -> None:
    ours, stranger = ssh_pair(tmp_path / "ours"), ssh_pair(tmp_path / "stranger")
    options = given(max_age="1h", signing_key=ours.path)
    taken = run(options)
    again = run(options)
    assert (again["changed"], again["backup_id"]) == (False, taken["backup_id"])
    for signer in (stranger.path, ""):
        for place in places.values():
            path = Path(place["path"]) / layout.manifest_key(layout.BackupRef("shop", "database", shop, taken["backup_id"]))
            manifest = dataclasses.replace(Manifest.from_bytes(path.read_bytes()), signature="")
            path.chmod(0o600)
            path.write_bytes(dataclasses.replace(manifest, signature=sign(manifest.signed_bytes(), signer) if signer else "").to_bytes())
        assert run(options, check_mode=True)["changed"]
    assert run(given(max_age="1h"))["backup_id"] == taken["backup_id"]  # who does not sign cannot tell
