# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL's own programs: found for the server's major version, asked what they can do, called by argument lists.

Another major version is never used: a newer pg_dump writes what the server's own pg_restore refuses, an older one
refuses the server (docs/postgres-notes.md#same-major).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, MissingTool, RestoreError

__all__ = [
    "SAFE_MINORS",
    "ArchiveListing",
    "Initdb",
    "PgDump",
    "PgDumpAll",
    "PgRestore",
    "PostgresServer",
    "Program",
    "Psql",
    "find_program",
]

_DIRECTORIES = (
    "/usr/lib/postgresql/{}/bin",
    "/usr/pgsql-{}/bin",
    "/opt/homebrew/opt/postgresql@{}/bin",
    "/usr/local/opt/postgresql@{}/bin",
    "/usr/local/pgsql-{}/bin",
    "/usr/local/pgsql/bin",
    "/usr/local/bin",
)
_OUTRUN = r"Query was: LOCK TABLE|could not obtain lock on relation|could not open relation with OID|cache lookup failed|does not exist"
_SERVER_PROGRAMS = ("initdb", "postgres", "pg_ctl", "pg_controldata", "pg_resetwal", "pg_checksums")

SAFE_MINORS: Mapping[int, int] = {14: 24, 15: 19, 16: 15, 17: 11, 18: 6}
"""The first minor versions without the holes that a hostile source database can use (docs/postgres-notes.md#safe-minors)."""


def find_program(name: str, major: int, bin_dir: str | os.PathLike[str] | None = None) -> Path:
    """The program of exactly this major version: in `bin_dir` when given, else in the usual places, else on PATH.

    Raises `MissingTool` naming the package and what was found instead.
    """
    package = f"postgresql-{major}" if name in _SERVER_PROGRAMS else f"postgresql-client-{major}"
    if bin_dir is not None:
        candidates = [Path(bin_dir, name)]
    else:
        candidates = [Path(pattern.format(major), name) for pattern in _DIRECTORIES]
        on_path = shutil.which(name)
        if on_path:
            candidates.append(Path(on_path))
    others = []
    for candidate in candidates:
        if not candidate.is_file() or not os.access(candidate, os.X_OK):
            continue
        version = _version_of(candidate)
        if version is not None and version[0] == major:
            return candidate.absolute()
        others.append(f"{candidate} is {'of an unknown version' if version is None else _dotted(version)}")
    where = "; ".join(others) if others else f"looked in {bin_dir}" if bin_dir is not None else ""
    raise MissingTool(
        f"there is no {name} of PostgreSQL {major}, the server's own major version",
        where,
        f"Install {package}, or give its directory as bin_dir.",
    )


class Elsewhere(Protocol):
    """Another place than this host where programs are (a container): where a program lies there, and what a command writes."""

    def find(self, name: str, major: int) -> str: ...

    def output(self, argv: list[str]) -> str: ...


class Program:
    """One program of one major version; `version` is "18.6", `warnings` what the operator should know about it."""

    name = ""

    def __init__(self, major: int, bin_dir: str | os.PathLike[str] | None = None, inside: Elsewhere | None = None) -> None:
        self._run = _run if inside is None else inside.output
        self.path = find_program(self.name, major, bin_dir) if inside is None else Path(inside.find(self.name, major))
        self.major = major
        found = _version_of(self.path, self._run)
        self.minor = found[1] if found else None
        self.version = _dotted((major, self.minor))
        self._help: str | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        safe = SAFE_MINORS.get(self.major)
        if safe is None or self.minor is None or self.minor >= safe:
            return ()
        holes = "has holes that a hostile source database can use (CVE-2025-8714 and later)"
        return (f"{self.name} {self.version} {holes}: update to {self.major}.{safe} or newer ({self.path}).",)

    def knows(self, option: str) -> bool:
        """Whether this build's `--help` lists the option."""
        if self._help is None:
            self._help = self._run([str(self.path), "--help"])
        return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", self._help) is not None


class PgDump(Program):
    """`pg_dump`: into a pipe in the custom format, the only one that streams, lists and restores selectively; or into a directory."""

    name = "pg_dump"

    def argv(
        self,
        conninfo: str,
        *,
        snapshot_id: str,
        lock_wait_timeout_seconds: float = 10.0,
        directory: str | os.PathLike[str] | None = None,
        jobs: int = 1,
        statistics: bool = False,
        extra: Sequence[str] = (),
    ) -> list[str]:
        """Dump what `snapshot_id` shows, uncompressed, to standard output, or with `jobs` workers into a new `directory`.

        Every table is locked by the snapshot's session already, so a lock that is not had at once is not to be had as
        long as the snapshot lives: a short wait, then a new snapshot (docs/postgres-notes.md#lock-queue).

        Uncompressed, since zstd behind it is faster and better than pg_dump's own zlib; never with
        `--enable-row-security`, which leaves rows out with exit status 0.
        """
        argv = [
            str(self.path),
            f"--dbname={conninfo}",
            "--no-password",
            "--format=custom" if directory is None else "--format=directory",
            "--compress=0",
            f"--snapshot={snapshot_id}",
            f"--lock-wait-timeout={max(1, round(lock_wait_timeout_seconds * 1000))}",
        ]
        if directory is not None:
            # It lives for as long as the run does: nothing of it has to survive a crash.
            argv += [f"--jobs={jobs}", "--no-sync", f"--file={os.fspath(directory)}"]
        # Since 18 a dump can carry the planner's statistics.
        if self.knows("--no-statistics"):
            argv.append("--statistics" if statistics else "--no-statistics")
        return [*argv, *extra]

    @staticmethod
    def was_outrun(stderr: str) -> bool:
        """Whether pg_dump failed because production changed under it: another try with a new snapshot may succeed.

        It waited for a lock that it could not get while the snapshot's session held its own, or something that the
        snapshot shows was dropped meanwhile. Both are found before it writes its first byte, but for a worker of a parallel
        dump: each takes its lock when it comes to its table, and gives up at once when somebody waits for that table.
        """
        return re.search(_OUTRUN, stderr) is not None


class PgDumpAll(Program):
    """`pg_dumpall`, for what belongs to the whole server."""

    name = "pg_dumpall"

    def argv(self, conninfo: str, database: str, *, passwords: bool, lock_wait_timeout_seconds: float = 10.0) -> list[str]:
        """Roles, tablespaces and grants on parameters as a script for `psql`, to standard output.

        `database`, as a conninfo of its own, is the one to ask in; left to itself the program wants `postgres` or `template1`.
        Without `passwords` it does not look at `pg_authid`, which a managed server lets nobody read.
        """
        argv = [
            str(self.path),
            f"--dbname={conninfo}",
            f"--database={database}",
            "--no-password",
            "--globals-only",
            f"--lock-wait-timeout={max(1, round(lock_wait_timeout_seconds * 1000))}",
        ]
        return argv if passwords else [*argv, "--no-role-passwords"]


class Psql(Program):
    """`psql`, for scripts of `pg_dumpall`, which no other program reads."""

    name = "psql"

    def argv(self, conninfo: str, script: str | os.PathLike[str]) -> list[str]:
        """Run a script to its end, whatever fails in it; every error names the line of the script."""
        return [
            str(self.path),
            f"--dbname={conninfo}",
            "--no-password",
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=0",
            f"--file={os.fspath(script)}",
        ]


class PgRestore(Program):
    """`pg_restore` of a custom-format archive into a database."""

    name = "pg_restore"

    def argv(
        self,
        conninfo: str,
        archive: str | os.PathLike[str] | None,
        *,
        jobs: int = 1,
        create: bool = False,
        statistics: bool = False,
        subscriptions: bool = False,
        extra: Sequence[str] = (),
    ) -> list[str]:
        """Restore `archive` (None: standard input, one job) over the login of `conninfo`.

        With `create`, `conninfo` names any database to start from, and the archive's own is made from `template0` with
        its locale and its ALTER DATABASE settings. Goes on after an error: count them with `restore_errors.parse`.
        Tablespaces of production are left out: a throwaway server has no place for them. `subscriptions` come disabled, and
        do not connect when they are made (`connect = false`); still, they are asked for only where there is no way out.
        """
        if jobs < 1 or (archive is None and jobs > 1):
            raise ConfigurationError(f"pg_restore cannot run {jobs} jobs", next_step="One job from a stream, one or more from a file.")
        argv = [str(self.path), f"--dbname={conninfo}", "--no-password", f"--jobs={jobs}", "--no-tablespaces"]
        if not subscriptions:
            argv.append("--no-subscriptions")
        if create:
            argv.append("--create")
        if self.knows("--no-statistics"):
            argv.append("--statistics" if statistics else "--no-statistics")
        argv += extra
        if archive is not None:
            argv += ["--", os.fspath(archive)]
        return argv

    def contents(self, archive: str | os.PathLike[str]) -> ArchiveListing:
        """What the archive says it holds; raises `RestoreError`. It proves nothing: a cut archive lists as a whole one."""
        command = [str(self.path), "--list", "--", os.fspath(archive)]
        # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=_c_locale(), check=False)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise RestoreError(f"pg_restore cannot read the archive: {said[-1] if said else done.returncode}", os.fspath(archive))
        return ArchiveListing(done.stdout.decode(errors="replace"))


class ArchiveListing:
    """A table of contents (`pg_restore --list`): `entries` are its lines, `header` its comments by name."""

    def __init__(self, text: str) -> None:
        lines = text.splitlines()
        self.entries = tuple(line for line in lines if line and not line.startswith(";"))
        pairs = (line.lstrip("; ").partition(": ") for line in lines if line.startswith(";"))
        self.header = {name.strip(): value.strip() for name, separator, value in pairs if separator}

    @property
    def extensions(self) -> tuple[str, ...]:
        """The extensions that the restore will create."""
        found = (re.match(r"\d+; \d+ \d+ EXTENSION - (.+) $", line) for line in self.entries)
        return tuple(match.group(1) for match in found if match)

    def ids(self, kind: str) -> list[int]:
        """The numbers of the entries of a kind, e.g. `TABLE DATA`; in a directory the files of their data are called so."""
        found = (re.match(rf"(\d+); \d+ \d+ {re.escape(kind)} ", line) for line in self.entries)
        return [int(match.group(1)) for match in found if match]

    def count(self, kind: str) -> int:
        """How many entries of a kind there are."""
        return len(self.ids(kind))


class Initdb(Program):
    """`initdb`: makes a data directory. Never as root."""

    name = "initdb"

    def argv(self, directory: str | os.PathLike[str], *, superuser: str = "postgres", extra: Sequence[str] = ()) -> list[str]:
        """A cluster without anything on disk being synced; `extra` brings encoding, locale and the rest."""
        argv = [str(self.path), "--pgdata", os.fspath(directory), f"--username={superuser}", "--no-sync", "--no-instructions"]
        return [*argv, *extra]


class PostgresServer(Program):
    """`postgres`, the server itself. Never as root."""

    name = "postgres"

    def argv(self, directory: str | os.PathLike[str], settings: Mapping[str, str]) -> list[str]:
        """Run in the foreground with `settings` on the command line, where no file of the directory overrides them."""
        argv = [str(self.path), "-D", os.fspath(directory)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        return argv


def _version_of(program: Path, run: Callable[[list[str]], str] | None = None) -> tuple[int, int | None] | None:
    """Major and minor ("19beta1" has no minor), or None when it does not say."""
    try:
        said = (run or _run)([str(program), "--version"])
    except MissingTool:
        return None
    match = re.search(r"\s(\d+)(?:\.(\d+))?", said)
    if match is None:
        return None
    return int(match.group(1)), None if match.group(2) is None else int(match.group(2))


def _dotted(version: tuple[int, int | None]) -> str:
    return str(version[0]) if version[1] is None else f"{version[0]}.{version[1]}"


def _run(command: list[str]) -> str:
    try:
        # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=_c_locale(), timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingTool(f"{command[0]} does not run: {error}") from None
    if done.returncode:
        raise MissingTool(f"{command[0]} does not run: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace")


def _c_locale() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}
