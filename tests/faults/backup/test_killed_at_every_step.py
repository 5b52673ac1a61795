# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Law 1: a run that is killed at any step leaves nothing that looks like a backup, and the next run works.

A process writes a whole backup into two repositories and kills itself (SIGKILL) before its Nth system call that changes a file
system, whichever thread makes it; N sweeps from the first to past the last. What is seen then is judged with a reader.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.backups import check_complete, new_ref
from support.kill_writes import Writes, write_backup


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    found = [tmp_path / "here", tmp_path / "there"]
    for root in found:
        root.mkdir(mode=0o700)
    return found


def test_a_backup_exists_whole_or_not_at_all_wherever_the_run_is_killed(roots: list[Path]) -> None:
    invisible = visible = 0
    number, killed = 0, True
    with Writes(roots) as writes:
        while killed:
            number += 1
            ref = new_ref()
            killed = writes.is_killed_before(number, ref)
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
    # The sweep has to have passed through the whole protocol: many steps before the commit, some between the two manifests.
    assert number > 60
    assert invisible > visible >= 2


def test_the_run_after_a_kill_works_in_the_same_repositories(roots: list[Path]) -> None:
    with Writes(roots) as writes:
        for number in (5, 25, 45, 65):
            assert writes.is_killed_before(number, new_ref())
    ref = new_ref()
    write_backup(roots, ref)
    for root in roots:
        with open_repository("reader", {"type": "posix", "path": str(root)}, read_only=True) as reader:
            check_complete(reader, ref)
            assert [item.key for item in reader.list(layout.manifests_prefix(ref.system))] == [layout.manifest_key(ref)]
