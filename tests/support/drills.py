# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of drills share: a short work directory, a throwaway server, and somebody who is not root."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run as take_backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import account_for
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.run import run as run_drill
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.target import Programs, Target
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.teardown import tear_down
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import Workspace
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DrillNotPassed
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef, backup_prefix, manifest_key
from support.backups import manifest_for, new_ref
from support.clusters import Server, account, readable_bin_dir
from support.keys import KeyPair, ssh_pair
from support.logical import Identity, new_identity, options, posix

__all__ = ["DRILL", "BackedUp", "as_ordinary_user", "back_up", "drill_at", "short_work_dir", "throwaway", "work_dir"]


@contextmanager
def short_work_dir() -> Iterator[Path]:
    """A work directory that does not exist yet, with a path short enough for a socket below it."""
    parent = Path(tempfile.mkdtemp(prefix="lb-", dir="/tmp"))
    parent.chmod(0o755)
    yield parent / "drills"
    shutil.rmtree(parent)


@pytest.fixture
def work_dir() -> Iterator[Path]:
    """The same for a test."""
    with short_work_dir() as path:
        yield path


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


DRILL = """
import json, sys
held = sys.argv[2] if len(sys.argv) > 2 else None
def told(message):
    print(message, flush=True)
    if held is not None and message.startswith(held):
        sys.stdin.readline()
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import stop_on_signals
try:
    with stop_on_signals():
        result = run(json.loads(sys.argv[1]), progress=told)
    print(json.dumps(result["report"]))
except LifeboatError as error:
    print(json.dumps(error.result.get("report", str(error))))
    sys.exit(error.exit_code)
"""
"""A drill in a process of its own: its progress in lines, then its report, or why there is none.

With a second argument it waits, once it has said that this step begins, for a line of its input, or the end of that.
"""


@contextmanager
def drill_at(given: Mapping[str, Any], phase: str, held: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A drill in a process of its own that has just begun this step; `held` there until its `stdin` is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRILL, json.dumps(given), *([phase] if held else [])],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE if held else None,
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
        if process.stdin is not None:
            process.stdin.close()


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


@dataclasses.dataclass(frozen=True)
class BackedUp:
    """A real, signed backup of a database in a directory, and what a drill of it needs."""

    server: Server
    name: str
    backup_id: str
    repository: Path
    identity: Identity
    signer: KeyPair
    opened_by: str = "identity_file"
    """The option of a drill that names the identity's file; "" when nothing is sealed."""

    @property
    def ref(self) -> BackupRef:
        return BackupRef("shop", "database", self.name, self.backup_id)

    @property
    def folder(self) -> Path:
        """Where its artifacts lie."""
        return self.repository / backup_prefix(self.ref)

    @property
    def manifest(self) -> Path:
        return self.repository / manifest_key(self.ref)

    def copy(self, directory: Path) -> BackedUp:
        """The same in a directory of its own, to be damaged."""
        shutil.copytree(self.repository, directory / "copy")
        return dataclasses.replace(self, repository=directory / "copy")

    def options(self, work_dir: Path, **more: Any) -> dict[str, Any]:
        """The options of `restore_drill`; production is this very host, which is waived."""
        return {
            "system": "shop",
            "name": self.name,
            "repositories": {"copy": {"type": "posix", "path": str(self.repository)}},
            **({self.opened_by: str(self.identity.file)} if self.opened_by else {}),
            "verify_keys": [self.signer.public],
            "bin_dir": str(self.server.bin_dir),
            "work_dir": str(work_dir),
            "waive": ["same_host"],
            **more,
        }

    def drill(self, work_dir: Path, **more: Any) -> dict[str, Any]:
        """The report of a drill, passed or not; whatever it says, nothing of it may be left."""
        try:
            report: dict[str, Any] = run_drill(self.options(work_dir, **more))["report"]
        except DrillNotPassed as error:
            report = error.result["report"]
        assert report["teardown"]["complete"], report["teardown"]
        assert not work_dir.exists() or os.listdir(work_dir) in ([], [".lock"])
        return report


def back_up(server: Server, name: str, directory: Path, keys: tuple[Identity, KeyPair] | None = None, **more: Any) -> BackedUp:
    """Take a real backup of a database, with keys of its own or those given; `more` are options of `pg_logical_backup`."""
    identity, signer = keys or (new_identity(directory / "identity.txt"), ssh_pair(directory / "signing_key"))
    given = options(server, name, {"here": posix(directory / "repository")}, identity, directory / "locks", **more)
    backup_id = take_backup({**given, "signing_key": signer.path})["backup_id"]
    return BackedUp(server, name, backup_id, directory / "repository", identity, signer)
