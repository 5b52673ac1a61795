# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of the operator beside the throwaway server: confined as it is, with libpq's variables pointing at it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import Inside
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.target import Target

__all__ = ["Errands"]


class Errands(Inside):
    """What checks start, for one restored database."""

    def __init__(self, target: Target, database: str) -> None:
        self.directory = target.workspace.socket
        self._target = target
        login = target.running.login(database)
        self._environment = {
            "PGHOST": login.unix_socket,
            "PGPORT": str(login.port),
            "PGUSER": login.user,
            "PGDATABASE": database,
        }

    def start(self, argv: Sequence[str], readable: Iterable[Path], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        command, own = self._target.beside(argv, readable)
        # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
        return subprocess.Popen(
            command,
            env={**own, **self._environment, **environment},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
