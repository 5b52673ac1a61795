# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill's directory: whose it is, who may look in, and what a reaper makes of it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import Account, account_for
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.processes import processes_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.teardown import Reaped, reap, tear_down
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import (
    DRILL_VARIABLE,
    MARKER,
    Workspace,
    check_work_dir,
    drills_in,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DrillRefused
from support.leaks import eventually


@pytest.fixture
def account() -> Account:
    return account_for()


def abandoned(work_dir: Path, account: Account) -> Workspace:
    """What a killed drill leaves: the directory, and a lock that went with the process."""
    workspace = Workspace.create(work_dir, account)
    workspace.close()
    return workspace


def states(reaped: list[Reaped]) -> dict[str, str]:
    return {item.drill_id: item.state for item in reaped}


def test_only_the_server_may_look_into_its_directories(work_dir: Path, account: Account) -> None:
    workspace = Workspace.create(work_dir, account)
    modes = {name: stat.S_IMODE((workspace.path / name).stat().st_mode) for name in ("data", "s", "fetched", "root", MARKER)}
    assert modes == {"data": 0o700, "s": 0o700, "fetched": 0o750, "root": 0o700, MARKER: 0o600}
    assert stat.S_IMODE(workspace.path.stat().st_mode) == 0o710
    assert workspace.data.stat().st_uid == account.uid
    assert workspace.path.stat().st_uid == os.geteuid()
    marker = json.loads((workspace.path / MARKER).read_text())
    assert (marker["drill_id"], marker["pid"]) == (workspace.drill_id, os.getpid())
    assert tear_down(workspace, None).complete


def test_teardown_removes_what_a_restored_function_tried_to_keep(work_dir: Path, account: Account) -> None:
    workspace = Workspace.create(work_dir, account)
    kept = workspace.data / "kept" / "inner"
    kept.mkdir(parents=True)
    (kept / "file").write_text("x")
    (workspace.data / "link").symlink_to("/etc")
    for directory in (kept, kept.parent):
        directory.chmod(0)
    result = tear_down(workspace, None)
    assert (result.complete, result.left) == (True, ())
    assert drills_in(work_dir) == []
    assert Path("/etc/passwd").exists()


def test_teardown_ends_what_was_started_for_the_drill_and_nothing_else(work_dir: Path, account: Account) -> None:
    workspace = Workspace.create(work_dir, account)
    sleeper = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
    ours = subprocess.Popen(sleeper, env={DRILL_VARIABLE: workspace.drill_id}, stdout=subprocess.PIPE)
    looking = subprocess.Popen([*sleeper, str(workspace.path)], cwd=workspace.path, stdout=subprocess.PIPE)
    try:
        for process in (ours, looking):
            assert process.stdout is not None
            assert process.stdout.readline()
        assert set(processes_of(workspace.path)) == {ours.pid}
        assert tear_down(workspace, None).complete
        assert ours.wait(120) == -9
        assert looking.poll() is None
    finally:
        for process in (ours, looking):
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


def test_what_a_killed_drill_left_is_reaped(work_dir: Path, account: Account) -> None:
    workspace = abandoned(work_dir, account)
    left_running = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={DRILL_VARIABLE: workspace.drill_id})
    eventually(lambda: bool(processes_of(workspace.path)), "the process runs")
    assert states(reap(work_dir, check_only=True)) == {workspace.drill_id: "reaped"}
    assert workspace.path.exists()
    assert states(reap(work_dir)) == {workspace.drill_id: "reaped"}
    assert left_running.wait(120) == -9
    assert not workspace.path.exists()
    assert reap(work_dir) == []


def test_a_running_drill_is_never_reaped(work_dir: Path, account: Account) -> None:
    running, dead = Workspace.create(work_dir, account), abandoned(work_dir, account)
    assert states(reap(work_dir)) == {running.drill_id: "running", dead.drill_id: "reaped"}
    assert running.data.exists()
    tear_down(running, None)


def test_a_drill_that_was_killed_before_it_was_marked_is_reaped(work_dir: Path) -> None:
    work_dir.mkdir(mode=0o711)
    (work_dir / "drill-20261121T031500Z-1a2b3c4d").mkdir(mode=0o700)
    assert states(reap(work_dir)) == {"drill-20261121T031500Z-1a2b3c4d": "reaped"}


def test_a_marker_that_was_cut_short_does_not_keep_anything(work_dir: Path, account: Account) -> None:
    workspace = abandoned(work_dir, account)
    (workspace.path / MARKER).write_text('{"drill')
    assert states(reap(work_dir)) == {workspace.drill_id: "reaped"}


def test_what_another_host_made_on_a_shared_file_system_is_left_to_it(work_dir: Path, account: Account) -> None:
    workspace = abandoned(work_dir, account)
    marker = workspace.path / MARKER
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "host": "other", "host_id": "0123456789abcdef"}))
    found = reap(work_dir)
    assert (found[0].state, "on other" in found[0].detail) == ("foreign", True)
    assert workspace.path.exists()


@pytest.mark.parametrize("stranger", ["base", "PG_VERSION", "drill-of-mine", ".snapshot"])
def test_a_work_directory_that_holds_anything_else_is_refused(work_dir: Path, stranger: str, account: Account) -> None:
    (work_dir / stranger).mkdir(parents=True)
    for act in (lambda: check_work_dir(work_dir), lambda: reap(work_dir), lambda: Workspace.create(work_dir, account)):
        with pytest.raises(DrillRefused, match="in use"):
            act()
    assert os.listdir(work_dir) == [stranger]


def test_a_work_directory_that_others_can_write_is_refused(work_dir: Path) -> None:
    work_dir.mkdir()
    work_dir.chmod(0o777)
    with pytest.raises(DrillRefused, match="others can write"):
        check_work_dir(work_dir)


def test_a_link_is_no_work_directory(work_dir: Path, tmp_path: Path) -> None:
    work_dir.symlink_to(tmp_path)
    with pytest.raises(DrillRefused, match="not a directory"):
        check_work_dir(work_dir)


def test_a_relative_work_directory_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="absolute"):
        check_work_dir(Path("drills"))


@pytest.mark.needs("root")
def test_somebody_elses_work_directory_is_refused(work_dir: Path) -> None:
    work_dir.mkdir()
    os.chown(work_dir, 65534, 65534)
    with pytest.raises(DrillRefused, match="another user"):
        check_work_dir(work_dir)


@pytest.mark.needs("root")
def test_root_is_never_the_drills_user() -> None:
    assert account_for().uid != 0
    with pytest.raises(ConfigurationError, match="run_as is root"):
        account_for("root")
    with pytest.raises(ConfigurationError, match="no user 'nobody-of-that-name'"):
        account_for("nobody-of-that-name")
