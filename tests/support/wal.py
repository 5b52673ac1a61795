# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that archive with our own command, and what lies in an archive, seen from outside the code under test.

place = archive_place()
with ArchivingServer(18, {"here": place.spec}, identity, segment_mb=1) as server:
    names = server.fill_segments(5)
    server.wait_archived(names[-1])
    assert place.opened(names[-1], identity) == (server.wal_dir / names[-1]).read_bytes()
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import cli
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import WalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import BACKUP, HISTORY, PARTIAL, SEGMENT, WalName
from support.clusters import Server, private_directory
from support.leaks import eventually
from support.logical import Identity
from support.parts import require

__all__ = [
    "ArchivingServer", "Place", "RealWal", "archive_place", "command_line", "job_options", "real_wal", "run_wal", "wal", "wal15", "wal18",
    "write_job",
]  # fmt: skip

SYSTEM = "shop"
LIBRARY = os.pathsep.join(path for path in sys.path if path)


@dataclass(frozen=True)
class Place:
    """A directory that a test server's user may write to, as a repository."""

    root: Path
    system: str = SYSTEM

    @property
    def spec(self) -> dict[str, Any]:
        return {"type": "posix", "path": str(self.root)}

    def files(self) -> dict[str, list[Path]]:
        """What is stored, by the name that the server gave it; hidden remains are not."""
        found: dict[str, list[Path]] = {}
        for path in sorted((self.root / self.system / "wal").glob("*/*")):
            if not path.name.startswith("."):
                found.setdefault(path.name.partition("-")[0], []).append(path)
        return found

    def names(self) -> list[str]:
        return sorted(self.files())

    def remains(self) -> list[Path]:
        """Unfinished uploads."""
        return list(self.root.rglob(".lifeboat-unfinished-*"))

    def opened(self, name: str, keys: Identity) -> bytes:
        """The plain bytes of the one file of this name, by the programs age and zstd."""
        (path,) = self.files()[name]
        packed = subprocess.run(["age", "-d", "-i", str(keys.file), str(path)], capture_output=True, check=True).stdout
        return subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, check=True).stdout


def archive_place(system: str = SYSTEM) -> Place:
    return Place(private_directory("lb-wal"), system)


def job_options(repositories: Mapping[str, Any], keys: Identity, run_dir: Path, **more: Any) -> dict[str, Any]:
    """The options in a job file of `lifeboat wal`."""
    return {
        "system": SYSTEM,
        "repositories": dict(repositories),
        "encryption": {"method": "age", "recipients": [keys.recipient]},
        "run_dir": str(run_dir),
        **more,
    }


def write_job(path: Path, options: Mapping[str, Any]) -> Path:
    """The job file, readable for the server's user."""
    path.write_text(json.dumps(options))
    path.chmod(0o644)
    return path


def command_line(job_file: Path, *words: str) -> list[str]:
    """`lifeboat wal …` as this checkout has it."""
    return ["env", f"PYTHONPATH={LIBRARY}", sys.executable, "-m", cli.__name__, "wal", "-c", str(job_file), *words]


