# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that writes into a spool, run by a shell as PostgreSQL's archiver runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.spool import MARKER, spool_command

NAME = "000000010000000000000001"
TOOLS = ("cp", "sync", "ln", "cmp", "rm")


class Archiver:
    """A data directory, a spool, and the shell between them."""

    def __init__(self, root: Path, spool: str = "spool") -> None:
        self.data, self.spool = root / "data", root / spool
        (self.data / "pg_wal").mkdir(parents=True)
        self.spool.mkdir()
        (self.spool / MARKER).touch()
        self.segment = self.data / "pg_wal" / NAME
        self.segment.write_bytes(os.urandom(100_000))

    def run(self, shell: str = "sh", path: str | None = None) -> subprocess.CompletedProcess[str]:
        command = spool_command(str(self.spool)).replace("%p", f"pg_wal/{NAME}").replace("%f", NAME).replace("%%", "%")
        environment = {**os.environ, **({} if path is None else {"PATH": path})}
        return subprocess.run([shell, "-c", command], cwd=self.data, capture_output=True, text=True, env=environment)

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.spool.iterdir() if path.name != MARKER)


def programs(folder: Path, links: Mapping[str, str]) -> Path:
    """A directory for PATH that holds just these programs."""
    folder.mkdir()
    for name, target in links.items():
        (folder / name).symlink_to(target)
    return folder


@pytest.fixture
def archiver(tmp_path: Path) -> Archiver:
    return Archiver(tmp_path)


@pytest.mark.parametrize("tools", ["coreutils", pytest.param("busybox", marks=pytest.mark.needs("program:busybox"))])
def test_a_file_arrives_whole_for_its_owner_only_and_again_is_no_fault(archiver: Archiver, tmp_path: Path, tools: str) -> None:
    shell, path = "sh", None
    if tools == "busybox":  # as in an image made from Alpine
        path = str(programs(tmp_path / "bin", dict.fromkeys(("sh", *TOOLS), str(shutil.which("busybox")))))
        shell = f"{path}/sh"
    for _time in range(2):
        done = archiver.run(shell, path)
        assert (done.returncode, done.stderr) == (0, "")
        assert archiver.files == [NAME]
        assert (archiver.spool / NAME).read_bytes() == archiver.segment.read_bytes()
        assert (archiver.spool / NAME).stat().st_mode & 0o777 == 0o600


def test_the_spool_may_have_an_odd_name(tmp_path: Path) -> None:
    archiver = Archiver(tmp_path, 'it\'s 100% $(HOME) "spool"')
    assert archiver.run().returncode == 0
    assert archiver.files == [NAME]


def test_another_content_under_the_same_name_is_refused_and_left(archiver: Archiver) -> None:
    (archiver.spool / NAME).write_bytes(b"something else")
    done = archiver.run()
    assert done.returncode == 1
    assert "another content" in done.stderr
    assert (archiver.spool / NAME).read_bytes() == b"something else"


def test_without_the_shippers_mark_nothing_is_taken(archiver: Archiver) -> None:
    (archiver.spool / MARKER).unlink()
    done = archiver.run()
    assert (done.returncode, archiver.files) == (1, [])
    assert "not a spool that is shipped" in done.stderr


@pytest.mark.parametrize("linked", [False, True])
def test_the_rest_of_a_killed_attempt_is_no_obstacle_and_never_written_through(archiver: Archiver, linked: bool) -> None:
    rest = archiver.spool / f".{NAME}.tmp"
    if linked:  # killed after ln: the file has its name already
        (archiver.spool / NAME).write_bytes(archiver.segment.read_bytes())
        os.link(archiver.spool / NAME, rest)
    else:
        rest.write_bytes(b"half")
    assert archiver.run().returncode == 0
    assert archiver.files == [NAME]
    assert (archiver.spool / NAME).read_bytes() == archiver.segment.read_bytes()


@pytest.mark.parametrize("broken", TOOLS)
def test_a_step_that_fails_is_never_acknowledged(archiver: Archiver, tmp_path: Path, broken: str) -> None:
    path = programs(tmp_path / "bin", {name: str(shutil.which(name)) for name in TOOLS})
    (path / broken).unlink()
    (path / broken).write_text("#!/bin/sh\necho broken >&2\nexit 137\n")
    (path / broken).chmod(0o755)
    if broken == "cmp":
        (archiver.spool / NAME).write_bytes(archiver.segment.read_bytes())
    done = archiver.run(str(shutil.which("sh")), str(path))
    assert done.returncode == 1
    assert "broken" in done.stderr
    assert archiver.run().returncode == 0, "and the next attempt comes through"
    assert archiver.files == [NAME]


@pytest.mark.parametrize("path", ["spool", "/spool/../etc", "/spo\nol", ""])
def test_a_path_that_is_not_one_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="not an absolute path"):
        spool_command(path)
