# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Most runs find a young backup: such a run loads what looks, and nothing of what backs up."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from support.store_fixtures import Bucket, no_ambient_aws, rclone_bucket, rclone_server

__all__ = ["no_ambient_aws", "rclone_bucket", "rclone_server"]

pytestmark = [pytest.mark.needs("program:age", "program:zstd"), pytest.mark.usefixtures("no_ambient_aws")]
Given = Callable[..., dict[str, Any]]

RUN = """
import json, sys
from ansible_collections.lifeboat.postgres.plugins.modules import pg_logical_backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
result = run(json.load(open(sys.argv[1])))
print(json.dumps([result["changed"], result["globals"]["changed"], sorted(sys.modules)]))
"""
LIBRARY = "ansible_collections.lifeboat.postgres.plugins.module_utils."


def test_a_run_with_nothing_to_do_loads_little(given: Given, rclone_bucket: Bucket, tmp_path: Path) -> None:
    options = given(max_age="1h", globals="true", repositories={"offsite": rclone_bucket.spec()})
    assert run(options)["changed"]
    (tmp_path / "job.json").write_text(json.dumps(options))
    done = subprocess.run([sys.executable, "-c", RUN, str(tmp_path / "job.json")], stdout=subprocess.PIPE, check=True)
    changed, globals_changed, loaded = json.loads(done.stdout)
    assert not changed
    assert not globals_changed
    assert not {"psycopg", "boto3", "pyrage", "cryptography"} & set(loaded)
    ours = [name.removeprefix(LIBRARY) for name in loaded if name.startswith(LIBRARY)]
    needless = ("backup.logical", "backup.globals", "backup.writer", "pipeline", "seal.gpg", "evidence.collect", "repository.s3_upload")
    assert not set(needless) & set(ours)
    assert not [
        name for name in ours if name.startswith(("checks.", "drill.", "copies.", "wal.")) if name not in ("checks.factory", "checks.spec")
    ]
