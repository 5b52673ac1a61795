# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run per asset on this host; what a kill leaves behind is never in the way."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.lock import host_lock
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, Locked
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import host_name

HOLDER = """
import sys
from pathlib import Path
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.lock import host_lock

with host_lock("shop", "database", "shop", Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def another_run(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock, until it is killed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    argv = [sys.executable, "-c", HOLDER, str(directory)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_run_is_told_who_holds_the_lock_and_since_when(tmp_path: Path) -> None:
    with another_run(tmp_path / "locks") as other:
        with pytest.raises(Locked, match=rf"process {other.pid} on {host_name()} since \d{{4}}-\d\d-\d\dT"):
            with host_lock("shop", "database", "shop", tmp_path / "locks"):
                pass


def test_the_lock_of_a_killed_run_is_free_at_once(tmp_path: Path) -> None:
    with another_run(tmp_path / "locks") as other:
        other.kill()
        other.wait()
    with host_lock("shop", "database", "shop", tmp_path / "locks"):
        pass


def test_other_assets_are_not_held_up(tmp_path: Path) -> None:
    hostile = 'a/../b "$(id)"\n'
    with host_lock("shop", "database", "shop", tmp_path), host_lock("shop", "database", hostile, tmp_path):
        assert len(list(tmp_path.iterdir())) == 2


def test_the_lock_is_free_after_a_fault(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), host_lock("shop", "database", "shop", tmp_path):
        raise RuntimeError
    with host_lock("shop", "database", "shop", tmp_path):
        pass


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(ConfigurationError, match="written by others"), host_lock("shop", "database", "shop", shared):
        pass


def test_a_symlink_for_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigurationError, match="symlink"), host_lock("shop", "database", "shop", tmp_path / "link"):
        pass


def test_a_symlink_in_the_place_of_the_lock_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    locks = tmp_path / "locks"
    locks.mkdir(mode=0o700)
    (locks / "shop-database-shop").symlink_to(victim)
    with pytest.raises(ConfigurationError), host_lock("shop", "database", "shop", locks):
        pass
    assert victim.read_text() == "precious"
