# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Job files for tests, the command that runs them as cron would, and what it left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import cli

__all__ = ["Jobs"]


@dataclass(frozen=True)
class Jobs:
    """A host's jobs below a folder of the test's own."""

    home: Path

    @property
    def folder(self) -> Path:
        return self.home / "etc"

    def write(self, name: str, kind: str, options: Mapping[str, Any], **more: Any) -> Path:
        path = self.folder / "shop" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        places = {f"{word}_dir": str(self.home / word) for word in ("state", "log", "run")}
        document = {"schema": 1, "job": name, "kind": kind, "system": "shop", "options": dict(options), **places, **more}
        path.write_text(json.dumps(document))
        return path

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", cli.__name__, *words, "--jobs", str(self.folder)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **variables}
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    def lifeboat(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        with self.start(*words, **variables) as process:
            output, errors = process.communicate(timeout=900)
        return subprocess.CompletedProcess(words, process.returncode, output, errors)

    def run(self, name: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.lifeboat("run", name, **variables)

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "state" / "shop" / f"{name}.json").read_text())
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        """What the log says, oldest first."""
        return [json.loads(line) for line in (self.home / "log" / "shop" / f"{name}.jsonl").read_text().splitlines()]

    def status(self) -> dict[str, dict[str, Any]]:
        """Each job's status by its name."""
        answer = json.loads(self.lifeboat("status", "--json").stdout)
        return {job["job"]: job for job in answer["jobs"]}
