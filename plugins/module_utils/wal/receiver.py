# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program pg_receivewal, running: it streams into a directory, syncs, and tells the server how far it is."""

from __future__ import annotations

import collections
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.credentials import client_credentials
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import Program
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line

__all__ = ["APPLICATION", "PgReceiveWal", "Receiver"]

APPLICATION = "lifeboat_receive"
"""Its name in pg_stat_replication, which synchronous_standby_names can hold."""
_POLITE_SECONDS = 5.0
_STATUS_SECONDS = 5


class PgReceiveWal(Program):
    """`pg_receivewal`: every segment under its own name once it is whole and synced, `.partial` before."""

    name = "pg_receivewal"

    def argv(self, login: Login, spool: Path, slot: str) -> list[str]:
        # --synchronous: synced as it comes, and the server told at once. --no-loop: we start it again, and see why it ended.
        return [
            str(self.path), "--directory", str(spool), "--slot", slot, "--synchronous", "--no-loop", "--no-password",
            "--status-interval", str(_STATUS_SECONDS), "--dbname", login.conninfo(APPLICATION),
        ]  # fmt: skip


class Receiver:
    """One run of it; ends with us, also when we are killed (Linux)."""

    def __init__(self, program: PgReceiveWal, login: Login, spool: Path, slot: str) -> None:
        self._said: collections.deque[str] = collections.deque(maxlen=20)
        argv = program.argv(login, spool, slot)
        setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
        if setpriv is not None:
            argv = [setpriv, "--pdeathsig", "KILL", "--", *argv]
        with client_credentials(login) as credentials:
            # libpq reads a password file anew for each connection, so the program gets a descriptor of its own to keep.
            try:
                # pylint: disable-next=ansible-bad-function,consider-using-with  # run_command waits, and this goes on
                self._process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=credentials.env,
                    pass_fds=credentials.pass_fds,
                    cwd="/",
                    umask=0o077,
                    start_new_session=True,
                )
            except OSError as error:
                raise MissingTool(f"pg_receivewal could not start: {error.strerror}", str(program.path)) from None
        self._reader = threading.Thread(target=self._read, name="pg_receivewal", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> str | None:
        """None while it runs; else how it ended, in its own words."""
        code = self._process.poll()
        if code is None:
            return None
        self._reader.join(_POLITE_SECONDS)
        said = clean_line("\n".join(line for line in self._said if "not renaming" not in line))
        return said or (f"it was killed by signal {-code}" if code < 0 else f"exit status {code}")

    def stop(self) -> None:
        """End it: it writes down what it has. Returns when it is gone."""
        for number in (signal.SIGINT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_POLITE_SECONDS)
                break
        self._reader.join(_POLITE_SECONDS)
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _read(self) -> None:
        stream = self._process.stderr
        with contextlib.suppress(ValueError, OSError):
            for line in stream or ():
                self._said.append(line.decode("utf-8", "replace").strip())
