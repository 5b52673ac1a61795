# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The throwaway server that recovers: its settings, looked at before it starts, in the confinement that was proven.

Nothing of production's configuration acts. Its files are other ones than the data directory's, its `postgresql.auto.conf` was
emptied, and what matters stands on the command line, which wins over every file.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.chain import Chain
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.control import ControlData
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.feeder import Feeder
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.recovery import Recovered, Recovery, recovery_settings
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.target import QUIETED, Target
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    ConfigurationError,
    DatabaseError,
    IntegrityError,
    RestoreError,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.cluster import Cluster
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn

__all__ = ["Recovering", "check_libraries"]

_FILES = {"config_file": "postgresql.conf", "hba_file": "pg_hba.conf", "ident_file": "pg_ident.conf"}
_HBA = "local all all trust\n"  # whoever gets to the socket passed a directory of mode 0700; no line lets anybody replicate

# What must be so before the server is started at all: a server that archives, replicates or listens is never used (law 3).
_MUST_BE = {
    "archive_mode": "off",
    "archive_command": "",
    "listen_addresses": "",
    "primary_conninfo": "",
    "shared_preload_libraries": "",
    "recovery_end_command": "",
    "archive_cleanup_command": "",
}


def check_libraries(target: Target, plan: DrillPlan) -> None:
    """What the recovered server is to load is installed here; raises `ConfigurationError`, which says nothing about the backup."""
    missing = [name for name in plan.pitr.preload_libraries if name not in target.libraries()]
    if missing:
        raise ConfigurationError(
            f"library {missing[0]!r} of preload_libraries is not installed {target.programs.where}",
            str(target.programs.directory),
            "Install the package of that extension for the server's major version.",
        )


class Recovering:
    """One server over a data directory that is laid out. `run` recovers it; `target.running` is the server from then on.

    `writable` are the directories of its files: the data directory, and those of its tablespaces.
    """

    def __init__(
        self,
        target: Target,
        plan: DrillPlan,
        chain: Chain,
        feeder: Feeder,
        control: ControlData,
        stop_lsn: Lsn,
        writable: Sequence[Path] = (),
        progress: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._target, self._plan, self._chain, self._feeder, self._stop_lsn = target, plan, chain, feeder, stop_lsn
        self._writable, self._progress = list(writable), progress
        if control.segment_bytes != chain.segment_bytes:
            raise IntegrityError(f"the base's segments have {control.segment_bytes} bytes, its manifest says {chain.segment_bytes}")
        moment = plan.target.moment
        if moment is not None and moment < control.checkpoint_at:
            began = control.checkpoint_at.isoformat(sep=" ")
            raise RestoreError(
                f"the target ({plan.target}) lies before the base backup, whose checkpoint was at {began}",
                next_step="PostgreSQL would come up at the end of the base, and call that a success. Choose an older base backup.",
            )
        # Those that were proven with, so that what holds there holds here.
        throwaway = {name: value for name, value in target.running.settings.items() if name != "max_wal_senders"}
        major = target.running.major
        settings = recovery_settings(throwaway, feeder.command, plan.target, chain.timeline, control.at_least, major)
        settings["shared_preload_libraries"] = ",".join(plan.pitr.preload_libraries)
        for name in plan.pitr.preload_libraries:
            settings.update(QUIETED.get(name, {}))
        self._readable = [feeder.directory, self._write_files()]
        self.cluster = Cluster(
            target.workspace.path,
            target.programs.initdb,
            target.programs.postgres,
            settings,
            self._wrap,
            target.environment,
            target.confinement.stop_signal,
            plan.pitr.superuser,
            target.confinement.send,
        )
        self.cluster.files = {name: str(self._readable[1] / file) for name, file in _FILES.items()}

    def run(self) -> Recovered:
        """Recover, and return where it ended; raises what stood in the way."""
        self.check_settings()
        self._target.cluster = self.cluster
        return Recovery(self.cluster, self._plan.target, self._chain, self._feeder.fed, self._stop_lsn, self._progress).run()

    def check_settings(self) -> None:
        """Ask `postgres -C`, which starts nothing, what the settings would be; raises `DatabaseError`."""
        preload = ",".join(self._plan.pitr.preload_libraries)
        wanted = {**_MUST_BE, "shared_preload_libraries": preload, "restore_command": self._feeder.command, **self.cluster.files}
        argv = self._target.programs.postgres.argv(self.cluster.data, {**self.cluster.settings, **self.cluster.files})
        script = 'names=$1; shift; for name in $names; do "$@" -C "$name" || exit 1; done'
        # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
        ended = subprocess.run(
            self._wrap(["sh", "-c", script, "sh", " ".join(wanted), *argv], [self.cluster.data]),
            env=self._target.environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        found = dict(zip(wanted, ended.stdout.split("\n")))
        wrong = [f"{name} is {found.get(name)!r}" for name, value in wanted.items() if found.get(name) != value]
        if ended.returncode or wrong:
            said = clean_line(ended.stderr, 300) or ", ".join(wrong)
            raise DatabaseError(f"the throwaway server would not take its settings: {said}", str(self.cluster.data))

    def _wrap(self, argv: Sequence[str], writable: Iterable[Path]) -> list[str]:
        paths = dict.fromkeys((*writable, *self._writable))
        return self._target.confinement.command(argv, list(paths), self._readable)

    def _write_files(self) -> Path:
        """Configuration files of our own: production's say whom it lets in, what it loads and where it archives."""
        directory = self._target.workspace.room("settings", self._target.account)
        contents: Mapping[str, str] = {"pg_hba.conf": _HBA}
        for file in _FILES.values():
            path = directory / file
            path.write_text(contents.get(file, ""), encoding="ascii")
            if os.geteuid() == 0:
                os.chown(path, -1, self._target.account.gid)
            path.chmod(0o640)
        return directory
