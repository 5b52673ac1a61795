# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that archives through the launcher and its worker, and what can be seen of both from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyrage
import zstandard
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import parse_wal_key, wal_prefix
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal import launchers
from support.clusters import account, private_directory
from support.leaks import eventually, runs
from support.logical import Identity
from support.wal import LIBRARY, SYSTEM, ArchivingServer

__all__ = ["LaunchedServer", "own", "runs"]

KEEP = {"wal_keep_size": "2GB", "max_wal_size": "4GB", "checkpoint_timeout": "1h", "autovacuum": "off"}
"""So that every segment that was archived is still there to be compared."""


class LaunchedServer(ArchivingServer):
    """`scripts` is where the launchers lie. Segments of 1 MB, none of which is recycled.

    With `hand=True` nobody calls the launcher but the test.
    """

    def __init__(self, major: int, repositories: Mapping[str, Any], keys: Identity, *, hand: bool = False, **job: Any) -> None:
        self.keys = keys
        self.scripts = private_directory("lb-bin")
        command = "false" if hand else f"{self.scripts / launchers.PUSH} %p"
        super().__init__(major, repositories, keys, segment_mb=1, job=job, settings=KEEP, command=command)
        self.write_launchers()

    def write_launchers(self) -> None:
        argv = [sys.executable, "-m", launchers.__name__, str(self.scripts), "-c", str(self.job_file)]
        subprocess.run(argv, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": LIBRARY})

    def stop(self) -> None:
        super().stop()
        for pid in self.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # --- what the archiver does --------------------------------------------------------------------------------------

    def push(self, name: str) -> subprocess.CompletedProcess[str]:
        """What the archiver would run for a segment, as the server's user in its data directory."""
        return subprocess.run(**self.push_arguments(name), timeout=300)

    def start_push(self, name: str) -> subprocess.Popen[str]:
        """The same, not waited for."""
        return subprocess.Popen(**self.push_arguments(name))

    def push_arguments(self, name: str) -> dict[str, Any]:
        argv = [str(self.scripts / launchers.PUSH), f"pg_wal/{name}"]
        entry = account()
        if entry is not None:
            drop = ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
            argv = [*drop, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", *argv]
        return {"args": argv, "cwd": self.data, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def wait_until_nothing_waits(self, seconds: float = 600.0) -> None:
        eventually(lambda: not self.waiting(), "every segment archived", seconds)

    # --- what the worker does ----------------------------------------------------------------------------------------

    @property
    def postmaster(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def life(self) -> Path:
        lines = (self.data / "postmaster.pid").read_text().splitlines()
        return self.run_dir / f"{lines[0]}-{lines[2].strip()}"

    def workers(self) -> list[int]:
        """The workers of this data directory, of whatever life."""
        return self._running(f"\0{self.data}\0", ".wal.worker")

    def fronts(self) -> list[int]:
        """The fronts that ask a worker."""
        return self._running(f"\0{self.job_file}\0", "import front")

    def worker(self) -> int:
        """The one there is, once there is one."""
        found: list[int] = []

        def one() -> bool:
            found[:] = self.workers()
            return len(found) == 1

        eventually(one, "there is one worker")
        return found[0]

    def kill_worker(self) -> None:
        for pid in self.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def acknowledged(self) -> set[str]:
        with contextlib.suppress(FileNotFoundError):
            return {entry.name for entry in (self.life / "ok").iterdir()}
        return set()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.run_dir / f"{SYSTEM}.json").read_text())
        return found

    def _running(self, *words: str) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if all(word in (entry / "cmdline").read_text(errors="replace") for word in words) and runs(int(entry.name)):
                        found.append(int(entry.name))
        return found

    # --- what is in the archive --------------------------------------------------------------------------------------

    def contents(self, repository: str) -> dict[str, list[bytes]]:
        """Every stored content of every name, opened."""
        found: dict[str, list[bytes]] = {}
        identity = pyrage.x25519.Identity.from_str(self.keys.file.read_text().strip())
        with open_repository(repository, self.options["repositories"][repository], read_only=True) as opened:
            for item in opened.list(wal_prefix(SYSTEM)):
                parsed = parse_wal_key(item.key)
                if parsed is not None:
                    packed = pyrage.decrypt(opened.read(item.key), [identity])
                    found.setdefault(parsed[0], []).append(zstandard.ZstdDecompressor().decompressobj().decompress(packed))
        return found

    def assert_all_archived(self, names: list[str], repository: str = "here") -> None:
        """Each is there once, with the content that it has here; so is whatever else the archiver was told to be archived."""
        found = self.contents(repository)
        told = {path.stem for path in (self.wal_dir / "archive_status").glob("*.done")}
        missing = sorted((told | set(names)) - set(found))
        assert not missing, f"lost: {missing}"
        for name, stored in found.items():
            assert stored == [(self.wal_dir / name).read_bytes()], name


def own(path: Path) -> None:
    """Give it to the server's user."""
    entry = account()
    if entry is not None:
        os.chown(path, entry.pw_uid, entry.pw_gid)
