# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A recovery that is killed or stopped at any of its steps leaves nothing behind, and the archive is as it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.processes import processes_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.teardown import reap
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import drills_in
from support.clusters import account
from support.drills import as_ordinary_user
from support.leaks import children, eventually
from support.pitr import listing

from .conftest import Shop

DRILL = """
import json, sys
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import stop_on_signals
try:
    with stop_on_signals():
        result = run(json.loads(sys.argv[1]), progress=lambda message: print(message, flush=True))
    print(json.dumps(result["report"]))
except LifeboatError as error:
    print(json.dumps(error.result.get("report", str(error))))
    sys.exit(error.exit_code)
"""
PHASES = ("prove on an empty server", "fetch_base", "replay up to", "ask what must be there")


@contextmanager
def drill_at(shop: Shop, work_dir: Path, phase: str) -> Iterator[subprocess.Popen[str]]:
    """A drill in a process of its own that has just begun this step."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRILL, json.dumps(shop.production.options(work_dir))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith(phase):
                break
        else:
            pytest.fail(f"the drill ended before it came to: {phase}")
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.needs("netns")
@pytest.mark.parametrize("phase", PHASES)
def test_a_killed_recovery_leaves_no_process_and_the_reaper_takes_the_rest(shop: Shop, work_dir: Path, phase: str) -> None:
    before = listing(shop.production.place.root)
    with drill_at(shop, work_dir, phase) as process:
        started = children(process.pid)
        process.kill()
        process.wait()
    eventually(lambda: not [pid for directory in drills_in(work_dir) for pid in processes_of(directory)], "the server died with it")
    eventually(lambda: not [pid for pid in started if Path(f"/proc/{pid}/cwd").exists()], "so did whatever else it had started")
    assert {item.state for item in reap(work_dir)} <= {"reaped"}
    assert os.listdir(work_dir) == [".lock"]
    assert listing(shop.production.place.root) == before


@pytest.mark.needs("netns")
def test_a_stopped_recovery_tears_down_and_reports(shop: Shop, work_dir: Path) -> None:
    with drill_at(shop, work_dir, "replay up to") as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        report = json.loads(process.stdout.read().splitlines()[-1])
        assert process.wait() == 14
    assert (report["verdict"], report["teardown"]["complete"]) == ("unverified", True)
    assert "SIGTERM" in report["reason"]
    assert os.listdir(work_dir) == [".lock"]


@pytest.mark.needs("userns")
def test_somebody_who_is_not_root_recovers_as_well(shop: Shop, work_dir: Path) -> None:
    own = work_dir.parent / "identity"
    own.write_bytes(shop.production.identity.file.read_bytes())
    own.chmod(0o600)
    entry = account()
    if entry is not None:
        for path in (work_dir.parent, own):
            os.chown(path, entry.pw_uid, entry.pw_gid)
    done = as_ordinary_user(DRILL, json.dumps(shop.production.options(work_dir, identity_file=str(own))))
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["verdict"], report["isolation"]["isolated"]) == ("passed", True), report["reason"]
