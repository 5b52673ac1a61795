# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Law 7, looked for everywhere: arguments and environments while it runs, what Ansible says at its loudest, files, the vault."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.leaks import children
from support.modules import COLLECTIONS
from support.vaults import Escrow, written

pytestmark = pytest.mark.needs("program:age", "program:zstd")


def spellings(secret: bytes) -> list[bytes]:
    """How a secret could look wherever it leaked to."""
    return [secret, secret.hex().encode(), base64.b64encode(secret), repr(secret)[2:-1].encode()]


@contextlib.contextmanager
def watched(leaks: list[str], needles: list[bytes]) -> Iterator[None]:
    """Every descendant's arguments and environment, again and again, for as long as the block runs."""
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for child in children():
                for what in ("cmdline", "environ"):
                    with contextlib.suppress(OSError):
                        said = Path(f"/proc/{child}/{what}").read_bytes()
                        leaks.extend(f"{what}: {said[:80]!r}" for needle in needles if needle in said)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def temporary() -> Iterator[Path]:
    """With a short name: Ansible puts sockets into it."""
    with tempfile.TemporaryDirectory(prefix="lb-", dir="/tmp") as folder:
        yield Path(folder)


def test_no_key_is_anywhere_but_where_it_was(tmp_path: Path, temporary: Path) -> None:
    (tmp_path / "escrow").mkdir()
    escrow = Escrow(tmp_path / "escrow")
    text, passphrase = os.urandom(24).hex().encode(), os.urandom(24).hex().encode()
    dotenv = written(escrow.root / "production" / ".env", b"SECRET_KEY_BASE=" + text + b"\n")
    weak = written(escrow.root / "production" / "weak", b"changeme-" + text[:8])
    equal = written(escrow.root / "production" / "equal", passphrase)
    file = written(escrow.root / "production" / "passphrase", passphrase + b"\n")
    options = escrow.options(
        keys=[
            {"name": "master-key", "path": str(escrow.master)},
            {"name": "env", "path": str(dotenv)},
            {"name": "one", "env_file": str(dotenv), "variable": "SECRET_KEY_BASE"},
            {"name": "weak", "path": str(weak)},
            {"name": "equal", "path": str(equal)},
        ],
        passphrase_files=[str(file)],
    )
    needles = [needle for secret in (escrow.master.read_bytes(), text, passphrase, weak.read_bytes()) for needle in spellings(secret)]
    home = tmp_path / "home"
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_KEEP_REMOTE_FILES": "1",
        "ANSIBLE_REMOTE_TMP": str(temporary / "remote"),
        "ANSIBLE_LOG_PATH": str(tmp_path / "ansible.log"),
        "TMPDIR": str(temporary),
    }
    argv = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-i", "localhost,", "-c", "local", "-vvvvv", "--diff"]
    argv += ["-e", f"ansible_python_interpreter={sys.executable}", "-m", "lifeboat.postgres.key_escrow", "-a", json.dumps(options)]
    leaks: list[str] = []
    with watched(leaks, needles):
        done = subprocess.run(argv, capture_output=True, env=environment, cwd="/", timeout=900)
    said = done.stdout + done.stderr
    assert b"3 of 5 keys are safe" in said, said.decode()
    assert leaks == []
    assert not [needle for needle in needles if needle in said]
    found = [path for folder in (tmp_path, temporary) for path in folder.rglob("*")]
    files = [path for path in found if path.is_file() and not path.is_relative_to(escrow.root / "production")]
    assert len(files) > 12, "the vault's and Ansible's own files are among them"
    for path in files:
        content = path.read_bytes()
        assert not [needle for needle in needles if needle in content], path
    assert {manifest.ref.name for name in ("master-key", "env", "one") for manifest in escrow.manifests(name)} == {
        "master-key",
        "env",
        "one",
    }
