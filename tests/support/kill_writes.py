# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup written into several directories by a process that kills itself (SIGKILL) before one of its calls to the operating system.

This file is also the program of those processes (`Writes` starts it): a small server with one thread that forks a child for each run,
so that a kill costs milliseconds and no fork happens beside other threads.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.writer import BackupWriter
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.backups import CHUNKS, instructions, manifest_for
from support.beside import Beside
from support.kill_copies import die_at

__all__ = ["Writes", "write_backup"]

STEPS = ("write", "fsync", "link", "unlink", "rename", "replace", "mkdir", "open", "ftruncate", "fdatasync")
"""The calls that change a file system."""
VOLUME_BYTES = 100_000


def write_backup(roots: Sequence[Path], ref: layout.BackupRef) -> None:
    repositories: list[Repository] = [open_repository(root.name, {"type": "posix", "path": str(root)}) for root in roots]
    with BackupWriter(ref, repositories, stall_timeout_seconds=300, volume_bytes=VOLUME_BYTES) as writer:
        writer.store("database.dump.zst.age", "dump", CHUNKS)
        writer.store("evidence.json.zst.age", "evidence", [b"evidence"])
        writer.commit(instructions, manifest_for(ref))


class Writes(Beside):
    """Runs `write_backup` in children of a process of its own, one at a time. Use as a context manager."""

    def __init__(self, roots: Sequence[Path]) -> None:
        super().__init__(__file__, *map(str, roots))

    def __enter__(self) -> Writes:
        super().__enter__()
        return self

    def is_killed_before(self, step: int, ref: layout.BackupRef) -> bool:
        """Write this backup; True when the process was killed before its so many-th step, False when it came to its end."""
        self.tell({"step": step, "ref": dataclasses.asdict(ref)})
        ended = self.answer()
        assert ended in (0, -signal.SIGKILL), f"the run ended with {ended}"
        return ended != 0


def serve(roots: Sequence[Path]) -> None:
    for line in sys.stdin:
        command = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 99
            try:
                die_at(command["step"], STEPS)
                write_backup(roots, layout.BackupRef(**command["ref"]))
                code = 0
            finally:
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve([Path(word) for word in sys.argv[1:]])
