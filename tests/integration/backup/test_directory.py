# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory format: staged, sent as one tar, restored from it; and nothing in clear is left behind."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import stat
import subprocess
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup import formats, staging
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import BackupGuardError, ConfigurationError, LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import PgDump, PgRestore
from support.clusters import Server
from support.drills import back_up, work_dir
from support.leaks import eventually, open_files
from support.logical import Identity, folder_of, manifest_of, manifests_in, opened
from support.truncates import programs_with, queued_truncate

__all__ = ["work_dir"]

pytestmark = pytest.mark.needs("program:age", "program:zstd", "program:tar")
Given = Callable[..., dict[str, Any]]


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    return tmp_path / "staging"


@pytest.fixture
def in_directory(given: Given, stage: Path) -> Given:
    """The options of a backup in the directory format."""
    return lambda **more: given(format="directory", staging_dir=str(stage), **more)


def names_in(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getnames()


def test_it_is_one_artifact_with_every_file_and_nothing_stays_in_clear(
    in_directory: Given, places: dict[str, Any], identity: Identity, shop: str, stage: Path, tmp_path: Path
) -> None:
    files = open_files()
    result = run(in_directory(volume_size="256KiB"))
    assert open_files() == files
    assert (os.listdir(stage), stat.S_IMODE(stage.stat().st_mode)) == ([".lock"], 0o700)
    manifest = manifest_of(places["offsite"], result["backup_id"], shop)
    assert (manifest.format, result["format"], manifest.artifact("dump").name) == ("directory", "directory", "database.tar.zst.age")
    archive = opened(tmp_path / "here", manifest, "dump", identity)
    names = names_in(archive)
    assert names[0] == "toc.dat"
    assert names == ["toc.dat", *sorted(names[1:])]
    assert sum(name.startswith("blob_") for name in names) == 1
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert sum(member.size for member in tar) == manifest.plain_bytes == result["plain_bytes"]


def test_it_is_drilled_like_any_other(postgres: Server, shop: str, work_dir: Path, tmp_path: Path) -> None:
    taken = back_up(postgres, shop, tmp_path, format="directory", staging_dir=str(tmp_path / "staging"))
    report = taken.drill(work_dir)
    assert report["verdict"] == "passed", report["reason"]
    assert {"row counts", "large objects", "schema"} <= {check["name"] for check in report["checks"]}


def test_its_script_restores_with_standard_tools(
    in_directory: Given, places: dict[str, Any], identity: Identity, postgres: Server, shop: str, tmp_path: Path
) -> None:
    manifest = manifest_of(places["here"], run(in_directory(volume_size="256KiB"))["backup_id"], shop)
    folder = tmp_path / "download"
    shutil.copytree(folder_of(tmp_path / "here", manifest), folder)
    with Server(postgres.major) as empty:
        environment = {"PATH": f"{empty.bin_dir}:/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", "PGUSER": "postgres"}
        environment.update({"PGHOST": str(empty.socket_dir), "PGPORT": str(empty.port)})
        argv = ["sh", "restore.sh", "--identity", str(identity.file)]
        done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with empty.connect(shop) as restored:
            assert restored.execute("SELECT count(*) FROM orders").fetchone() == (20000,)
    again = subprocess.run([*argv, "--open-only"], cwd=folder, env=environment, capture_output=True, text=True)
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    assert "tar -x" in (folder / "RESTORE.md").read_text()


def test_what_a_killed_run_left_goes_with_the_next_one_and_what_a_living_one_holds_stays(in_directory: Given, stage: Path) -> None:
    dead, alive = (stage / f"stage-20260101T000000Z-{number:08x}" for number in (1, 2))
    for directory in (dead, alive):
        (directory / "dump").mkdir(parents=True)
        (directory / "owner").write_text("")
        (directory / "dump" / "toc.dat").write_text("rows in clear")
    stage.chmod(0o700)
    with open(alive / "owner", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        run(in_directory())
        assert sorted(os.listdir(stage)) == [".lock", alive.name]
    run(in_directory())
    assert os.listdir(stage) == [".lock"]


FAILING_PG_DUMP = """#!/bin/sh
case $1 in --version | --help) exec '{real}' "$@" ;; esac
'{real}' "$@"
echo 'pg_dump: error: no luck' >&2
exit 1
"""


def test_a_dump_that_fails_leaves_nothing_staged(in_directory: Given, stage: Path, places: dict[str, Any], tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    given = in_directory()
    programs.mkdir()
    (programs / "pg_restore").symlink_to(Path(given["bin_dir"], "pg_restore"))
    real = Path(given["bin_dir"], "pg_dump")
    (programs / "pg_dump").write_text(FAILING_PG_DUMP.format(real=real))
    (programs / "pg_dump").chmod(0o755)
    with pytest.raises(LifeboatError, match="no luck"):
        run({**given, "bin_dir": str(programs)})
    assert os.listdir(stage) == [".lock"]
    assert manifests_in(places["here"]) == []


UNLUCKY_PG_DUMP = """#!/bin/sh
case $1 in --version | --help) exec '{real}' "$@" ;; esac
case "$*" in
  *--format=directory*) echo 'pg_dump: error: {words}' >&2; exit 1 ;;
esac
exec '{real}' "$@"
"""


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("could not write to file: No space left on device", "disk of the staging directory became full"),
        ("query failed: ERROR:  out of shared memory", "no room for the locks"),
        ("connection to server failed: FATAL:  sorry, too many clients already", "no connection left"),
    ],
)
def test_what_only_a_directory_meets_costs_the_directory_and_not_the_backup(
    given: Given, places: dict[str, Any], stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, reason: str
) -> None:
    options = given(staging_dir=str(stage))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "pg_restore").symlink_to(Path(options["bin_dir"], "pg_restore"))
    (programs / "pg_dump").write_text(UNLUCKY_PG_DUMP.format(real=Path(options["bin_dir"], "pg_dump"), words=words))
    (programs / "pg_dump").chmod(0o755)
    monkeypatch.setattr(formats, "wants_directory", lambda *measures: True)
    result = run({**options, "bin_dir": str(programs)})
    assert result["format"] == "custom"
    assert any("streamed instead of staged" in warning and reason in warning for warning in result["warnings"])
    with pytest.raises(BackupGuardError, match=reason):
        run({**options, "bin_dir": str(programs), "format": "directory"})
    assert os.listdir(stage) == [".lock"]
    assert len(manifests_in(places["here"])) == 1


