# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TRUNCATE that queues up while the workers of a parallel dump are at work: they give way, and the backup is taken again."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from support.clusters import Server
from support.gates import gate_for_workers, worker_waits
from support.logical import manifests_in, new_identity, options, posix
from support.truncates import queued_truncate

pytestmark = pytest.mark.needs("program:age", "program:zstd")


def test_a_worker_gives_way_and_a_new_snapshot_is_taken(postgres18: Server, tmp_path: Path) -> None:
    places, stage = {"here": posix(tmp_path / "here")}, tmp_path / "staging"
    said: list[str] = []
    results: list[dict[str, Any]] = []
    with postgres18.database() as name:
        for table in ("first", "second"):
            postgres18.execute(f"CREATE TABLE {table} AS SELECT n FROM generate_series(1, 400000) n", name)
        postgres18.execute("CREATE TABLE last AS SELECT 1 AS n; ANALYZE", name)
        given = options(postgres18, name, places, new_identity(tmp_path / "identity"), tmp_path / "locks", format="directory")
        given = {**given, "staging_dir": str(stage)}
        backup = threading.Thread(target=lambda: results.append(run(given, progress=said.append)))
        with gate_for_workers(postgres18, name, "last") as open_gate:
            backup.start()
            worker_waits(postgres18, name)
            with queued_truncate(postgres18, "last", name):
                open_gate()
                backup.join(120)
    assert any("again with a new snapshot" in line and "could not obtain lock" in line for line in said), said
    assert results[0]["format"] == "directory"
    assert len(manifests_in(places["here"])) == 1
    assert os.listdir(stage) == [".lock"]
