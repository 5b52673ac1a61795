# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Law 8: `restore.sh` restores a backup in an environment that has standard tools and nothing of this collection."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from support.clusters import Server
from support.logical import Identity, folder_of, manifest_of, new_identity

pytestmark = pytest.mark.needs("program:age", "program:zstd")
Given = Callable[..., dict[str, Any]]


@pytest.fixture
def download(given: Given, places: dict[str, Any], shop: str, tmp_path: Path) -> Path:
    """The backup's folder as somebody downloaded it, in several volumes."""
    result = run(given(volume_size="128KiB"))
    manifest = manifest_of(places["here"], result["backup_id"], shop)
    target = tmp_path / "backup"
    shutil.copytree(folder_of(tmp_path / "here", manifest), target)
    return target


@pytest.fixture
def empty_server(postgres: Server) -> Iterator[Server]:
    """Another server of the same major version, with nothing in it."""
    with Server(postgres.major) as server:
        yield server


def restore(folder: Path, identity: Identity, server: Server | None, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the script with a bare environment: no Python path, no collection, standard directories only."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent"}
    if server is not None:
        environment["PATH"] = f"{server.bin_dir}:{environment['PATH']}"
        environment.update({"PGHOST": str(server.socket_dir), "PGPORT": str(server.port), "PGUSER": "postgres"})
    argv = ["sh", "restore.sh", "--identity", str(identity.file), *more]
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_script_restores_everything_on_an_empty_server(
    download: Path, identity: Identity, empty_server: Server, postgres: Server, shop: str
) -> None:
    done = restore(download, identity, empty_server)
    assert done.returncode == 0, done.stderr
    question = """SELECT (SELECT count(*) FROM orders), (SELECT cents FROM turnover), (SELECT count(*) FROM "odd ""name"" $(x)"),
        (SELECT last_value FROM orders_id_seq), (SELECT convert_from(lo_get(oid), 'UTF8') FROM pg_largeobject_metadata)"""
    with postgres.connect(shop) as production, empty_server.connect(shop) as restored:
        assert production.execute(question).fetchone() == restored.execute(question).fetchone()
    assert "restored database" in done.stdout


def test_the_script_restores_with_one_job_and_without_owners(download: Path, identity: Identity, empty_server: Server, shop: str) -> None:
    done = restore(download, identity, empty_server, "--jobs", "1", "--no-owner")
    assert done.returncode == 0, done.stderr
    with empty_server.connect(shop) as restored:
        assert restored.execute("SELECT count(*) FROM orders").fetchone() == (20000,)


def test_the_script_refuses_a_name_that_is_taken(download: Path, identity: Identity, postgres: Server, shop: str) -> None:
    done = restore(download, identity, postgres)
    assert done.returncode != 0
    assert "already exists" in done.stderr


def damaged_last_byte(folder: Path) -> str:
    path = folder / "database.dump.zst.age"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return "damaged or missing"


def damaged_length(folder: Path) -> str:
    path = folder / "database.dump.zst.age.001"
    path.write_bytes(path.read_bytes()[:-100])
    return "damaged or missing"


def missing_volume(folder: Path) -> str:
    (folder / "database.dump.zst.age.001").unlink()
    return "damaged or missing"


def missing_evidence(folder: Path) -> str:
    (folder / "evidence.json.zst.age").unlink()
    return "damaged or missing"


@pytest.mark.parametrize("damage", [damaged_last_byte, damaged_length, missing_volume, missing_evidence])
def test_the_script_stops_before_it_opens_anything_damaged(download: Path, identity: Identity, damage: Callable[[Path], str]) -> None:
    expected = damage(download)
    done = restore(download, identity, None)
    assert done.returncode != 0
    assert expected in done.stderr
    assert not (download / "database.dump").exists()


def test_the_script_says_that_the_identity_is_the_wrong_one(download: Path, tmp_path: Path) -> None:
    done = restore(download, new_identity(tmp_path / "other.txt"), None)
    assert done.returncode != 0
    assert "does not open" in done.stderr
    assert not (download / "database.dump").exists()


def test_the_script_opens_without_a_server(download: Path, identity: Identity, tmp_path: Path) -> None:
    done = restore(download, identity, None, "--open-only", "--into", str(tmp_path / "opened"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "opened" / "database.dump").read_bytes().startswith(b"PGDMP")
    assert sorted(path.name for path in (tmp_path / "opened").iterdir()) == ["database.dump", "evidence.json"]


@pytest.mark.parametrize("arguments", [(), ("--identity",), ("--identity", "/nonexistent"), ("--frobnicate",)])
def test_the_script_answers_wrong_arguments_in_one_sentence(download: Path, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["sh", "restore.sh", *arguments], cwd=download, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.startswith("restore.sh: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.needs("program:shellcheck")
def test_the_script_is_clean(download: Path) -> None:
    done = subprocess.run(["shellcheck", "--shell=sh", "restore.sh"], cwd=download, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
