# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that prunes again and again, each time killed (SIGKILL) one change later.

    python kill_prunes.py OPTIONS.json copies WORK      each try on a copy of the directory, killed before its so many-th change
    python kill_prunes.py OPTIONS.json on               on the same bucket, each run killed after its first removal

A line of JSON per try: how the process ended and the keys that a reader sees then; the last try ends by itself.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.prune import run as prune
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.plan import PrunePlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_client import S3Client

CHANGES = ("unlink", "rmdir", "fsync", "rename", "replace", "link")
MOST = 500


def copies(options: dict[str, Any], work: Path) -> None:
    source = options["repositories"]["here"]["path"]
    for step in range(1, MOST):
        target = work / f"target-{step}"
        shutil.copytree(source, target)
        given = _at(options, target)
        ended = _forked([partial(_die_before, step), partial(prune.run, given)])
        _tell(given, ended)
        if ended == 0:
            return


def on(options: dict[str, Any]) -> None:
    for _run in range(MOST):
        ended = _forked([_die_after_first_removal, _without_grace, partial(prune.run, options)])
        _tell(options, ended)
        if ended == 0:
            return


def _at(options: dict[str, Any], target: Path) -> dict[str, Any]:
    here = {**options["repositories"]["here"], "path": str(target)}
    return {**options, "repositories": {"here": here}, "state_dir": str(target.parent / f"state-{target.name}")}


def _tell(options: dict[str, Any], ended: int) -> None:
    with open_repository("here", options["repositories"]["here"], read_only=True) as repository:
        print(json.dumps({"ended": ended, "keys": [info.key for info in repository.list()], "options": options}), flush=True)


def _forked(steps: Sequence[Callable[[], object]]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            for step in steps:
                step()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _die_before(step: int) -> None:
    count = [0]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            count[0] += 1
            if count[0] == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **more)

        return wrapped

    for name in CHANGES:
        setattr(os, name, counted(getattr(os, name)))


def _die_after_first_removal() -> None:
    original = S3Client.ask

    def ask(self: S3Client, operation: str, *arguments: Any, **more: Any) -> Any:
        answer = original(self, operation, *arguments, **more)
        if operation == "delete_object":
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    S3Client.ask = ask  # type: ignore[method-assign]


def _without_grace() -> None:
    """The remains of the run before are seconds old, and a store's dates cannot be set back."""
    read = PrunePlan.from_options
    PrunePlan.from_options = lambda given: dataclasses.replace(read(given), orphan_age_seconds=-60.0)  # type: ignore[method-assign]


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    if sys.argv[2] == "copies":
        copies(given, Path(sys.argv[3]))
    else:
        on(given)
