# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TRUNCATE that queues up while the workers of a parallel dump are at work: they give way, and the backup is taken again."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from support.clusters import Server
from support.leaks import children, eventually
from support.logical import manifests_in, new_identity, options, posix
from support.truncates import programs_with, queued_truncate

pytestmark = pytest.mark.needs("program:age", "program:zstd")


def held_with_workers(pid_file: Path) -> int:
    """The process of pg_dump, stopped as soon as it has workers: by then it has locked every table itself."""
    eventually(pid_file.exists, "pg_dump has started")
    leader = int(pid_file.read_text())
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            if len(children(leader)) >= 2:
                os.kill(leader, signal.SIGSTOP)
                return leader
    raise AssertionError("pg_dump never had workers")


def test_a_worker_gives_way_and_a_new_snapshot_is_taken(postgres18: Server, tmp_path: Path) -> None:
    places, stage, pid_file = {"here": posix(tmp_path / "here")}, tmp_path / "staging", tmp_path / "pid"
    tell = f"if [ ! -e '{pid_file}' ]; then echo $$ > '{pid_file}.new'; mv '{pid_file}.new' '{pid_file}'; fi"
    programs = programs_with(postgres18.bin_dir, tmp_path / "bin", tell)
    said: list[str] = []
    results: list[dict[str, Any]] = []
    with postgres18.database() as name:
        for table in ("first", "second"):
            postgres18.execute(f"CREATE TABLE {table} AS SELECT n FROM generate_series(1, 400000) n", name)
        postgres18.execute("CREATE TABLE last AS SELECT 1 AS n; ANALYZE", name)
        given = options(postgres18, name, places, new_identity(tmp_path / "identity"), tmp_path / "locks", format="directory")
        given = {**given, "bin_dir": str(programs), "staging_dir": str(stage)}
        backup = threading.Thread(target=lambda: results.append(run(given, progress=said.append)))
        backup.start()
        leader = held_with_workers(pid_file)
        with queued_truncate(postgres18, "last", name):
            os.kill(leader, signal.SIGCONT)
            backup.join(120)
    assert any("again with a new snapshot" in line and "could not obtain lock" in line for line in said), said
    assert results[0]["format"] == "directory"
    assert len(manifests_in(places["here"])) == 1
    assert os.listdir(stage) == [".lock"]