def test_without_room_auto_streams_and_says_so_and_a_directory_is_refused(
    given: Given, stage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "wants_directory", lambda *measures: True)
    monkeypatch.setattr(staging, "free_bytes", lambda directory: 1000)
    result = run(given(staging_dir=str(stage)))
    assert result["format"] == "custom"
    assert any("a directory would restore" in warning and "1000 B are free" in warning for warning in result["warnings"])
    with pytest.raises(ConfigurationError, match="directory format is not possible"):
        run(given(staging_dir=str(stage), format="directory"))


def test_a_staging_directory_that_others_may_look_into_is_refused(in_directory: Given, stage: Path) -> None:
    stage.mkdir(mode=0o755)
    stage.chmod(0o755)
    for check_mode in (True, False):
        with pytest.raises(ConfigurationError, match="looked into by others"):
            run(in_directory(), check_mode=check_mode)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"format": "dir"}, "format: unknown value 'dir'"),
        ({"jobs": 0}, "jobs is 0, the least is 1"),
        ({"jobs": "many"}, "jobs: expected a whole number"),
        ({"staging_dir": "somewhere"}, "staging_dir: expected an absolute path"),
        ({"statistics": "perhaps"}, "statistics: expected true or false"),
    ],
)
def test_a_wrong_option_is_answered_before_anything_runs(given: Given, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        run(given(login_port=1, **wrong))


def test_a_worker_that_finds_a_truncate_waiting_costs_an_attempt(
    given: Given, places: dict[str, Any], postgres: Server, shop: str, stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader has its locks, then somebody waits for an exclusive one, and the workers' own cannot be had."""
    monkeypatch.setattr(formats, "wants_directory", lambda *measures: True)
    said: list[str] = []
    results: list[dict[str, Any]] = []
    options = given(staging_dir=str(stage), lock_timeout="3s", jobs=2)
    go = tmp_path / "go"
    programs = programs_with(Path(options["bin_dir"]), tmp_path / "bin", f"while [ ! -e '{go}' ]; do sleep 0.02; done")
    backup = threading.Thread(target=lambda: results.append(run({**options, "bin_dir": str(programs)}, progress=said.append)))
    backup.start()
    eventually(lambda: any("snapshot of" in line for line in said), "the tables are locked")
    with queued_truncate(postgres, "orders", shop):
        go.touch()
        backup.join(120)
    assert any("again with a new snapshot" in line for line in said)
    # What met a lock queue once is streamed the next time: that needs every lock once, at its very beginning.
    assert results[0]["format"] == "custom"
    assert len(manifests_in(places["here"])) == 1
    assert os.listdir(stage) == [".lock"]


@pytest.mark.parametrize("damage", ["missing", "cut", "surplus", "blob"])
def test_a_directory_that_is_not_whole_is_never_sent(postgres: Server, shop: str, tmp_path: Path, damage: str) -> None:
    dump = tmp_path / "dump"
    argv = [str(postgres.bin_dir / "pg_dump"), "-h", str(postgres.socket_dir), "-p", str(postgres.port), "-U", "postgres"]
    subprocess.run([*argv, "--format=directory", "--compress=0", f"--file={dump}", shop], check=True)
    listing = PgRestore(postgres.major, postgres.bin_dir).contents(dump)
    staging.check_staged(dump, listing)
    rows = max(dump.glob("[0-9]*.dat"), key=lambda path: path.stat().st_size)
    if damage == "missing":
        rows.unlink()
    elif damage == "cut":
        os.truncate(rows, rows.stat().st_size // 2)
    elif damage == "surplus":
        (dump / "core").write_text("")
    else:
        next(dump.glob("blob_*.dat")).unlink()
    with pytest.raises(BackupGuardError, match="is not whole"):
        staging.check_staged(dump, listing)


def test_words_of_a_worker_that_could_not_get_its_lock_are_known() -> None:
    said = 'pg_dump: error: could not obtain lock on relation "public.orders"\nThis usually means that someone requested …'
    assert PgDump.was_outrun(said)


@pytest.mark.parametrize(
    ("measures", "directory"),
    [((2000, 10**9, 0), True), ((3, 10**12, 0), False), ((2000, 10**6, 0), False), ((2000, 10**9, 10**6), False)],
)
def test_many_tables_with_enough_in_them_get_a_directory(measures: tuple[int, int, int], directory: bool) -> None:
    assert formats.wants_directory(*measures) is directory
