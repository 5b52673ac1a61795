# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One `rclone rcd` for one repository: started with the first request, spoken to over a Unix socket that nobody else can reach.

It saves the start of a program, and the log-in of a remote, for each object. It ends with this process, also when that is
killed: a shell stands beside it that waits for the end of a pipe.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from ansible_collections.lifeboat.postgres.plugins.module_utils.deps import version_at_least
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import MissingTool, RepositoryStalled
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_faults import fault, plain
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.rclone_options import RcloneOptions, check_config_file

__all__ = ["MINIMUM", "Daemon", "environment", "find_rclone", "query"]

MINIMUM = "1.65"
"""The oldest rclone that was tried. Before 1.61 it could not listen on a Unix socket."""

_START_SECONDS = 60.0
_BESIDE = 'dir=$1; shift; "$@" </dev/null & pid=$!; cat >/dev/null; kill "$pid" 2>/dev/null; wait "$pid"; rm -rf -- "$dir"'
"""Ends rclone, and removes what it had, when the pipe at its standard input ends."""
_PASSED_ON = (
    "PATH", "HOME", "TMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip


def environment() -> dict[str, str]:
    """What rclone sees of ours: nothing that could change a remote, as its own variables would."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def find_rclone(given: RcloneOptions) -> str:
    """The program, new enough; raises `MissingTool`."""
    where = f"repository {given.name!r}"
    next_step = f"Install rclone {MINIMUM} or newer (rclone.org; Debian 13 and older bring 1.60), or name it by program."
    program = given.program or shutil.which("rclone")
    if not program or not os.access(program, os.X_OK):
        raise MissingTool("the program rclone is not installed", where, next_step)
    try:
        # pylint: disable-next=ansible-bad-function  # a library that also runs without Ansible; argv, never a shell
        said = subprocess.run([program, "version"], env=environment(), capture_output=True, timeout=60, cwd="/", check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        raise MissingTool(f"the program {program} does not run", where, next_step) from None
    found = re.match(rb"rclone v?(\d+(?:\.\d+)*)", said)
    version = found.group(1).decode() if found else "?"
    if not found or not version_at_least(version, MINIMUM):
        raise MissingTool(f"rclone is {version}, needed is {MINIMUM} or newer", where, next_step)
    return program


class Daemon:
    """Thread-safe: every request has a connection of its own, which on a Unix socket costs next to nothing."""

    def __init__(self, given: RcloneOptions) -> None:
        self._given = given
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = ""

    def call(self, path: str, doing: str, key: str = "", *, seconds: float = 0.0, **parameters: Any) -> dict[str, Any]:
        """The answer of one of rclone's remote commands. `seconds`: how much longer than usual it may take."""
        answer = self.request("POST", path, doing, key, json.dumps(parameters).encode(), seconds=seconds)
        with contextlib.closing(answer), self.broken(doing, key):
            body = answer.read()
        try:
            found = json.loads(body)
        except ValueError:
            found = {}
        if answer.status != 200:
            raise fault(self._given, doing, key, _error_of(found, body))
        return found if isinstance(found, dict) else {}

    def request(
        self,
        method: str,
        path: str,
        doing: str,
        key: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        seconds: float = 0.0,
    ) -> http.client.HTTPResponse:
        """The beginning of an answer, whose body is still to be read."""
        connection = self.connect(seconds)
        try:
            with self.broken(doing, key):
                connection.request(
                    method, path, body or None, {"Content-Type": "application/json", **(headers or {}), "Connection": "close"}
                )
                return connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def connect(self, seconds: float = 0.0) -> http.client.HTTPConnection:
        """A connection to the running daemon, which is started when it is not."""
        with self._lock:
            if self._process is None or self._process.poll() is not None or _is_deserted(f"{self._directory}/socket"):
                self._end()
                self._start()
            return _SocketConnection(f"{self._directory}/socket", self._given.read_timeout_seconds + seconds)

    @contextlib.contextmanager
    def broken(self, doing: str, key: str) -> Iterator[None]:
        """Faults of the connection to rclone, in words."""
        try:
            yield
        except TimeoutError:
            raise RepositoryStalled(
                f"repository {self._given.name!r}: {doing} failed: the remote did not answer within {self._given.read_timeout_seconds:g} s",
                self._given.place(key),
                "Is it up, and is the way to it open? A slow one needs a longer read_timeout.",
            ) from None
        except (OSError, http.client.HTTPException):
            raise fault(self._given, doing, key, self._log() or "nothing: it ended") from None

    def url(self, key: str) -> str:
        """The path under which rclone serves an object."""
        return quote(f"/[{self._given.remote}]/{key}", safe="/[]:@!$&'()*+,;=~")

    def close(self) -> None:
        with self._lock:
            self._end()

    def _start(self) -> None:
        check_config_file(self._given)
        program = find_rclone(self._given)
        # A socket's path has to be short, and its directory one's own.
        self._directory = tempfile.mkdtemp(prefix="lifeboat-rclone-", dir=None if len(tempfile.gettempdir()) < 60 else "/tmp")
        connect, idle = (max(1, round(seconds)) for seconds in (self._given.connect_timeout_seconds, self._given.read_timeout_seconds))
        argv = [
            program, "rcd", "--rc-addr", f"unix://{self._directory}/socket", "--rc-no-auth", "--rc-serve",
            "--rc-server-read-timeout", "168h", "--rc-server-write-timeout", "168h",
            "--config", self._given.config_file, "--ask-password=false", "--log-level", "ERROR",
            "--contimeout", f"{connect}s", "--timeout", f"{idle}s", "--low-level-retries", "3", "--retries", "1",
        ]  # fmt: skip
        with open(f"{self._directory}/log", "wb") as log:
            # pylint: disable-next=ansible-bad-function  # a library that also runs without Ansible; the shell's words are fixed
            self._process = subprocess.Popen(
                ["sh", "-c", _BESIDE, "sh", self._directory, *argv],
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not _listens(f"{self._directory}/socket"):
            if self._process.poll() is not None or time.monotonic() > deadline or self._has_failed():
                words = self._log()
                self._end()
                raise fault(self._given, "starting rclone", "", words)
            time.sleep(0.01)

    def _has_failed(self) -> bool:
        return "Failed to start" in self._log() or "CRITICAL" in self._log()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _log(self) -> str:
        """The end of what rclone said."""
        with contextlib.suppress(OSError), open(f"{self._directory}/log", "rb") as stream:
            return plain(stream.read()[-2000:].decode(errors="replace"))
        return ""


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("rclone", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _listens(path: str) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        probe.connect(path)
        return True
    return False


def _is_deserted(path: str) -> bool:
    """Whether nobody listens there any more; one that is slow to answer still does."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(5)
            probe.connect(path)
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except OSError:
        return False
    return False


def _error_of(found: Any, body: bytes) -> str:
    return str(found.get("error") or "") if isinstance(found, dict) and found.get("error") else body.decode(errors="replace")


def query(path: str, **parameters: str) -> str:
    """A path with parameters in its query, as rclone takes them beside a body of another kind."""
    return f"{path}?{urlencode(parameters)}"
