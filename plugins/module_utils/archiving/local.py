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
from typing import TYPE_CHECKING, Any

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

    def run(self, argv: Sequence[str], timeout_seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        """A program as the server's user, in the data directory, as the archiver would run it; raises `OSError`, `TimeoutExpired`."""
        identity: dict[str, Any] = {}
        if os.geteuid() == 0 and self.uid != 0:
            identity = {"user": self.uid, "group": self.gid, "extra_groups": self._groups()}
        # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
        return subprocess.run(
            list(argv),
            cwd=str(self.data),
            env={"PATH": _PATH, "HOME": self._home(), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
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
        """The service or container that the server was started in, or ""."""
        with contextlib.suppress(OSError):
            match = _MANAGERS.search(Path(f"/proc/{self.pid}/cgroup").read_text(encoding="ascii", errors="replace"))
            return match.group(1) if match else ""
        return ""

    def log_lines(self) -> list[str]:
        """The end of what the server writes to its standard error, when that is a file; else nothing."""
        with contextlib.suppress(OSError):
            with open(f"/proc/{self.pid}/fd/2", "rb") as log:
                if not os.path.isfile(os.readlink(f"/proc/{self.pid}/fd/2")):
                    return []
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


def check_restart(server: LocalServer | None, command: Sequence[str]) -> None:
    """Refuse, before anything is changed, a restart that could not be made; raises `ConfigurationError`."""
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


def _pg_ctl(server: LocalServer, timeout_seconds: float) -> None:
    # postmaster.opts holds the command line that the server was started with, and pg_ctl takes it again. The new server keeps
    # the log of the old one; its own end of our pipes would keep us waiting for ever.
    log = "/dev/null"
    with contextlib.suppress(OSError):
        target = os.readlink(f"/proc/{server.pid}/fd/2")
        log = target if os.path.isfile(target) else log
    argv = [str(server.bin_dir / "pg_ctl"), "restart", "-D", str(server.data), "-m", "fast", "-w", "-s", "-l", log]
    try:
        done = server.run([*argv, "-t", str(int(timeout_seconds))], timeout_seconds + 10)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DatabaseError(f"pg_ctl restart did not end well: {error}", str(server.data), "Look into the server's log.") from None
    if done.returncode:
        raise DatabaseError(f"pg_ctl restart failed: {clean_line(done.stderr)}", str(server.data), f"Look into the server's log ({log}).")
