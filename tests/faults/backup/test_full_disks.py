# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every repository is full at once: each is named, nothing is half there, and with room the next run is whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.clusters import Server
from support.logical import new_identity, options

pytestmark = pytest.mark.needs("program:unshare", "root")

# In a mount namespace of its own, so that nobody else sees the small disks.
PROGRAM = """
import json, os, subprocess, sys
from pathlib import Path
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from support.backups import check_complete
from support.logical import manifest_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository

given = json.load(sys.stdin)
roots = {name: spec["path"] for name, spec in given["repositories"].items()}
for root in roots.values():
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", root], check=True)
try:
    run(given)
    answer = {"said": ""}
except LifeboatError as error:
    answer = {"said": str(error), "kind": type(error).__name__}
answer["left"] = [str(path) for root in roots.values() for path in Path(root).rglob("*") if path.is_file()]
for root in roots.values():
    subprocess.run(["mount", "-o", "remount,size=64m", root], check=True)
found = run(given)
for name, spec in given["repositories"].items():
    with open_repository(name, spec) as repository:
        check_complete(repository, manifest_of(spec, found["backup_id"], given["login_db"]).ref)
print(json.dumps({**answer, "then": {name: one["complete"] for name, one in found["repositories"].items()}}))
"""


@pytest.fixture
def database(postgres18: Server) -> Iterator[str]:
    with postgres18.database() as name:
        with postgres18.connect(name) as connection:
            connection.execute("CREATE TABLE blobs (data bytea)")
            for _ in range(4):
                connection.execute("INSERT INTO blobs VALUES (%s)", [os.urandom(1024 * 1024)])
        yield name


@pytest.mark.parametrize("form", ["custom", "directory"])
def test_each_of_them_is_named_nothing_is_left_and_with_room_the_next_run_is_whole(
    postgres18: Server, database: str, tmp_path: Path, form: str
) -> None:
    repositories: dict[str, Any] = {}
    for name in ("here", "there"):
        (tmp_path / name).mkdir(mode=0o700)
        repositories[name] = {"type": "posix", "path": str(tmp_path / name)}
    staging = {"staging_dir": str(tmp_path / "staging")} if form == "directory" else {}
    identity = new_identity(tmp_path / "identity.txt")
    given = options(postgres18, database, repositories, identity, tmp_path / "locks", format=form, **staging)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    argv = ["unshare", "--mount", sys.executable, "-c", PROGRAM]
    done = subprocess.run(argv, input=json.dumps(given), capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["kind"] == "RepositoryError"
    for name in ("here", "there"):
        assert f"'{name}'" in answer["said"] or f"{name}:" in answer["said"], answer["said"]
        assert str(tmp_path / name) in answer["said"], answer["said"]
    assert "no space left" in answer["said"].lower()
    assert answer["left"] == []
    assert answer["then"] == {"here": True, "there": True}
    assert form == "custom" or [path.name for path in (tmp_path / "staging").iterdir()] == [".lock"]
