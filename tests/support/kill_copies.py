# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that copies a backup again and again, each time killed (SIGKILL) one call to the operating system later.

    python kill_copies.py SOURCE WORK

Each try has a target of its own below WORK. A line of JSON per try: the step, how the process ended, and the keys that lie
at the target then; the last try ends by itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.copies.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.kill_backups import STEPS

MOST_STEPS = 2000


def options(source: str, target: Path) -> dict[str, Any]:
    specs = {"here": {"type": "posix", "path": source}, "abroad": {"type": "posix", "path": str(target), "copy_from": "here"}}
    return {"system": "shop", "repositories": specs, "lock_dir": str(target.parent / "locks"), "parallel": 1}


def main(source: str, work: Path) -> None:
    for step in range(1, MOST_STEPS):
        target = work / f"target-{step}"
        target.mkdir(mode=0o700)
        pid = os.fork()
        if pid == 0:
            die_at(step)
            run(options(source, target))
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with open_repository("abroad", {"type": "posix", "path": str(target)}, read_only=True) as repository:
            print(json.dumps({"step": step, "ended": ended, "keys": [info.key for info in repository.list()]}), flush=True)
        if ended == 0:
            return


def die_at(step: int, calls: Sequence[str] = STEPS) -> None:
    """Kill this process before its so many-th call of these, whichever thread makes it."""
    lock, count = threading.Lock(), [0]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            with lock:
                count[0] += 1
                if count[0] == step:
                    os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **more)

        return wrapped

    for name in calls:
        setattr(os, name, counted(getattr(os, name)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
