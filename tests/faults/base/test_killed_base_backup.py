# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A base backup whose programs, or whose whole run, are killed while bytes flow: nothing looks like a backup, nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import compress
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.bases import base_options
from support.clusters import Server, private_directory
from support.leaks import children, eventually, leaves_nothing, program_once_there
from support.logical import new_identity, posix

pytestmark = pytest.mark.needs("program:age", "program:zstd", "postgresql:18")
Given = Callable[..., dict[str, Any]]

RUN = """
import json, sys
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_run import run
print(json.dumps(run(json.load(sys.stdin))))
"""
SLOWLY = "1MiB"
"""A server of 40 MB takes most of a minute at this rate, which is enough to be caught in the middle on a busy machine, too."""


@pytest.fixture
def given(postgres18: Server, tmp_path: Path) -> Given:
    keys = new_identity(tmp_path / "identity.txt")
    place = {"here": posix(tmp_path / "here")}
    return lambda **more: base_options(postgres18, place, keys, tmp_path, **{"wal": "included", "max_rate": SLOWLY, **more})


def no_library() -> None:
    """Without it the program compresses."""
    raise MissingTool("zstandard is not installed")


def visible(given: Given) -> list[str]:
    """All that a reader of the repository can list at all."""
    with open_repository("reader", given()["repositories"]["here"], read_only=True) as reader:
        return [item.key for item in reader.list()]


def streaming(server: Server) -> bool:
    with server.connect() as session:
        query = "SELECT count(*) FROM pg_stat_progress_basebackup WHERE backup_streamed > 1000000"
        return session.execute(query).fetchone() == (1,)


def let_go(server: Server) -> bool:
    with server.connect() as session:
        return session.execute("SELECT count(*) FROM pg_stat_progress_basebackup").fetchone() == (0,)


@pytest.mark.parametrize("name", ["pg_basebackup", "zstd", "age"])
def test_a_program_that_is_killed_ends_the_run_by_name(
    postgres18: Server, given: Given, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "zstd":
        monkeypatch.setattr(compress, "_library", no_library)

    def kill() -> None:
        eventually(lambda: streaming(postgres18), "the backup is under way")
        os.kill(program_once_there(name), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(LifeboatError, match=name):
        run(given())
    killer.join()
    assert visible(given) == []
    eventually(lambda: let_go(postgres18), "the server has let go")


def started_run(options: dict[str, Any]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN], env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(options))
    process.stdin.close()
    return process


def test_a_run_that_is_killed_leaves_nothing_and_the_next_one_works(postgres18: Server, given: Given, tmp_path: Path) -> None:
    with started_run(given()) as process:
        eventually(lambda: streaming(postgres18), "the backup is under way")
        process.kill()
    eventually(lambda: let_go(postgres18), "the server has let go, since pg_basebackup went with the run")
    assert visible(given) == []
    assert [path for path in (tmp_path / "state").rglob("*") if path.is_file()] == []
    assert run(given(max_rate="1GiB"))["changed"]


def test_what_a_killed_run_had_staged_goes_with_the_next(postgres18: Server, given: Given, tmp_path: Path) -> None:
    directory = private_directory("lb-ts")
    postgres18.execute(f"CREATE TABLESPACE killed LOCATION '{directory}'")
    try:
        with started_run(given()) as process:
            eventually(lambda: streaming(postgres18), "the backup is under way")
            process.kill()
        staged = tmp_path / "staging"
        assert [path.name for path in staged.iterdir() if path.name != ".lock"] != []
        eventually(lambda: let_go(postgres18), "the server has let go")
        run(given(max_rate="1GiB"))
        assert [path.name for path in staged.iterdir()] == [".lock"]
    finally:
        postgres18.execute("DROP TABLESPACE killed")


def test_no_password_is_seen_by_others_while_a_backup_runs(postgres18: Server, given: Given) -> None:
    with leaves_nothing():
        secret = given(login_host=postgres18.host, login_password=postgres18.password, login_unix_socket="")
        postgres18.execute("SELECT pg_reload_conf()")
        seen: list[bytes] = []

        def look() -> None:
            eventually(lambda: streaming(postgres18), "the backup is under way")
            pid = program_once_there("pg_basebackup")
            for child in children() | {pid}:
                for what in ("cmdline", "environ"):
                    try:
                        seen.append(Path(f"/proc/{child}/{what}").read_bytes())
                    except OSError:
                        continue
            os.kill(pid, signal.SIGKILL)

        looker = threading.Thread(target=look)
        looker.start()
        with pytest.raises(LifeboatError, match="pg_basebackup"):
            run(secret)
        looker.join()
    assert any(b"pg_basebackup" in text for text in seen)
    assert not [text for text in seen if postgres18.password.encode() in text]
