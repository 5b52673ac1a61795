# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup is restored into: a server of its major version, in a directory and namespaces of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import Account, account_for
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.contained import Contained
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.image import Image
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.isolation import (
    SYSTEM_PROGRAMS,
    Confinement,
    clean_environment,
    confinement_for,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.proof import ways_out
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import DRILL_VARIABLE, Workspace
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DatabaseError, DrillRefused
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.cluster import SUPERUSER, Cluster, throwaway_settings
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import Initdb, PgRestore, PostgresServer, Program
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import Isolation
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line

__all__ = ["QUIETED", "Programs", "Target", "VacuumDb", "rehearse_isolation", "require_isolation"]

# Extensions that cannot be created unless the server has loaded their library at its start, and what keeps them quiet then.
QUIETED = {
    "timescaledb": {"timescaledb.telemetry_level": "off"},
    "citus": {"citus.enable_statistics_collection": "off"},
    # Words that every version has: 1.4 knows no launch_active_jobs. A job that cannot log in does nothing, and leaves no line.
    "pg_cron": {"cron.use_background_workers": "off", "cron.host": "/nonexistent", "cron.log_run": "off"},
    "pgaudit": {},
}


class VacuumDb(Program):
    """`vacuumdb`, for the planner's statistics of a restored database."""

    name = "vacuumdb"

    def argv(self, conninfo: str, jobs: int) -> list[str]:
        return [str(self.path), f"--dbname={conninfo}", "--no-password", "--analyze-only", f"--jobs={jobs}", "--quiet"]


class Programs:
    """PostgreSQL's programs of one major version that a drill needs; raises `MissingTool` for the first that is missing.

    They are those of `image`, or of this host where there is none.
    """

    def __init__(self, major: int, bin_dir: Path | None, image: Image | None = None) -> None:
        self.image = image
        self.postgres = PostgresServer(major, bin_dir, image)
        self.initdb = Initdb(major, bin_dir, image)
        self.pg_restore = PgRestore(major, bin_dir, image)
        self.vacuumdb = VacuumDb(major, bin_dir, image)

    @property
    def directory(self) -> Path:
        return self.postgres.path.parent

    @property
    def where(self) -> str:
        """Where they are, in words."""
        return "on this host" if self.image is None else f"in image {self.image.reference}"

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.pg_restore.warnings


class Target:
    """The throwaway server with its directory. `cluster` is None until `start`."""

    def __init__(self, plan: DrillPlan, manifest: Manifest, programs: Programs, workspace: Workspace, account: Account) -> None:
        self.programs = programs
        self.workspace = workspace
        self.account = account
        self.cluster: Cluster | None = None
        self._database_bytes = manifest.database_bytes
        self._plan = plan
        if programs.image is not None:
            workspace.note({"throwaway": programs.image.engine.record()})
        self.confinement = _confinement(account, programs, workspace.path, workspace.mount_point)
        require_isolation(plan, self.confinement)
        own = {**clean_environment(), DRILL_VARIABLE: workspace.drill_id}
        self.environment = {**own, **self.confinement.environment}
        self._own_environment = own
        if programs.image is None:  # what an image holds was asked when it was opened
            self._check_programs_run()

    @property
    def running(self) -> Cluster:
        """The server; there is one after `start`."""
        if self.cluster is None:
            raise DatabaseError("the throwaway server was not started")
        return self.cluster

    @property
    def isolation(self) -> Isolation:
        """How far the server was found to be isolated, for the report."""
        return Isolation(self.confinement.isolated, self.confinement.how, self.confinement.detail)

    def start(self, extensions: Iterable[str] = (), superuser: str = SUPERUSER, database: str = "") -> Cluster:
        """Make and start the server, and prove that it has no way out.

        `extensions` are those that will be created, in `database`; `superuser` is the role that made production's cluster.
        """
        preload = sorted(set(extensions) & set(QUIETED) & self.libraries())
        settings = throwaway_settings(_memory_bytes(), os.cpu_count() or 1, self._database_bytes, preload)
        for name in preload:
            settings.update(QUIETED[name])
        if database and "pg_cron" in preload:
            settings["cron.database_name"] = database  # the only one in which it can be created
        self.cluster = Cluster(
            self.workspace.path,
            self.programs.initdb,
            self.programs.postgres,
            settings,
            self.confinement.command,
            self.environment,
            self.confinement.stop_signal,
            superuser,
            self.confinement.send,
        )
        self.cluster.create()
        self.cluster.start()
        if self.confinement.isolated:
            with self.cluster.connect("postgres", "lifeboat drill isolation") as conn:
                reached = ways_out(conn, self.workspace.path / "p")
            if reached:
                why = f"The isolated server still reaches {', '.join(reached)}."
                self.confinement = self.confinement.doubted(why)
                require_isolation(self._plan, self.confinement)
        return self.cluster

    def run(self, argv: Sequence[str], readable: Iterable[Path] = ()) -> subprocess.Popen[str]:
        """Start a client program of the server, confined like it; its standard error is a pipe."""
        # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
        return subprocess.Popen(
            self.confinement.command(argv, [self.workspace.socket], readable),
            env=self.environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def beside(self, argv: Sequence[str], readable: Iterable[Path]) -> tuple[list[str], dict[str, str]]:
        """How to start a program of this host beside the server, with its socket: the command, and its environment.

        Where the server is in a container, the program is in namespaces of this host; raises `DrillRefused` where it makes none.
        """
        confinement = self.confinement
        if self.programs.image is not None:
            confinement = confinement_for(self.account, self.workspace.mount_point, SYSTEM_PROGRAMS)
            require_isolation(self._plan, confinement)
        return confinement.command(argv, [self.workspace.socket], readable), dict(self._own_environment)

    def _check_programs_run(self) -> None:
        """The server's programs run as the drill's user; raises `ConfigurationError` with one sentence."""
        programs = (self.programs.postgres.path, self.programs.pg_restore.path)
        # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
        ended = subprocess.run(
            # By a shell of that user: setpriv itself would still find the programs with root's capabilities.
            self.confinement.command(["sh", "-c", '"$0" --version && "$1" --version', *map(str, programs)]),
            env=self.environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if ended.returncode:
            raise ConfigurationError(
                f"user {self.account.name!r} cannot run PostgreSQL's programs: {clean_line(ended.stderr, 300)}",
                str(self.programs.directory),
                "Install PostgreSQL where that user can read it, or name another user as run_as.",
            )

    def libraries(self) -> set[str]:
        """Names of the loadable libraries beside the server."""
        if self.programs.image is not None:
            return self.programs.image.libraries(self.programs.directory)
        root = self.programs.directory.parent
        return {path.stem for pattern in ("lib/*.so", "lib/postgresql/*.so", "lib64/*.so") for path in root.glob(pattern)}


def require_isolation(plan: DrillPlan, confinement: Confinement) -> None:
    """Raise `DrillRefused` for a machine that cannot isolate, unless that was waived by name."""
    if not confinement.isolated and "isolation" not in plan.waive:
        raise DrillRefused(
            "the throwaway server would have a way out of this machine, and what a backup restores is code of others",
            confinement.detail,
            "Drill on a host where root (or user namespaces) can isolate, or waive isolation.",
        )


@contextmanager
def rehearse_isolation(plan: DrillPlan, programs: Programs) -> Iterator[Confinement]:
    """The isolation that a drill would get, tried in an empty directory that is removed again."""
    directory = Path(tempfile.mkdtemp(prefix="lifeboat-"))
    try:
        yield _confinement(account_for(plan.run_as), programs, directory, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _confinement(account: Account, programs: Programs, directory: Path, mount_point: Path) -> Confinement:
    """Containers where the programs are an image's, else what this machine can give."""
    if programs.image is not None:
        return Contained(programs.image, account, directory)
    return confinement_for(account, mount_point, programs.directory)


def _memory_bytes() -> int:
    """This machine's memory; a guess of 2 GiB where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 2 * 1024**3