def run_wal(job_file: Path, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run it once, from the directory that a server would run it from."""
    return subprocess.run(command_line(job_file, *words), capture_output=True, text=True, cwd=cwd or "/")


class ArchivingServer(Server):
    """A server with archive_mode=on and `lifeboat wal push %p`, one process per file, as its archive_command.

    `job` are more options of the job file. `job_file`, `run_dir` and `wal_dir` are where they lie. The command can be
    changed by `archive_command(text)`, and the job by `rewrite(**options)`.
    """

    def __init__(
        self,
        major: int,
        repositories: Mapping[str, Any],
        keys: Identity,
        *,
        segment_mb: int = 16,
        job: Mapping[str, Any] | None = None,
        settings: Mapping[str, str] | None = None,
        command: str = "",
    ) -> None:
        home = private_directory("lb-job")
        self.run_dir, self.job_file = home / "run", home / "wal.json"
        self.options = job_options(repositories, keys, self.run_dir, **(job or {}))
        write_job(self.job_file, self.options)
        self.script = _script(home / "push", command_line(self.job_file, "push"))
        given = {
            "archive_mode": "on",
            "archive_command": command or f"{self.script} %p",
            "wal_level": "replica",
            "max_wal_size": f"{max(64, 64 * segment_mb)}MB",
            "min_wal_size": f"{max(32, 2 * segment_mb)}MB",
            **(settings or {}),
        }
        initdb = () if segment_mb == 16 else (f"--wal-segsize={segment_mb}",)
        super().__init__(major, given, initdb=initdb, reads_all=True)

    @property
    def wal_dir(self) -> Path:
        return self.data / "pg_wal"

    def rewrite(self, **options: Any) -> None:
        """Another job file; the next file is archived by it."""
        self.options = {**self.options, **options}
        write_job(self.job_file, self.options)

    def archive_command(self, text: str) -> None:
        """Another command, for this server's next start too."""
        self.settings = {**self.settings, "archive_command": text}
        self.halt()
        self.start()

    def fill_segments(self, count: int, kilobytes: int = 8) -> list[str]:
        """Write so many kilobytes that compress badly into each of `count` segments, and leave it; their names."""
        names = []
        with self.connect() as connection:
            for _number in range(count):
                connection.execute(
                    "SELECT pg_logical_emit_message(true, 'fill', string_agg(md5(random()::text), '')) FROM generate_series(1, %s)",
                    (kilobytes * 32,),
                )
                names.append(self._left(connection))
        return names

    def switch(self, restore_point: str = "test") -> str:
        """A restore point, and the segment that holds it is left; its name."""
        with self.connect() as connection:
            connection.execute("SELECT pg_create_restore_point(%s)", (restore_point,))
            return self._left(connection)

    def wait_archived(self, name: str, seconds: float = 600.0) -> None:
        """Until the archiver has taken note of it."""
        done = self.wal_dir / "archive_status" / f"{name}.done"
        eventually(lambda: done.exists() or not (self.wal_dir / name).exists(), f"{name} is archived", seconds)

    def waiting(self) -> list[str]:
        """Names that are .ready."""
        return sorted(path.name.removesuffix(".ready") for path in (self.wal_dir / "archive_status").glob("*.ready"))

    def archiver(self) -> dict[str, Any]:
        """pg_stat_archiver."""
        with self.connect() as connection:
            cursor = connection.execute("SELECT archived_count, last_archived_wal, failed_count, last_failed_wal FROM pg_stat_archiver")
            row = cursor.fetchone()
        assert row is not None
        return dict(zip(("archived_count", "last_archived_wal", "failed_count", "last_failed_wal"), row))

    def _left(self, connection: Any) -> str:
        row = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
        return str(row[0])


def _script(path: Path, argv: list[str]) -> Path:
    path.write_text(f'#!/bin/sh\nexec {shlex.join(argv)} "$@"\n')
    path.chmod(0o755)
    return path


@dataclass(frozen=True)
class RealWal:
    """What a server handed its archiver, kept without the server: every kind of file, in a data directory of its own.

    `segments` are whole ones in order, of timeline 1 and then of timeline 2; the others are the one of their kind.
    """

    data: Path
    major: int
    system_identifier: str
    segments: tuple[str, ...]
    history: str
    partial: str
    backup: str

    @property
    def everything(self) -> tuple[str, ...]:
        return (*self.segments, self.history, self.partial, self.backup)

    def path(self, name: str) -> Path:
        return self.data / "pg_wal" / name

    def read(self, name: str) -> bytes:
        return self.path(name).read_bytes()

    def copy(self, target: Path) -> RealWal:
        """The same to be damaged."""
        shutil.copytree(self.data, target)
        return replace(self, data=target)

    def job(self, repositories: Mapping[str, Any], keys: Identity, run_dir: Path, **more: Any) -> WalJob:
        """A job as the command reads it, for files that lie here."""
        given = job_options(repositories, keys, run_dir, data_dir=str(self.data), identity_file=str(keys.file))
        return WalJob.from_options({**given, **more})


def real_wal(major: int) -> RealWal:
    """Segments of 1 MB, a backup's label, and what a promotion leaves, from a server that is gone again."""
    data = private_directory("lb-real")
    with ArchivingServer(major, {}, Identity(Path(), ""), segment_mb=1, command="false") as server:
        segments = server.fill_segments(2)
        with server.connect() as connection:
            connection.execute("SELECT pg_backup_start('test', true)")
            connection.execute("SELECT * FROM pg_backup_stop(false)")
        segments += server.fill_segments(2)
        # So that the timeline is left in the middle of a segment, and that there is a partial one.
        server.execute("SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'fill', repeat('x', 100000))")
        server.halt()
        (data / "global").mkdir()
        (data / "pg_wal").mkdir()
        _take(server, data, server.waiting())
        (server.data / "recovery.signal").touch()
        server.settings = {**server.settings, "restore_command": "false"}
        server.start()
        with server.connect() as connection:
            # It answers already while it recovers.
            promoted = "SELECT NOT pg_is_in_recovery()"
            eventually(lambda: connection.execute(promoted).fetchone() == (True,), "the server is promoted")
        segments += server.fill_segments(2, kilobytes=700)
        with server.connect() as connection:
            row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
        assert row is not None
        _take(server, data, ["../PG_VERSION", "../global/pg_control", *server.waiting()])
    taken = sorted(path.name for path in (data / "pg_wal").iterdir())
    named = {WalName.parse(name).kind: name for name in taken}
    kept = tuple(name for name in taken if WalName.parse(name).kind == SEGMENT)
    assert set(segments) <= set(kept), (segments, taken)
    return RealWal(data, major, row[0], kept, named[HISTORY], named[PARTIAL], named[BACKUP])


def _take(server: ArchivingServer, data: Path, names: list[str]) -> None:
    for name in names:
        shutil.copy(server.wal_dir / name, data / "pg_wal" / name)


@pytest.fixture(scope="session")
def wal15() -> RealWal:
    require("postgresql:15")
    return real_wal(15)


@pytest.fixture(scope="session")
def wal18() -> RealWal:
    require("postgresql:18")
    return real_wal(18)


@pytest.fixture(scope="session", params=[15, 18], ids=["pg15", "pg18"])
def wal(request: pytest.FixtureRequest) -> RealWal:
    """Of each of the two in turn."""
    found: RealWal = request.getfixturevalue(f"wal{request.param}")
    return found
