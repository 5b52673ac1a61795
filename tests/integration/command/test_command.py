# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `lifeboat` as a person runs it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import cli, layout
from support.shelf import Shelf

CHECKOUT = Path(__file__).resolve().parents[3]
MODULE = [sys.executable, "-m", cli.__name__]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **more}


def lifeboat(work: Path, job: Any, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    file = work / "job.json"
    file.write_text(job if isinstance(job, str) else json.dumps(job))
    command = [*MODULE, "-c", str(file), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**variables), check=False)


def on_a_terminal(command: list[str], **variables: str) -> str:
    """What a person sees."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run(command, stdout=theirs, stdin=subprocess.DEVNULL, env=environment(**variables), check=False)
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # how Linux says that nobody writes to it any more
                break
            seen += part
        return seen.decode()
    finally:
        os.close(ours)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    (tmp_path / "here").mkdir()
    shelf = Shelf({"here": {"type": "posix", "path": str(tmp_path / "here")}})
    yield shelf
    shelf.close()


def test_it_lists_verifies_and_shows_and_says_by_its_status_what_is_wrong(tmp_path: Path, shelf: Shelf) -> None:
    job = {"system": "shop", "repositories": shelf.specs, "cache_dir": ""}
    good, bad = shelf.backup(2, into=["here"]), shelf.backup(1, into=["here"], name="evil\x1b[31m\u202e")
    shelf.repositories["here"].delete(layout.artifact_key(bad.ref, "evidence.json.zst.age"))
    listed = lifeboat(tmp_path, job, "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert good.backup_id in listed.stdout
    assert "evil\\x1b[31m\\u202e" in listed.stdout
    assert all(len(line) <= 80 and line.isprintable() for line in listed.stdout.splitlines())
    verified = lifeboat(tmp_path, job, "verify")
    assert verified.returncode == 8
    assert "here: evidence.json.zst.age is missing" in verified.stdout
    assert len(json.loads(lifeboat(tmp_path, job, "list", "--json").stdout)["backups"]) == 2
    shown = lifeboat(tmp_path, job, "show", good.backup_id)
    assert f"shop/database/shop/{good.backup_id}/RESTORE.md" in shown.stdout
    missing = lifeboat(tmp_path, job, "show", "20200101T000000Z-00000000")
    assert (missing.returncode, "there is no backup" in missing.stderr) == (5, True)
    for wrong, said in (("{", "is not JSON"), ({**job, "sytem": 1}, "Did you mean 'system'")):
        refused = lifeboat(tmp_path, wrong, "list")
        assert (refused.returncode, said in refused.stderr, "Traceback" in refused.stderr) == (2, True, False)
    nowhere = subprocess.run(
        [*MODULE, "-c", str(tmp_path / "no.json"), "list"], capture_output=True, text=True, env=environment(), check=False
    )
    assert (nowhere.returncode, "the job file cannot be read" in nowhere.stderr) == (2, True)


def test_show_leaves_nothing_of_the_manifest_out(tmp_path: Path, shelf: Shelf) -> None:
    job = {"system": "shop", "repositories": shelf.specs, "cache_dir": ""}
    older, newer = shelf.backup(2, into=["here"]), shelf.backup(1, into=["here"])
    (said,) = json.loads(lifeboat(tmp_path, job, "show", "--json", older.backup_id).stdout)["backups"]
    assert said["manifest"] == json.loads(older.to_bytes())
    assert (said["newest"], said["good"], said["restore"]) == (False, True, f"shop/database/shop/{older.backup_id}/RESTORE.md")
    shown = lifeboat(tmp_path, job, "show", newer.backup_id)
    assert (shown.returncode, shown.stderr) == (0, "")
    for artifact in newer.artifacts:
        assert all(volume.name in shown.stdout and volume.sha256 in shown.stdout for volume in artifact.volumes)
    assert all(key in shown.stdout for key in newer.to_document())


def test_show_reads_one_manifest_and_says_when_it_is_broken(tmp_path: Path, shelf: Shelf) -> None:
    job = {"system": "shop", "repositories": shelf.specs, "cache_dir": ""}
    good, broken = shelf.backup(2, into=["here"]), shelf.backup(1, into=["here"])
    shelf.overwrite("here", layout.manifest_key(broken.ref), b"{")
    assert lifeboat(tmp_path, job, "show", good.backup_id).returncode == 0
    refused = lifeboat(tmp_path, job, "show", broken.backup_id)
    assert (refused.returncode, "is not JSON" in refused.stderr, refused.stdout) == (7, True, "")


def test_colours_are_for_terminals_and_for_those_who_want_them(tmp_path: Path, shelf: Shelf) -> None:
    job = {"system": "shop", "repositories": shelf.specs, "cache_dir": ""}
    shelf.backup(2, into=["here"])
    bad = shelf.backup(1, into=["here"])
    shelf.repositories["here"].delete(layout.artifact_key(bad.ref, "evidence.json.zst.age"))
    assert "\x1b" not in lifeboat(tmp_path, job, "verify", TERM="xterm").stdout
    command = [*MODULE, "-c", str(tmp_path / "job.json"), "verify"]
    coloured = on_a_terminal(command, TERM="xterm")
    assert "\x1b[31m    here: evidence.json.zst.age is missing\x1b[0m" in coloured
    assert "\x1b[32m" in coloured
    assert "\x1b" not in on_a_terminal(command, TERM="xterm", NO_COLOR="1")
    assert "\x1b" not in on_a_terminal(command, TERM="dumb")


def test_a_name_that_the_terminal_cannot_show_and_a_reader_that_goes_away_end_nothing_badly(tmp_path: Path, shelf: Shelf) -> None:
    job = {"system": "shop", "repositories": shelf.specs, "cache_dir": ""}
    shelf.backup(1, into=["here"], name="größe")
    plain = lifeboat(tmp_path, job, "list", PYTHONIOENCODING="ascii")
    assert (plain.returncode, plain.stderr, "gr\\xf6\\xdfe" in plain.stdout) == (0, "", True)
    reading, writing = os.pipe()
    os.close(reading)
    left = subprocess.run(
        [*MODULE, "-c", str(tmp_path / "job.json"), "list"], stdout=writing, stderr=subprocess.PIPE, env=environment(), check=False
    )
    os.close(writing)
    assert (left.returncode, left.stderr) == (141, b"")


def test_the_command_of_the_checkout_finds_the_files_of_the_folder_it_is_started_in(tmp_path: Path, shelf: Shelf) -> None:
    good = shelf.backup(1, into=["here"])
    (tmp_path / "shop.json").write_text(json.dumps({"system": "shop", "repositories": shelf.specs, "cache_dir": ""}))
    (tmp_path / "json.py").write_text("raise SystemExit('a file of this folder was taken for a library')")
    shown = subprocess.run(
        [str(CHECKOUT / "bin" / "lifeboat"), "-c", "shop.json", "show", good.backup_id],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert good.backup_id in shown.stdout
