# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that is killed while its dump is being staged: its pg_dump, its sessions and its copy in clear go with the next run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from support.clusters import Server
from support.gates import KEYS, gate_for_workers, worker_waits
from support.leaks import children, eventually
from support.logical import manifests_in, new_identity, options, posix

pytestmark = pytest.mark.needs("program:age", "program:zstd")

RUN = """
import json, sys
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import stop_on_signals
with stop_on_signals():
    run(json.load(sys.stdin))
"""


def started(given: dict[str, object]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    argv = [sys.executable, "-c", RUN]
    process = subprocess.Popen(
        argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(given))
    process.stdin.close()
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_of_a_killed_staging_outlives_the_next_run(postgres18: Server, tmp_path: Path, number: signal.Signals) -> None:
    places, stage = {"here": posix(tmp_path / "here")}, tmp_path / "staging"
    with postgres18.database() as name:
        for table in ("a", "b", "c"):
            postgres18.execute(f"CREATE TABLE {table} AS SELECT n FROM generate_series(1, 500000) n", name)
        identity = new_identity(tmp_path / "identity")
        given = options(postgres18, name, places, identity, tmp_path / "locks", format="directory", staging_dir=str(stage))
        with gate_for_workers(postgres18, name, "a", through=1):
            process = started(given)
            worker_waits(postgres18, name)
            eventually(lambda: any(stage.glob("stage-*/dump/*.dat")), "the dump is being staged")
            programs = children(process.pid)
            for pid in programs:
                os.kill(pid, signal.SIGSTOP)  # a dump that would go on for hours
            process.send_signal(number)
            process.wait(120)
        if number == signal.SIGTERM:
            assert os.listdir(stage) == [".lock"]
            return
        assert any(stage.glob("stage-*/dump/*.dat"))
        with postgres18.connect(name) as connection:
            held = (
                "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
                " WHERE locktype = 'advisory' AND datname = %s AND objid <> ALL (%s)"
            )
            gone = (name, list(KEYS))
            eventually(lambda: connection.execute(held, gone).fetchone() == (0,), "the server has noticed that the run is gone")
        run(given)
        assert os.listdir(stage) == [".lock"]
        for pid in programs:
            with contextlib.suppress(ProcessLookupError):  # what ended with the run
                os.kill(pid, signal.SIGCONT)
        eventually(lambda: not any(Path(f"/proc/{pid}/fd/0").exists() for pid in programs), "its pg_dump has ended")
        assert os.listdir(stage) == [".lock"]
        with postgres18.connect(name) as connection:
            left = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lifeboat %' AND datname = current_database()"
            eventually(lambda: connection.execute(left).fetchone() == (0,), "its sessions have ended")
        assert len(manifests_in(places["here"])) == 1
