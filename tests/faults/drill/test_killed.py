# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill that is stopped or killed at each of its steps leaves nothing behind: by itself, or after the reaper."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.processes import processes_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.teardown import reap
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import drills_in
from support.drills import BackedUp, drill_at
from support.leaks import children, eventually

PHASES = (
    "find the backup",
    "guards for backup",
    "fetch and open the evidence",
    "start a throwaway",
    "fetch and open the dump",
    "restore",
    "collect the planner's statistics",
    "log in",
    "compare",
    "tear down",
)

SLOW = {"sql": {"name": "slow", "query": "SELECT pg_sleep(3600) IS NULL", "expect": False, "timeout": "2h"}}
"""A drill with this check is still at work when a busy machine gets to end it."""


def leftovers(work_dir: Path) -> dict[int, str]:
    return {pid: name for directory in drills_in(work_dir) for pid, name in processes_of(directory).items()}


@pytest.mark.needs("netns")
@pytest.mark.parametrize("phase", PHASES)
def test_a_killed_drill_leaves_no_process_and_the_reaper_takes_the_rest(shop: BackedUp, work_dir: Path, phase: str) -> None:
    with drill_at(shop.options(work_dir, jobs=2, checks=[] if phase == "tear down" else [SLOW]), phase) as process:
        started = children(process.pid)
        process.kill()
        process.wait()
    eventually(lambda: not leftovers(work_dir), "the server and the programs died with the drill")
    eventually(lambda: not [pid for pid in started if Path(f"/proc/{pid}/cwd").exists()], "so did whatever else it had started")
    if work_dir.exists():
        # What the drill was just about to start holds its lock for a moment longer than the drill itself.
        eventually(lambda: all(item.state == "reaped" for item in reap(work_dir)), "what is left is reaped")
    assert drills_in(work_dir) == []
    # Killed at the right moment, the directory is made and the lock in it is not.
    assert not work_dir.exists() or os.listdir(work_dir) in ([], [".lock"])


@pytest.mark.needs("netns")
def test_the_next_drill_reaps_what_a_killed_one_left(shop: BackedUp, work_dir: Path) -> None:
    with drill_at(shop.options(work_dir, jobs=2, checks=[SLOW]), "collect the planner's statistics") as process:
        process.kill()
        process.wait()
    (left,) = drills_in(work_dir)
    report = shop.drill(work_dir)
    assert report["verdict"] == "passed"
    assert [warning for warning in report["warnings"] if left.name in warning and "reaped" in warning]


@pytest.mark.needs("netns")
def test_a_reaper_leaves_a_running_drill_alone(shop: BackedUp, work_dir: Path) -> None:
    with drill_at(shop.options(work_dir, jobs=2), "restore", held=True) as process:
        assert [item.state for item in reap(work_dir)] == ["running"]
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0


@pytest.mark.needs("netns")
@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize(
    ("phase", "number"),
    [
        ("start a throwaway", signal.SIGTERM),
        ("fetch and open the dump", signal.SIGINT),
        ("restore", signal.SIGTERM),
        ("compare", signal.SIGHUP),
    ],
)
def test_a_stopped_drill_tears_down_and_reports(shop: BackedUp, work_dir: Path, phase: str, number: signal.Signals) -> None:
    with drill_at(shop.options(work_dir, jobs=2, checks=[] if phase == "tear down" else [SLOW]), phase) as process:
        process.send_signal(number)
        assert process.stdout is not None
        report = json.loads(process.stdout.read().splitlines()[-1])
        assert process.wait() == 14
    assert report["verdict"] == "unverified"
    assert number.name in report["reason"]
    assert report["teardown"]["complete"]
    assert os.listdir(work_dir) == [".lock"]


@pytest.mark.needs("netns")
def test_a_signal_during_teardown_does_not_cut_it_short(shop: BackedUp, work_dir: Path) -> None:
    with drill_at(shop.options(work_dir, jobs=2), "tear down") as process:
        process.terminate()
        process.wait()
    assert os.listdir(work_dir) == [".lock"]
