# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Law 8: `restore.sh` and `wal.sh` bring a server back to its newest row with standard tools and nothing of this collection."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_run import run
from support.bases import Production, base_of, started
from support.clusters import account, identity, private_directory
from support.logical import folder_of, posix


@pytest.fixture
def desk() -> Path:
    """Where somebody who runs servers has downloaded things to."""
    return private_directory("lb-desk")


def hand_over(*paths: Path) -> None:
    """To the user that runs servers."""
    entry = account()
    if entry is not None:
        for top in paths:
            for path in (top, *top.rglob("*")):
                os.chown(path, entry.pw_uid, entry.pw_gid)


def download(production: Production, backup_id: str, target: Path) -> Path:
    shutil.copytree(folder_of(production.place.root, base_of(production.spec, backup_id)), target)
    return target


def call(production: Production, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """As that user, with a bare environment."""
    environment = {"PATH": f"{production.server.bin_dir}:/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent"}
    return subprocess.run(["sh", *words], cwd=folder, env=environment, capture_output=True, text=True, **identity())


def test_a_chain_and_its_log_come_back_to_the_newest_row(production: Production, desk: Path) -> None:
    server = production.server
    server.execute("CREATE TABLE paid AS SELECT generate_series(1, 1000) AS id")
    full = run(production.given(volume_size="1MiB"))
    server.execute("INSERT INTO paid SELECT generate_series(1, 200)")
    last = run(production.given(mode="incremental"))
    server.execute("INSERT INTO paid SELECT generate_series(1, 30)")
    server.wait_archived(server.switch())
    folders = [download(production, result["backup_id"], desk / name) for name, result in (("full", full), ("last", last))]
    shutil.copytree(production.place.root / "shop" / "wal", desk / "wal")
    shutil.copy(production.keys.file, desk / "identity.txt")
    hand_over(desk)
    parents = ["--parent", "../full"] if last["parent"] else []
    done = call(production, folders[1], "restore.sh", "--identity", "../identity.txt", "--into", str(desk / "data"), *parents)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in desk.iterdir()) == ["data", "full", "identity.txt", "last", "wal"]
    (desk / "data" / "recovery.signal").touch()
    command = f"sh {folders[1]}/wal.sh --identity {desk}/identity.txt {desk}/wal %f %p"
    with started(desk / "data", server, {"restore_command": command, "recovery_target_action": "promote"}) as session:
        assert session.execute("SELECT count(*) FROM paid").fetchone() == (1230,)
    server.execute("DROP TABLE paid")


def test_the_script_opens_what_was_sealed_with_a_passphrase_or_not_at_all(production18: Production, desk: Path, tmp_path: Path) -> None:
    passphrase = desk / "passphrase"
    passphrase.write_text("correct horse battery staple\n")
    passphrase.chmod(0o600)
    for method, key in (("gpg-symmetric", ["--passphrase-file", str(passphrase)]), ("none", [])):
        place = posix(tmp_path / method)
        encryption = {"method": method, **({"passphrase_file": str(passphrase)} if key else {})}
        result = run(production18.given(repositories={"here": place}, encryption=encryption, wal="included", volume_size="1MiB"))
        folder = desk / f"of-{method}"
        shutil.copytree(folder_of(tmp_path / method, base_of(place, result["backup_id"])), folder)
        hand_over(folder, passphrase)
        done = call(production18, folder, "restore.sh", *key, "--into", str(desk / method))
        assert done.returncode == 0, done.stderr
        assert (desk / method / "backup_label").exists()
        if key:
            passphrase.write_text("wrong\n")
            wrong = call(production18, folder, "restore.sh", *key, "--into", str(desk / "other"))
            assert wrong.returncode != 0
            assert "cannot be opened" in wrong.stderr


def test_the_script_refuses_what_is_damaged_or_in_the_way(production18: Production, desk: Path) -> None:
    result = run(production18.given(wal="included"))
    folder = download(production18, result["backup_id"], desk / "full")
    shutil.copy(production18.keys.file, desk / "identity.txt")
    (desk / "used").mkdir()
    (desk / "used" / "somebody's").touch()
    hand_over(desk)
    key = ["--identity", "../identity.txt"]
    assert "is not empty" in call(production18, folder, "restore.sh", *key, "--into", "../used").stderr
    assert "usage" in call(production18, folder, "restore.sh", "--identity", "../identity.txt").stderr
    assert "cannot be read" in call(production18, folder, "restore.sh", "--identity", "../nothing", "--into", "../new").stderr
    other = subprocess.run(["age-keygen", "-o", str(desk / "other.txt")], capture_output=True)
    assert other.returncode == 0
    hand_over(desk / "other.txt")
    wrong = call(production18, folder, "restore.sh", "--identity", "../other.txt", "--into", "../new")
    assert wrong.returncode != 0
    assert "cannot be" in wrong.stderr
    path = folder / "base.tar.zst.age"
    path.write_bytes(path.read_bytes()[:-1])
    cut = call(production18, folder, "restore.sh", *key, "--into", "../newer")
    assert "damaged or missing" in cut.stderr
    assert not (desk / "newer").exists() or not list((desk / "newer").iterdir())


def test_wal_sh_says_certainly_not_there_only_when_it_is_certain(production18: Production, desk: Path) -> None:
    result = run(production18.given())
    folder = download(production18, result["backup_id"], desk / "full")
    shutil.copytree(production18.place.root / "shop" / "wal", desk / "wal")
    shutil.copy(production18.keys.file, desk / "identity.txt")
    hand_over(desk)
    name = result["wal"]["first"]

    def fetch(*words: str) -> int:
        return call(production18, folder, "wal.sh", "--identity", "../identity.txt", *words).returncode

    assert fetch("../wal", name, str(desk / "out")) == 0
    assert (desk / "out").read_bytes() == production18.place.opened(name, production18.keys)
    assert fetch("../wal", "0000000100000FFF00000001", str(desk / "none")) == 1
    assert fetch("../nowhere", name, str(desk / "none")) == 126
    (stored,) = (desk / "wal" / name[:8]).glob(f"{name}-*")
    data = bytearray(stored.read_bytes())
    data[-1] ^= 1
    stored.chmod(0o600)
    stored.write_bytes(data)
    assert fetch("../wal", name, str(desk / "none")) == 126
    shutil.copy(stored, stored.with_name(stored.name.replace(stored.name[30:34], "0123", 1)))
    assert fetch("../wal", name, str(desk / "none")) == 126
    assert not (desk / "none").exists()
