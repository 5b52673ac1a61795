# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server on this machine: whether it is here, whom it runs as, what that user can run, what it logs, how it is restarted.

A server in a container or on another host is reached by its connection only, and nothing of this is known of it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DatabaseError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors, one_row
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["LocalServer", "check_restart", "find_server", "run_restart"]

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Whoever started the server under one of these has to be asked to restart it, or loses sight of it.
_MANAGERS = re.compile(
    r"/([^/]*(?:postgres|patroni|pgsql|repmgr|stolon)[^/]*\.service|[^/]*(?:docker|libpod|containerd|kubepods)[^/]*)", re.IGNORECASE
)
_LOG_BYTES = 256 * 1024


@dataclass(frozen=True)
class LocalServer:
    """A server whose postmaster is a process of this machine, with its data directory and its user."""

    data: Path
    pid: int
    uid: int
    gid: int

    @property
    def user(self) -> str:
        with contextlib.suppress(KeyError):
            return pwd.getpwuid(self.uid).pw_name
        return str(self.uid)

    @property
    def bin_dir(self) -> Path:
        """The directory of the server's own programs."""
        with contextlib.suppress(OSError):
            return Path(os.readlink(f"/proc/{self.pid}/exe")).parent
        return Path("/nonexistent")

    @property
    def can_become(self) -> bool:
        """Whether this process may run a program as the server's user."""
        return os.geteuid() in (0, self.uid)

    def run(self, argv: Sequence[str], timeout_seconds: float = 60.0, output: BinaryIO | None = None) -> subprocess.CompletedProcess[str]:
        """A program as the server's user, in the data directory, as the archiver would run it.

        What it says is in the result, unless it goes to `output`. Raises `OSError`, `subprocess.TimeoutExpired`.
        """
        identity: dict[str, Any] = {}
        if os.geteuid() == 0 and self.uid != 0:
            identity = {"user": self.uid, "group": self.gid, "extra_groups": self._groups()}
        # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
        return subprocess.run(
            list(argv),
            cwd=str(self.data),
            env={"PATH": _PATH, "HOME": self._home(), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=output or subprocess.PIPE,
            stderr=output or subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
            **identity,
        )

    def find_program(self, name: str) -> str:
        """The program's path where the server's user would look for it, or ""."""
        return shutil.which(name, path=_PATH) or "" if "/" not in name else name

    def cannot_run(self, program: str) -> str:
        """Why the server's user cannot run the program at this path; "" when it can, and when that cannot be tried."""
        if not self.can_become:
            return "" if os.path.exists(program) else "it does not exist"
        try:
            tried = self.run(
                ["/bin/sh", "-c", 'if [ ! -e "$1" ]; then exit 3; elif [ -d "$1" ] || [ ! -x "$1" ]; then exit 4; fi', "sh", program]
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"it could not be tried as {self.user}: {error}"
        if tried.returncode == 3:
            return f"it does not exist, or {self.user} cannot look into its directory"
        return f"{self.user}, who runs the server, may not execute it" if tried.returncode else ""

    def manager(self) -> str:
        """The service or container that the server was started in, and we were not, or ""."""
        with contextlib.suppress(OSError):
            theirs = Path(f"/proc/{self.pid}/cgroup").read_text(encoding="ascii", errors="replace")
            match = _MANAGERS.search(theirs)
            if match and theirs != Path("/proc/self/cgroup").read_text(encoding="ascii", errors="replace"):
                return match.group(1)
        return ""

    @property
    def log_file(self) -> str:
        """The file that the server writes its standard error to; "" when that is none, or not to be told."""
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{self.pid}/fd/2")
            return target if os.path.isfile(target) else ""
        return ""

    @property
    def is_silent(self) -> bool:
        """Whether nobody reads what it says."""
        with contextlib.suppress(OSError):
            return os.readlink(f"/proc/{self.pid}/fd/2") == os.devnull
        return False

    def log_lines(self) -> list[str]:
        """The end of that file, or nothing."""
        with contextlib.suppress(OSError), open(self.log_file or os.devnull, "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
            return log.read().decode("utf-8", "replace").splitlines()
        return []

    def _home(self) -> str:
        with contextlib.suppress(KeyError):
            return pwd.getpwuid(self.uid).pw_dir
        return "/"

    def _groups(self) -> list[int]:
        with contextlib.suppress(KeyError):
            return os.getgrouplist(pwd.getpwuid(self.uid).pw_name, self.gid)
        return [self.gid]


def find_server(connection: Connection[Any], data_directory: str) -> LocalServer | None:
    """The server of this session when it runs on this machine and outside of a container; None when not, or not to be told.

    A directory of the same name can be here too: so postmaster.pid must tell of the same moment of start, and its process live.
    """
    with database_errors():
        started = int(one_row(connection, "SELECT extract(epoch FROM pg_catalog.pg_postmaster_start_time())::bigint")[0])
    data = Path(data_directory)
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
        status = data.stat()
        pid, begun = int(lines[0]), int(lines[2])
        os.kill(pid, 0)
    except PermissionError:
        return None
    except (OSError, ValueError, IndexError):
        return None
    if abs(begun - started) > 2 or _is_another(pid, data):
        return None
    return LocalServer(data, pid, status.st_uid, status.st_gid)


def _is_another(pid: int, data: Path) -> bool:
    """Whether the process of this number is certainly not the server: in a container the number means another one."""
    try:
        return not os.path.samefile(f"/proc/{pid}/cwd", data)
    except OSError:
        return False


def run_restart(server: LocalServer | None, command: Sequence[str], timeout_seconds: float) -> None:
    """Restart by the operator's command, or by pg_ctl a server here that no service manager started; raises `DatabaseError`."""
    if command:
        try:
            # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
            done = subprocess.run(
                list(command),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_seconds,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DatabaseError(f"restart_command did not end well: {error}", command[0], "Look whether the server runs.") from None
        if done.returncode:
            said = clean_line(done.stderr or done.stdout)
            raise DatabaseError(f"restart_command ended with {done.returncode}: {said}", command[0], "Look whether the server runs.")
        return
    if server is None:
        raise ConfigurationError(
            "the server does not run on this host, or not outside of a container", "restart", "Say how it is restarted, as restart_command."
        )
    _pg_ctl(server, timeout_seconds)


def check_restart(server: LocalServer | None, command: Sequence[str], collects: bool) -> None:
    """Refuse, before anything is changed, a restart that could not be made; raises `ConfigurationError`.

    `collects`: the server's logging_collector is on.
    """
    if command:
        return
    if server is None:
        raise ConfigurationError(
            "restart: true, but the server does not run on this host, or runs in a container",
            "restart",
            "Say how it is restarted, as restart_command: [docker, compose, restart, postgres].",
        )
    manager = server.manager()
    if manager:
        raise ConfigurationError(
            f"the server was started by {manager}, which would lose sight of it",
            "restart",
            f"Say how it is restarted, as restart_command: [systemctl, restart, {manager}]."
            if manager.endswith(".service")
            else "Give restart_command.",
        )
    if not server.can_become:
        raise ConfigurationError(
            f"only root and {server.user} can restart the server with pg_ctl", "restart", "Use become, or give restart_command."
        )
    if not (server.bin_dir / "pg_ctl").exists():
        raise ConfigurationError(f"there is no pg_ctl in {server.bin_dir}", "restart", "Give restart_command.")
    if not (server.log_file or collects or server.is_silent):
        raise ConfigurationError(
            "the server's log goes into a pipe, which a server started by pg_ctl would not have", "restart", "Give restart_command."
        )
    log = server.log_file
    if log and not os.access(log, os.W_OK):
        raise ConfigurationError("the server's log cannot be opened, which its successor has to write to", log, "Give restart_command.")


def _pg_ctl(server: LocalServer, timeout_seconds: float) -> None:
    # postmaster.opts holds the command line that the server was started with, and pg_ctl takes it again. Its `-l` would open the
    # log as the server's user, who may not be the one that did, and leave the server stopped: so the new one inherits it from us.
    argv = [str(server.bin_dir / "pg_ctl"), "restart", "-D", str(server.data), "-m", "fast", "-w", "-s", "-t", str(int(timeout_seconds))]
    log = server.log_file or "/dev/null"
    try:
        with open(log, "ab") as output:
            done = server.run(argv, timeout_seconds + 10, output)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DatabaseError(f"pg_ctl restart did not end well: {error}", str(server.data), f"Look into the server's log ({log}).") from None
    if done.returncode:
        raise DatabaseError(f"pg_ctl restart ended with {done.returncode}", str(server.data), f"Look into the server's log ({log}).")
