# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Law 7: no secret in an argument list, in an environment, in output at -vvvv, in a file that the run leaves or writes.

The module runs through Ansible as an operator runs it, over TCP with a password, with a credential for the store and a
signing key. While it runs, every process below it is looked at again and again, pg_dump waiting until it was looked at; afterwards
every file and all output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.clusters import Server
from support.leaks import children
from support.logical import Identity, new_identity, options, posix
from support.modules import COLLECTIONS
from support.store_fixtures import Bucket
from support.truncates import programs_with

PASSWORD = "pa:ss\\word-k3ep-me-s3cret"


@pytest.fixture
def database(postgres18: Server) -> Iterator[str]:
    with postgres18.database() as name, postgres18.role("keeper", f"LOGIN SUPERUSER PASSWORD '{PASSWORD}'"):
        postgres18.execute("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 200000) n", name)
        yield name


@pytest.fixture
def signing_key(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "signing"
    path.parent.mkdir(mode=0o700)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@pytest.fixture
def home() -> Iterator[Path]:
    """HOME and TMPDIR of the run; a short path, since Ansible puts a socket there."""
    with tempfile.TemporaryDirectory(prefix="lb-home-", dir="/tmp") as directory:
        yield Path(directory)


def secrets_of(bucket: Bucket, signing_key: Path) -> list[bytes]:
    middle_of_the_key = signing_key.read_text().splitlines()[3]
    return [PASSWORD.encode(), bucket.store.secret_key.encode(), middle_of_the_key.encode(), b"pa:ss\\\\word-k3ep-me-s3cret"]


def look_at_processes(pid: int, secrets: list[bytes]) -> tuple[list[str], set[str]]:
    """Who shows a secret in its arguments or environment, and the programs that were looked at."""
    shown, seen = [], set()
    for child in children(pid):
        for name in ("cmdline", "environ"):
            try:
                seen.add(Path(f"/proc/{child}/comm").read_text().strip())
                content = Path(f"/proc/{child}/{name}").read_bytes()
            except OSError:
                continue
            shown += [f"{child} {name}: {content[:200]!r}" for secret in secrets if secret in content]
    return shown, seen


def playbook_for(given: dict[str, Any], home: Path) -> tuple[list[str], dict[str, str], Path]:
    """Command and environment that run the module with these options, and the playbook that holds them."""
    playbook = home / "playbook.json"
    task = {"name": "Back up", "lifeboat.postgres.pg_logical_backup": given}
    playbook.write_text(json.dumps([{"name": "Test", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}]))
    environment = {
        **os.environ,
        "HOME": str(home),
        "TMPDIR": str(home),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
    }
    return [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-vvvv", str(playbook)], environment, playbook


class Gate:
    """A pg_dump that waits, once it has all that it gets, until somebody has looked; its log-in is that of any."""

    def __init__(self, home: Path, bin_dir: Path) -> None:
        self.waits, self.goes_on = home / "waits", home / "goes-on"
        wait = f"while [ ! -e '{self.goes_on}' ]; do : > '{self.waits}'; sleep 0.05; done"
        self.bin_dir = programs_with(bin_dir, home / "bin", wait)


def run_through_ansible(given: dict[str, Any], home: Path, secrets: list[bytes], gate: Gate) -> tuple[bytes, list[str], set[str]]:
    argv, environment, playbook = playbook_for(given, home)
    log = home / "output"
    shown: list[str] = []
    seen: set[str] = set()
    with log.open("wb") as output:
        process = subprocess.Popen(argv, env=environment, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            waits = gate.waits.exists()
            found, programs = look_at_processes(process.pid, secrets)
            shown += found
            seen |= programs
            if waits:
                gate.goes_on.touch()
            time.sleep(0.005)
    playbook.unlink()
    said = log.read_bytes()
    assert process.returncode == 0, said.decode()
    return said, shown, seen


@pytest.mark.needs("program:rclone")
def test_no_secret_is_seen_anywhere(
    postgres18: Server, database: str, rclone_bucket: Bucket, signing_key: Path, home: Path, tmp_path: Path
) -> None:
    identity: Identity = new_identity(tmp_path / "identity.txt")
    repositories = {"here": posix(tmp_path / "here"), "offsite": rclone_bucket.spec()}
    given = options(postgres18, database, repositories, identity, tmp_path / "locks", signing_key=str(signing_key))
    del given["login_unix_socket"]
    given |= {"login_host": "127.0.0.1", "login_user": "keeper", "login_password": PASSWORD}
    secrets = secrets_of(rclone_bucket, signing_key)

    gate = Gate(home, postgres18.bin_dir)
    given["bin_dir"] = str(gate.bin_dir)

    said, shown, seen = run_through_ansible(given, home, secrets, gate)

    assert shown == []
    assert gate.goes_on.exists()
    assert "pg_dump" in seen, f"the test has to have looked while pg_dump ran, it saw {sorted(seen)}"
    for secret in secrets:
        assert secret not in said
    roots = [tmp_path / "here", tmp_path / "locks", home, rclone_bucket.store.directory / rclone_bucket.name]
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    assert len(files) > 8
    for path in files:
        content = path.read_bytes()
        assert not any(secret in content for secret in secrets), path


def test_a_wrong_password_is_answered_without_showing_it(postgres18: Server, database: str, home: Path, tmp_path: Path) -> None:
    given = options(postgres18, database, {"here": posix(tmp_path / "here")}, new_identity(tmp_path / "i"), tmp_path / "locks")
    del given["login_unix_socket"]
    given |= {"login_host": "127.0.0.1", "login_user": "keeper", "login_password": "wrong-but-s3cret"}
    argv, environment, _playbook = playbook_for(given, home)
    done = subprocess.run(argv, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "keeper" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "wrong-but-s3cret" not in done.stdout + done.stderr
