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

pytestmark = pytest.mark.needs("program:age", "program:zstd")

WAITING_PG_DUMP = """#!/bin/sh
case $1 in --version | --help) exec '{real}' "$@" ;; esac
while [ ! -e '{go}' ]; do sleep 0.02; done
exec '{real}' "$@"
"""


def test_a_truncate_in_between_costs_one_attempt_and_no_backup(
    given: Callable[..., dict[str, Any]], places: dict[str, Any], postgres: Server, shop: str, tmp_path: Path
) -> None:
    programs, go = tmp_path / "bin", tmp_path / "go"
    programs.mkdir()
    pg_dump = programs / "pg_dump"
    pg_dump.write_text(WAITING_PG_DUMP.format(real=postgres.bin_dir / "pg_dump", go=go))
    pg_dump.chmod(0o755)
    said: list[str] = []
    results: list[dict[str, Any]] = []
    backup = threading.Thread(target=lambda: results.append(run(given(bin_dir=str(programs), lock_timeout="1s"), progress=said.append)))
    backup.start()
    eventually(lambda: any("snapshot of" in line for line in said), "the tables are locked")
    truncate = threading.Thread(target=postgres.execute, args=("TRUNCATE orders", shop))
    truncate.start()
    with postgres.connect(shop) as connection:
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
        eventually(lambda: connection.execute(waiting).fetchone() == (1,), "the TRUNCATE waits for our locks")
    go.touch()
    backup.join(60)
    truncate.join(60)
    assert any("again with a new snapshot" in line for line in said)
    assert results[0]["changed"] is True
    assert len(manifests_in(places["here"])) == 1
