# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of drills share: a short work directory, a throwaway server, and somebody who is not root."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import account_for
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.target import Programs, Target
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.teardown import tear_down
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import Workspace
from support.backups import manifest_for, new_ref
from support.clusters import account, readable_bin_dir

__all__ = ["as_ordinary_user", "throwaway", "work_dir"]


@pytest.fixture
def work_dir() -> Iterator[Path]:
    """A work directory that does not exist yet, with a path short enough for a socket below it."""
    parent = Path(tempfile.mkdtemp(prefix="lb-", dir="/tmp"))
    parent.chmod(0o755)
    yield parent / "drills"
    shutil.rmtree(parent)


@contextmanager
def throwaway(work_dir: Path, major: int, extensions: tuple[str, ...] = (), **more: Any) -> Iterator[Target]:
    """A started throwaway server with nothing in it; `more` are fields of the plan."""
    plan = DrillPlan("shop", "shop", {}, "/identity", work_dir=work_dir, bin_dir=readable_bin_dir(major), **more)
    manifest = dataclasses.replace(manifest_for(new_ref())([], {}), server_version_num=major * 10000)
    user = account_for(plan.run_as)
    workspace = Workspace.create(work_dir, user)
    target = None
    try:
        target = Target(plan, manifest, Programs(major, plan.bin_dir), workspace, user)
        target.start(extensions)
        yield target
    finally:
        result = tear_down(workspace, target.cluster if target is not None else None)
        assert result.complete, result.left


def as_ordinary_user(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Python script as somebody who is not root, with this process's import path.

    Started as root it becomes another user, who may still read this Python wherever it lies (below /root, say).
    """
    argv = [sys.executable, "-c", script, *arguments]
    entry = account()
    if entry is not None:
        drop = [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
        argv = ["setpriv", *drop, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", *argv]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(argv, env=environment, cwd="/", capture_output=True, text=True)
