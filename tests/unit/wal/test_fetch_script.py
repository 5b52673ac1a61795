# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What PostgreSQL is told for each way in which the program behind `restore_command` can end."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.launchers import fetch_script

NAME = "000000010000000000000001"


def script(work: Path, status: int) -> Path:
    """The launcher, with a Python that ends with this status in whatever it is asked."""
    python = work / "python"
    python.write_text(f"#!/bin/sh\nexit {status}\n")
    python.chmod(0o755)
    found = work / "wal-fetch"
    found.write_text(fetch_script(work, work / "wal.json", str(python)))
    found.chmod(0o755)
    return found


def status_of(work: Path, *words: str) -> int:
    return subprocess.run([str(work / "wal-fetch"), *words], cwd=work, capture_output=True).returncode


@pytest.mark.parametrize(
    ("ended", "told", "told_a_standby"),
    [(0, 0, 0), (42, 1, 1), (1, 126, 1), (2, 126, 1), (16, 126, 1), (126, 126, 1), (127, 126, 1), (137, 126, 1), (143, 143, 143)],
)
def test_only_what_is_certainly_missing_ends_the_log(tmp_path: Path, ended: int, told: int, told_a_standby: int) -> None:
    script(tmp_path, ended)
    assert status_of(tmp_path, NAME, "pg_wal/RECOVERYXLOG") == told
    (tmp_path / "standby.signal").touch()
    assert status_of(tmp_path, NAME, "pg_wal/RECOVERYXLOG") == told_a_standby


def test_a_python_that_is_gone_and_a_mistyped_command_stop_a_recovery(tmp_path: Path) -> None:
    script(tmp_path, 0)
    assert status_of(tmp_path, NAME) == 126
    (tmp_path / "python").unlink()
    assert status_of(tmp_path, NAME, "pg_wal/RECOVERYXLOG") == 126


def test_what_was_brought_for_this_life_is_delivered_without_a_program_and_nothing_of_another(tmp_path: Path) -> None:
    script(tmp_path, 42)
    (tmp_path / "postmaster.pid").write_text(f"77\n{tmp_path}\n1700000000\n5432\n")
    for life, content in (("77-1700000000", "ours"), ("77-1600000000", "of another")):
        (tmp_path / "pg_wal" / f".lifeboat-{life}").mkdir(parents=True)
        (tmp_path / "pg_wal" / f".lifeboat-{life}" / NAME).write_text(content)
    assert status_of(tmp_path, NAME, "pg_wal/RECOVERYXLOG") == 0
    assert (tmp_path / "pg_wal" / "RECOVERYXLOG").read_text() == "ours"
    assert status_of(tmp_path, NAME, "pg_wal/RECOVERYXLOG") == 1
