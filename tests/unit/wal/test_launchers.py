# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two scripts, as they are written."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal import launchers


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "the job's file.json"
    job = {"system": "shop", "repositories": {"here": {"type": "posix", "path": "/b"}}, "run_dir": str(tmp_path / "my run")}
    path.write_text(json.dumps(job))
    return path


def test_written_once_and_left_alone_when_nothing_changes(tmp_path: Path, config: Path) -> None:
    assert launchers.write_launchers(tmp_path, config)
    assert not launchers.write_launchers(tmp_path, config)
    for name in (launchers.PUSH, launchers.FETCH):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o755
        assert subprocess.run(["sh", "-n", str(tmp_path / name)]).returncode == 0
    assert launchers.write_launchers(tmp_path, config, "/another/python")


def test_a_python_that_is_gone_is_a_failure_and_no_signal(tmp_path: Path, config: Path) -> None:
    launchers.write_launchers(tmp_path, config, "/nonexistent/python")
    done = subprocess.run([str(tmp_path / launchers.PUSH), "pg_wal/000000010000000000000001"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "/nonexistent/python" in done.stderr


def test_wrong_arguments_are_no_success(tmp_path: Path, config: Path) -> None:
    launchers.write_launchers(tmp_path, config)
    assert subprocess.run([str(tmp_path / launchers.PUSH)], capture_output=True).returncode == 2
    assert subprocess.run([str(tmp_path / launchers.FETCH), "one"], capture_output=True).returncode == 126


def test_root_has_to_say_where_the_servers_user_may_write(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = json.loads(config.read_text())
    del job["run_dir"]
    config.write_text(json.dumps(job))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert launchers.main([str(tmp_path), "-c", str(config)]) == 2
    assert "run_dir is missing" in capsys.readouterr().err


def test_a_directory_that_does_not_exist_is_said(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert launchers.main([str(tmp_path / "no"), "-c", str(config)]) == 2
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


def test_paths_with_spaces_and_quotes_arrive_as_they_are(tmp_path: Path, config: Path) -> None:
    odd = tmp_path / "it's here"
    odd.mkdir()
    launchers.write_launchers(odd, config, "/bin/echo")
    done = subprocess.run([str(odd / launchers.PUSH), "pg_wal/x"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.rstrip().endswith(f"{tmp_path / 'my run'} {config} pg_wal/x")
