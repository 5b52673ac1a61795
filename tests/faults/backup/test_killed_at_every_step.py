# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Law 1: a run that is killed at any step leaves nothing that looks like a backup, and the next run works.

A forked child writes a whole backup into two repositories and kills itself (SIGKILL) before its Nth system call that
changes a file system; N sweeps from the first to past the last. What the parent then sees is judged with a reader.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.writer import BackupWriter
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.backups import CHUNKS, check_complete, instructions, manifest_for, new_ref

STEPS = ("write", "fsync", "link", "unlink", "rename", "replace", "mkdir", "open", "ftruncate", "fdatasync")
VOLUME_BYTES = 100_000


def write_backup(roots: Sequence[Path], ref: layout.BackupRef) -> Manifest:
    repositories: list[Repository] = [open_repository(root.name, {"type": "posix", "path": str(root)}) for root in roots]
    with BackupWriter(ref, repositories, stall_timeout_seconds=30, volume_bytes=VOLUME_BYTES) as writer:
        writer.store("database.dump.zst.age", "dump", CHUNKS)
        writer.store("evidence.json.zst.age", "evidence", [b"evidence"])
        return writer.commit(instructions, manifest_for(ref))


def killed_before_step(number: int, work: Callable[[], object]) -> bool:
    """Run `work` in a forked child that kills itself before its Nth step; True when it was killed, False when it ended."""
    child = os.fork()
    if child == 0:
        steps = 0

        def counted(function: Callable[..., object]) -> Callable[..., object]:
            def call(*args: object, **kwargs: object) -> object:
                nonlocal steps
                steps += 1
                if steps == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)

            return call

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        except BaseException:
            os._exit(99)
        os._exit(0)
    _pid, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "the unharmed run has to succeed"
    return False


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    found = [tmp_path / "here", tmp_path / "there"]
    for root in found:
        root.mkdir(mode=0o700)
    return found


def test_a_backup_exists_whole_or_not_at_all_wherever_the_run_is_killed(roots: list[Path]) -> None:
    invisible = visible = 0
    number = 0
    while True:
        number += 1
        ref = new_ref()
        killed = killed_before_step(number, functools.partial(write_backup, roots, ref))
        for root in roots:
            with open_repository("reader", {"type": "posix", "path": str(root)}, read_only=True) as reader:
                listed = [layout.parse_manifest_key(item.key) for item in reader.list(layout.manifests_prefix(ref.system))]
                assert None not in listed
                if ref in listed:
                    check_complete(reader, ref)
                    visible += 1
                else:
                    assert killed
                    invisible += 1
        if not killed:
            break
    # The sweep has to have passed through the whole protocol: many steps before the commit, some between the two manifests.
    assert number > 60
    assert invisible > visible >= 2


def test_the_run_after_a_kill_works_in_the_same_repositories(roots: list[Path]) -> None:
    for number in (5, 25, 45, 65):
        assert killed_before_step(number, lambda: write_backup(roots, new_ref()))
    ref = new_ref()
    write_backup(roots, ref)
    for root in roots:
        with open_repository("reader", {"type": "posix", "path": str(root)}, read_only=True) as reader:
            check_complete(reader, ref)
            assert [item.key for item in reader.list(layout.manifests_prefix(ref.system))] == [layout.manifest_key(ref)]
