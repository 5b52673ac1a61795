# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `lifeboat` as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import cli, layout
from support.shelf import Shelf


def lifeboat(work: Path, job: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    file = work / "job.json"
    file.write_text(job if isinstance(job, str) else json.dumps(job))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, "-m", cli.__name__, "-c", str(file), *arguments], capture_output=True, text=True, env=environment
    )


def test_it_lists_verifies_and_shows_and_says_by_its_status_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    shelf = Shelf({"here": {"type": "posix", "path": str(tmp_path / "here")}})
    job = {"system": "shop", "repositories": shelf.specs, "cache_dir": ""}
    good, bad = shelf.backup(2, into=["here"]), shelf.backup(1, into=["here"], name="evil\x1b[31m\u202e")
    shelf.repositories["here"].delete(layout.artifact_key(bad.ref, "evidence.json.zst.age"))
    listed = lifeboat(tmp_path, job, "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert good.backup_id in listed.stdout
    assert "evil\\x1b[31m\\u202e" in listed.stdout
    assert all(len(line) <= 80 and line.isprintable() for line in listed.stdout.splitlines())
    verified = lifeboat(tmp_path, job, "verify")
    assert verified.returncode == 8
    assert "here: evidence.json.zst.age is missing" in verified.stdout
    assert len(json.loads(lifeboat(tmp_path, job, "list", "--json").stdout)["backups"]) == 2
    shown = lifeboat(tmp_path, job, "show", good.backup_id)
    assert f"shop/database/shop/{good.backup_id}/RESTORE.md" in shown.stdout
    missing = lifeboat(tmp_path, job, "show", "20200101T000000Z-00000000")
    assert (missing.returncode, "there is no backup" in missing.stderr) == (5, True)
    for wrong, said in (("{", "is not JSON"), ({**job, "sytem": 1}, "Did you mean 'system'")):
        refused = lifeboat(tmp_path, wrong, "list")
        assert (refused.returncode, said in refused.stderr, "Traceback" in refused.stderr) == (2, True, False)
    shelf.close()
