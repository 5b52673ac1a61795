# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TRUNCATE that queues up between our locks and pg_dump's: pg_dump gives way, and the backup is taken again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from support.clusters import Server
from support.leaks import eventually
from support.logical import manifests_in
from support.truncates import programs_with, queued_truncate

pytestmark = pytest.mark.needs("program:age", "program:zstd")


def test_a_truncate_in_between_costs_one_attempt_and_no_backup(
    given: Callable[..., dict[str, Any]], places: dict[str, Any], postgres: Server, shop: str, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    programs = programs_with(postgres.bin_dir, tmp_path / "bin", f"while [ ! -e '{go}' ]; do sleep 0.02; done")
    said: list[str] = []
    results: list[dict[str, Any]] = []
    backup = threading.Thread(target=lambda: results.append(run(given(bin_dir=str(programs), lock_timeout="3s"), progress=said.append)))
    backup.start()
    eventually(lambda: any("snapshot of" in line for line in said), "the tables are locked")
    with queued_truncate(postgres, "orders", shop):
        go.touch()
        backup.join(120)
    assert any("again with a new snapshot" in line for line in said)
    assert results[0]["changed"] is True
    assert len(manifests_in(places["here"])) == 1
