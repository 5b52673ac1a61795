# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application itself comes up on the restored database and says that it is well.

It is started inside the drill's isolation, where it reaches nothing but the throwaway server, and is asked over a Unix
socket below the drill's directory: nothing of it has a network, so it can neither do harm nor be mistaken for production's.
"""

from __future__ import annotations

import http.client
import os
import socket
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.lifeboat.postgres.plugins.module_utils import options as take
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, PASSED, UNVERIFIED, Check, CheckResult, Restored
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.command import holds
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.program import Running, inside_of, read_argv, read_paths, started
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration, shortened

__all__ = ["Http"]

MOST_BYTES = 1024 * 1024
_INSIDE = ("localhost", "127.0.0.1", "::1")
_POLL_SECONDS = 0.05


class Http(Check):
    """`{http: {start: [/opt/shop/serve, --socket, "{socket}"], url: "http://localhost/health", jmespath: "status == 'ok'"}}`"""

    starts_programs = True

    def __init__(self, options: Mapping[str, Any], where: str) -> None:
        self.start: tuple[str, ...] = read_argv(options, "start", where)
        self.url: str = take.text(options, "url", where)
        self.status: int = take.integer(options, "status", where, 200, minimum=100, maximum=599)
        self.jmespath: str | None = take.text(options, "jmespath", where, None)
        self.readable: tuple[Path, ...] = read_paths(options, "readable", where)
        self._where = where
        self._host, self._target = _taken_apart(self.url, where)
        self.name = shortened(f"http {self.url}", 80)

    def run(self, restored: Restored) -> CheckResult:
        inside = inside_of(restored)
        place = inside.directory / "app.sock"
        place.unlink(missing_ok=True)  # of a check before this one
        argv = [argument.replace("{socket}", str(place)) for argument in self.start]
        expected = f"status {self.status}" + (f" and {self.jmespath}" if self.jmespath is not None else "")
        with started(inside, argv, self.readable, {"LIFEBOAT_SOCKET": str(place)}) as running:
            answer, why = self._answer(running, place)
            if answer is None:
                # Whether the data or this host is to blame, nobody can tell from outside: nothing was proven.
                said = running.ended(0).stderr if why == _ENDED else _said(running)
                return CheckResult(self.name, UNVERIFIED, expected, why, said)
            status, body = answer
        if status != self.status:
            return CheckResult(self.name, FAILED, expected, f"status {status}", _shown(body))
        if self.jmespath is not None and not holds(self.jmespath, body, self._where):
            return CheckResult(self.name, FAILED, expected, _shown(body))
        return CheckResult(self.name, PASSED, expected, f"status {status}" + (f": {_shown(body)}" if self.jmespath is not None else ""))

    def _answer(self, running: Running, place: Path) -> tuple[tuple[int, bytes] | None, str]:
        """Status and body, asked for until there are some; else None, and why."""
        deadline = time.monotonic() + self.timeout_seconds
        why = "it never listened"
        while (left := deadline - time.monotonic()) > 0:
            try:
                return self._get(place, left), ""
            except (OSError, http.client.HTTPException) as error:
                if not isinstance(error, FileNotFoundError):
                    why = f"it never answered ({error or type(error).__name__})"
            open_still = running.read(_POLL_SECONDS)
            if not open_still and running.process.poll() is not None:
                return None, _ENDED
        return None, f"{why} within {duration(self.timeout_seconds)}"

    def _get(self, place: Path, timeout_seconds: float) -> tuple[int, bytes]:
        connection = _OverSocket(place, self._host, timeout_seconds)
        try:
            connection.request("GET", self._target, headers={"Accept": "application/json, */*", "Connection": "close"})
            response = connection.getresponse()
            return response.status, response.read(MOST_BYTES)
        finally:
            connection.close()


_ENDED = "it ended before it answered"


class _OverSocket(http.client.HTTPConnection):
    """HTTP over a Unix socket that a program of others made, so it is looked at before it is used."""

    def __init__(self, place: Path, host: str, timeout_seconds: float) -> None:
        super().__init__(host, timeout=timeout_seconds)
        self._place = place

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        opened: int | None = getattr(os, "O_PATH", None)
        if opened is None:
            self.sock.connect(str(self._place))
            return
        # Held by its descriptor: what runs inside could put a link to a socket of this host in its place.
        descriptor = os.open(self._place, opened | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                raise ConfigurationError("what the program made is not a socket", str(self._place))
            self.sock.connect(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)


def _taken_apart(url: str, where: str) -> tuple[str, str]:
    """The value for Host, and path with query; raises `ConfigurationError` for what is not inside."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme != "http" or not host or any(ord(sign) <= 32 or ord(sign) > 126 for sign in url):
        raise ConfigurationError(f"url: {shortened(url, 60)!r} is not a URL like http://localhost/health", where)
    if host not in _INSIDE or parts.username is not None:
        raise ConfigurationError(
            f"url: {host} is not inside the drill, which has no way out", where, "Write http://localhost/… for the program of `start`."
        )
    return parts.netloc, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _said(running: Running) -> str:
    return running.ended(0).stderr


def _shown(body: bytes) -> str:
    return shortened(" ".join(body[:2000].decode("utf-8", "replace").split()), 200)
