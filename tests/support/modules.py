# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module run as users run it: by the real `ansible`, from the collection that these tests import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import errors

__all__ = ["run_module"]

COLLECTIONS = next(parent for parent in Path(errors.__file__).parents if parent.name == "ansible_collections").parent


def run_module(name: str, options: Mapping[str, Any], home: Path, *, check: bool = False) -> dict[str, Any]:
    """The result of `lifeboat.postgres.<name>` on this machine; a failure is a result with `failed: true`."""
    argv = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-i", "localhost,", "-c", "local", "--one-line"]
    argv += ["-e", f"ansible_python_interpreter={sys.executable}", "-m", f"lifeboat.postgres.{name}", "-a", json.dumps(options)]
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_NOCOLOR": "1",
    }
    done = subprocess.run(argv + (["--check"] if check else []), capture_output=True, text=True, env=environment, cwd="/", timeout=900)
    answer = done.stdout.partition(" => ")[2]
    assert answer, f"ansible gave no answer: {done.stdout}{done.stderr}"
    result: dict[str, Any] = json.loads(answer)
    return {**result, "failed": done.returncode != 0}
