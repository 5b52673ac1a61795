# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that ships a key again and again, each time killed (SIGKILL) some calls to the operating system later.

    python kill_escrow.py OPTIONS STRIDE WORK

`OPTIONS` is a file with those of `key_escrow`; each try has a vault and a state of its own below WORK. A line of JSON per try: the
step, how it ended, and its directory; the last try ends by itself.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.run import run
from support.kill_copies import die_at

MOST_STEPS = 2000


def placed(options: dict[str, Any], root: Path) -> dict[str, Any]:
    """The same options with a vault and a state below `root`."""
    vault = {"type": "posix", "path": str(root / "vault")}
    return {**options, "key_repositories": {"vault": vault}, "state_dir": str(root / "state"), "lock_dir": str(root / "locks")}


def main(options: str, stride: int, work: Path) -> None:
    given = json.loads(Path(options).read_text())
    for step in range(1, MOST_STEPS, stride):
        root = work / f"try-{step}"
        (root / "vault").mkdir(mode=0o700, parents=True)
        pid = os.fork()
        if pid == 0:
            die_at(step)
            run(placed(given, root))
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"step": step, "ended": ended, "root": str(root)}), flush=True)
        if ended == 0:
            return


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
