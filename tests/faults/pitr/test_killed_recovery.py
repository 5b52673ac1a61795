# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A recovery that is killed or stopped at any of its steps leaves nothing behind, and the archive is as it was."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.processes import processes_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.teardown import reap
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import drills_in
from support.clusters import account
from support.drills import DRILL, as_ordinary_user, drill_at
from support.leaks import children, eventually
from support.pitr import listing

from .conftest import Shop

SLOW = {"sql": {"name": "slow", "query": "SELECT pg_sleep(3600) IS NULL", "expect": False, "timeout": "2h"}}
"""A recovery with this check is still at work when a busy machine gets to end it."""
PHASES = ("prove on an empty server", "fetch_base", "replay up to", "ask what must be there")


@pytest.mark.needs("netns")
@pytest.mark.parametrize("phase", PHASES)
def test_a_killed_recovery_leaves_no_process_and_the_reaper_takes_the_rest(shop: Shop, work_dir: Path, phase: str) -> None:
    before = listing(shop.production.place.root)
    with drill_at(shop.production.options(work_dir, checks=[SLOW]), phase) as process:
        started = children(process.pid)
        process.kill()
        process.wait()
    eventually(lambda: not [pid for directory in drills_in(work_dir) for pid in processes_of(directory)], "the server died with it")
    eventually(lambda: not [pid for pid in started if Path(f"/proc/{pid}/cwd").exists()], "so did whatever else it had started")
    # What the drill was just about to start holds its lock for a moment longer than the drill itself.
    eventually(lambda: all(item.state == "reaped" for item in reap(work_dir)), "what is left is reaped")
    assert os.listdir(work_dir) == [".lock"]
    assert listing(shop.production.place.root) == before


@pytest.mark.needs("netns")
def test_a_stopped_recovery_tears_down_and_reports(shop: Shop, work_dir: Path) -> None:
    with drill_at(shop.production.options(work_dir, checks=[SLOW]), "replay up to") as process:
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
