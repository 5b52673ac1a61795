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
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.launchers import FETCH, PUSH, library_root
from support.clusters import Server, account, private_directory
from support.leaks import eventually
from support.logical import Identity, new_identity

__all__ = ["LaunchedServer", "alive", "own", "write_launchers"]

MEBIBYTE = 1024 * 1024
_LAUNCHERS = "ansible_collections.lifeboat.postgres.plugins.module_utils.wal.launchers"


class LaunchedServer(Server):
    """Archives into a directory, or into `repositories`; segments of 1 MiB unless another size is asked for."""

    def __init__(self, major: int, repositories: Mapping[str, Any] | None = None, *, segment_mebibytes: int = 1, **more: Any) -> None:
        self.place = private_directory("lbw")
        self.run_dir, self.archive, self.launchers = self.place / "run", self.place / "archive", self.place / "bin"
        for folder in (self.run_dir, self.archive, self.launchers):
            folder.mkdir(mode=0o700)
        self.key: Identity = new_identity(self.place / "identity")
        self.config = self.place / "wal.json"
        self.options: dict[str, Any] = {
            "system": "shop",
            "repositories": dict(repositories or {"here": {"type": "posix", "path": str(self.archive)}}),
            "encryption": {"method": "age", "recipients": [self.key.recipient]},
            "run_dir": str(self.run_dir),
            "identity_file": str(self.key.file),
            "stall_timeout": "20s",
            **more,
        }
        self.write_options()
        write_launchers(self.launchers, self.config)
        settings = {
            "archive_mode": "on",
            "archive_command": f"{self.launchers / PUSH} %p",
            "wal_level": "replica",
            "max_wal_size": "8GB",
            "checkpoint_timeout": "1h",
            "autovacuum": "off",
        }
        own(self.place)
        super().__init__(major, settings, initdb=(f"--wal-segsize={segment_mebibytes}",), reads_all=True)

    def write_options(self, **changed: Any) -> None:
        """The job file anew, whole or not at all."""
        self.options.update(changed)
        temporary = self.config.with_suffix(".new")
        temporary.write_text(json.dumps(self.options))
        own(temporary)
        temporary.replace(self.config)

    # --- what the server does ----------------------------------------------------------------------------------------

    def switch(self, times: int = 1) -> list[str]:
        """End so many segments, with something in each; their names."""
        names = []
        with self.connect() as connection:
            for _time in range(times):
                connection.execute("SELECT pg_create_restore_point('for a segment')")
                row = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
                assert row is not None
                names.append(str(row[0]))
        return names

    def setting(self, **values: str) -> None:
        """By ALTER SYSTEM and a reload; wins over the configuration file, not over the server's command line."""
        with self.connect() as connection:
            for name, value in values.items():
                connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")  # type: ignore[arg-type]
            connection.execute("SELECT pg_reload_conf()")

    def ready(self) -> set[str]:
        return {path.stem for path in (self.data / "pg_wal" / "archive_status").glob("*.ready")}

    def done(self) -> set[str]:
        """What the archiver has been told to be archived, and the server has not recycled since."""
        return {path.stem for path in (self.data / "pg_wal" / "archive_status").glob("*.done")}

    def wait_until_archived(self, name: str, seconds: float = 60.0) -> None:
        eventually(lambda: not any(waiting <= name for waiting in self.ready()), f"{name} archived\n{self.log_tail()}", seconds)

    def log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

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
        """The workers of this data directory, whatever their life."""
        return [pid for pid, words in _commands() if f"\0{self.data}\0" in words and ".wal.worker" in words]

    def worker(self) -> int:
        found = self.workers()
        assert len(found) == 1, found
        return found[0]

    def acknowledged(self) -> set[str]:
        with contextlib.suppress(FileNotFoundError):
            return {entry.name for entry in (self.life / "ok").iterdir()}
        return set()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.run_dir / "shop.json").read_text())
        return found

    # --- what is in the archive --------------------------------------------------------------------------------------

    def archived(self, name: str = "here") -> dict[str, list[bytes]]:
        """Every stored content of every name, opened."""
        contents: dict[str, list[bytes]] = {}
        identity = pyrage.x25519.Identity.from_str(self.key.file.read_text().strip())
        with open_repository(name, self.options["repositories"][name], read_only=True) as repository:
            for item in repository.list(wal_prefix("shop")):
                parsed = parse_wal_key(item.key)
                if parsed is not None:
                    sealed = repository.read(item.key)
                    plain = zstandard.ZstdDecompressor().decompressobj().decompress(pyrage.decrypt(sealed, [identity]))
                    contents.setdefault(parsed[0], []).append(plain)
        return contents

    def push_by_hand(self, path: str | os.PathLike[str], **more: Any) -> subprocess.CompletedProcess[str]:
        """What the archiver does, as the server's user in its data directory."""
        argv = [str(self.launchers / PUSH), str(path)]
        entry = account()
        if entry is not None:
            drop = ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
            argv = [*drop, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", *argv]
        return subprocess.run(argv, cwd=self.data, capture_output=True, text=True, timeout=60, **more)

    def stop(self) -> None:
        super().stop()
        for pid in self.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def write_launchers(directory: Path, config: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", _LAUNCHERS, str(directory), "-c", str(config)],
        check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(library_root())},
    )  # fmt: skip
    assert (directory / FETCH).exists()


def own(path: Path) -> None:
    """Give a file, or a directory and what lies in it, to the server's user."""
    entry = account()
    if entry is not None:
        for found in (path, *(path.rglob("*") if path.is_dir() else ())):
            os.chown(found, entry.pw_uid, entry.pw_gid)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def _commands() -> list[tuple[int, str]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found.append((int(entry.name), (entry / "cmdline").read_text(errors="replace")))
    return found
