# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A spool that a real server fills and a shipper empties: nothing leaves it before every repository has it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, Locked, RepositoryError, WalConflict
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.ship import Shipped, ship, the_only_one
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.spool import MARKER
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.spool_status import spool_status_file
from support.clusters import private_directory
from support.leaks import eventually
from support.logical import Identity, new_identity, posix
from support.spools import SpoolingServer, archived, fill, spooled, wal_job

CLI = "ansible_collections.lifeboat.postgres.plugins.module_utils.cli"


@pytest.fixture(scope="module")
def server() -> Iterator[SpoolingServer]:
    with SpoolingServer(18) as running:
        yield running


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return new_identity(tmp_path / "identity")


@pytest.fixture
def job(tmp_path: Path, identity: Identity) -> dict[str, Any]:
    places = {name: posix(tmp_path / name) for name in ("here", "offsite")}
    return wal_job(places, identity, tmp_path / "run")


@pytest.fixture
def segments(server: SpoolingServer, tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A spool of the test's own with three real segments, and their names."""
    with the_only_one(server.spool):
        names = fill(server, 3)
        spooled(server, names)
        spool = private_directory("lb-own")
        for name in names:
            shutil.copy2(server.spool / name, spool)
    yield spool, names


def files(spool: Path) -> list[str]:
    return sorted(name for name in os.listdir(spool) if name != MARKER)


def status(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(spool_status_file(Path(job["run_dir"]), "shop").read_text())
    return found


def test_what_every_repository_has_leaves_the_spool(segments: tuple[Path, list[str]], job: dict[str, Any]) -> None:
    spool, names = segments
    assert ship(job, spool, once=True) == Shipped(tuple(names))
    assert files(spool) == []
    assert archived(job["repositories"]["here"]) == archived(job["repositories"]["offsite"]) == names
    found = status(job)
    assert found["only_in_spool"] == {"files": 0, "bytes": 0, "oldest": "", "oldest_seconds": 0.0}
    assert (found["trouble"], found["shipped"]["name"], found["failure"]) == ("", names[-1], None)


def test_what_one_repository_lacks_stays_and_is_said(segments: tuple[Path, list[str]], job: dict[str, Any]) -> None:
    spool, names = segments
    broken = Path(job["repositories"]["offsite"]["path"])
    broken.rmdir()
    broken.write_text("not a directory")
    said: list[str] = []
    answer = ship({**job, "spool": {"alert_after": "1s"}}, spool, once=True, say=said.append)
    assert answer.names == ()
    assert all(isinstance(error, RepositoryError) for error in answer.faults.values())
    assert files(spool) == names
    assert status(job)["only_in_spool"]["files"] == 3
    os.utime(spool / names[0], (1, 1))
    ship({**job, "spool": {"alert_after": "1s"}}, spool, once=True, say=said.append)
    assert "lie only in the spool" in said[-1]
    assert status(job)["trouble"] == said[-1]

    broken.unlink()
    broken.mkdir(mode=0o700)
    assert ship(job, spool, once=True).names == tuple(names)
    assert files(spool) == []
    assert archived(job["repositories"]["offsite"]) == names
    assert status(job)["trouble"] == ""


def test_unfinished_and_foreign_files_are_left_alone(segments: tuple[Path, list[str]], job: dict[str, Any]) -> None:
    spool, names = segments
    for other in (f"{names[2]}.partial", f".{names[2]}.tmp", "notes.txt", "lost+found"):
        (spool / other).write_bytes(b"x")
    assert ship(job, spool, once=True).names == tuple(names)
    assert files(spool) == sorted([f".{names[2]}.tmp", f"{names[2]}.partial", "lost+found", "notes.txt"])


def test_a_file_of_another_content_stays_and_holds_up_nobody(segments: tuple[Path, list[str]], job: dict[str, Any]) -> None:
    spool, names = segments
    kept = (spool / names[0]).read_bytes()
    assert ship(job, spool, once=True).names == tuple(names)
    (spool / names[0]).write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    (spool / names[1]).write_bytes(b"cut")
    (spool / names[2]).symlink_to("/etc/passwd")
    answer = ship(job, spool, once=True)
    assert isinstance(answer.faults[names[0]], WalConflict)
    assert set(answer.faults) == set(names)
    assert files(spool) == names
    assert archived(job["repositories"]["here"]) == names


def test_more_than_a_pass_takes_goes_in_one_run_and_files_that_fail_do_not_stand_in_the_way(
    segments: tuple[Path, list[str]], job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, names = segments
    monkeypatch.setattr("ansible_collections.lifeboat.postgres.plugins.module_utils.wal.ship.PASS_FILES", 1)
    (spool / f"00000001{'0' * 16}").write_bytes(b"not a segment, and the first by its name")
    answer = ship(job, spool, once=True)
    assert (answer.names, list(answer.faults)) == (tuple(names), [f"00000001{'0' * 16}"])
    assert files(spool) == [f"00000001{'0' * 16}"]
    assert archived(job["repositories"]["here"]) == names


def test_a_history_that_waits_first_goes_with_the_segment_that_says_whose_it_is(
    segments: tuple[Path, list[str]], job: dict[str, Any]
) -> None:
    spool, names = segments
    (spool / "00000002.history").write_text(f"1\t0/{int(names[2][16:], 16):X}000000\tno reason\n")
    answer = ship(job, spool, once=True)
    assert (sorted(answer.names), answer.faults) == (sorted([*names, "00000002.history"]), {})
    assert files(spool) == []


def test_one_spool_has_one_shipper(segments: tuple[Path, list[str]], job: dict[str, Any]) -> None:
    spool, _names = segments
    with the_only_one(spool), pytest.raises(Locked, match="being shipped already"):
        ship(job, spool, once=True)


@pytest.mark.parametrize("path", ["nowhere", "/nowhere/at/all"])
def test_a_spool_that_is_not_there_is_said_before_anything_runs(job: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigurationError, match="not a directory"):
        ship(job, Path(path), once=True)
    with pytest.raises(ConfigurationError, match="alert_after"):
        ship({**job, "spool": {"alert_after": "soon"}}, Path(path), once=True)


def test_the_command_follows_a_server_until_it_is_told_to_stop(
    server: SpoolingServer, job: dict[str, Any], tmp_path: Path, identity: Identity
) -> None:
    file = tmp_path / "wal.json"
    file.write_text(json.dumps(job))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-m", CLI, "wal", "ship", str(server.spool), "-c", str(file)]
    with subprocess.Popen(argv, env=environment, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            eventually((server.spool / MARKER).exists, "the shipper's mark")
            names = fill(server, 3)
            eventually(
                lambda: process.poll() is not None or set(names) <= set(archived(job["repositories"]["offsite"])), f"{names} archived"
            )
            eventually(lambda: not set(names) & set(os.listdir(server.spool)), "the spool empty")
        finally:
            process.terminate()
        assert process.wait(120) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
