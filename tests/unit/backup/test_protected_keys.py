# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup says which protected keys it needs, from what the escrow left on the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job import LogicalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.state import write_fingerprints
from support.keys import bech32

KEYS = {"master-key": "lk1:" + "0" * 32}


def job(**more: Any) -> LogicalJob:
    return LogicalJob.from_options(
        {
            "system": "shop",
            "login_db": "shop",
            "repositories": {"here": {"type": "posix", "path": "/nonexistent/here"}},
            "encryption": {"recipients": [bech32("age", bytes(32))]},
            **more,
        }
    )


def test_a_file_that_is_named_says_it(tmp_path: Path) -> None:
    write_fingerprints(tmp_path / "fingerprints.json", "shop", KEYS)
    assert job(keys_file=str(tmp_path / "fingerprints.json")).keys == KEYS


def test_a_named_file_that_is_not_there_or_of_another_system_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="keys_file is not there"):
        job(keys_file=str(tmp_path / "fingerprints.json"))
    write_fingerprints(tmp_path / "fingerprints.json", "licences", KEYS)
    with pytest.raises(ConfigurationError, match="of another system"):
        job(keys_file=str(tmp_path / "fingerprints.json"))


def test_where_no_keys_are_escrowed_nothing_is_said() -> None:
    found = job(system="a-system-that-nobody-has")
    assert (found.keys, found.keys_note) == ({}, "")
