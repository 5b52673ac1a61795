# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program of the operator's, started inside the drill's isolation: never by a shell, for a bounded time, with bounded output."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options as take
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import Inside, Restored
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line

__all__ = ["Ended", "Running", "inside_of", "read_argv", "read_paths", "started"]

MOST_BYTES = 1024 * 1024
"""What is kept of each of the two outputs; the rest is read and forgotten, so that nobody waits for us."""

_STARTED = b"lifeboat: started\n"
# Says on standard error that the isolation stands, before it becomes the program: what fails before that is not its fault.
_LAUNCHER = ("sh", "-c", 'printf "lifeboat: started\\n" >&2; exec "$@"', "lifeboat-check")


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit status (negative for a signal), None when its time was up; what it wrote, cut."""

    status: int | None
    stdout: bytes
    stderr: str
    was_cut: bool


class Running:
    """A program that was started."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._kept = {"stdout": bytearray(), "stderr": bytearray()}
        self._cut = False
        self._selector = selectors.DefaultSelector()
        for name in self._kept:
            stream: IO[bytes] = getattr(process, name)
            self._selector.register(stream, selectors.EVENT_READ, name)

    def read(self, seconds: float) -> bool:
        """Take what it writes, for at most so long; whether it still has an output open."""
        deadline = time.monotonic() + seconds
        while self._selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return True
            for key, _events in self._selector.select(left):
                data = os.read(key.fd, 65536)
                kept = self._kept[key.data]
                self._cut = self._cut or len(kept) + len(data) > MOST_BYTES
                kept += data[: max(0, MOST_BYTES - len(kept))]
                if not data:
                    self._selector.unregister(key.fileobj)
        return False

    def ended(self, timeout_seconds: float) -> Ended:
        """Wait for its end; what takes longer is killed. Raises `MissingTool` when it could not be started at all."""
        deadline = time.monotonic() + timeout_seconds
        self.read(timeout_seconds)
        status: int | None = None
        try:
            status = self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.close()
        return self._ended(status)

    def _ended(self, status: int | None) -> Ended:
        begin, _marker, said = bytes(self._kept["stderr"]).partition(_STARTED)
        words = clean_line((said if _marker else begin).decode("utf-8", "replace"), 300)
        if not _marker and status is not None:
            raise MissingTool(f"nothing could be started inside the drill's isolation: {words or f'exit status {status}'}")
        if status in (126, 127):
            # By the rules of POSIX: found and not executable, or not found. Programs of the system say so, too.
            raise MissingTool(f"the program could not be started: {words or f'exit status {status}'}", "", "See `readable`.")
        return Ended(status, bytes(self._kept["stdout"]), words, self._cut)

    def close(self) -> None:
        """End it, and all that it started."""
        self.process.kill()
        self.process.wait()
        self._selector.close()
        for name in self._kept:
            getattr(self.process, name).close()


@contextmanager
def started(inside: Inside, argv: Sequence[str], readable: Sequence[Path], environment: Mapping[str, str]) -> Iterator[Running]:
    """A program for the length of a block."""
    for path in readable:
        if path.is_socket():
            raise ConfigurationError(
                "a socket is a way out of the drill, and is not shown to a program", str(path), "Take it out of readable."
            )
    first = Path(argv[0])
    shown = [*readable, first] if first.is_absolute() and first.exists() else list(readable)
    running = Running(inside.start([*_LAUNCHER, *argv], list(dict.fromkeys(shown)), environment))
    try:
        yield running
    finally:
        running.close()


def inside_of(restored: Restored) -> Inside:
    """Where programs can be started; raises `ConfigurationError` where there is no such place."""
    if restored.inside is None:
        raise ConfigurationError("programs are started in a drill only")
    return restored.inside


def read_argv(options: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    """The option that holds a program and its arguments; raises `ConfigurationError`."""
    given = options.get(key)
    if isinstance(given, str):
        raise ConfigurationError(f"{key} is a list: the program, then each argument", where, "No shell takes a text apart.")
    if isinstance(given, Sequence):
        # As Ansible does with what YAML takes for a number.
        given = [str(argument) if type(argument) in (int, float) else argument for argument in given]
    argv: tuple[str, ...] = take.texts({key: given}, key, where)
    if not argv or not argv[0]:
        raise ConfigurationError(f"{key} is empty", where)
    if any("\0" in argument for argument in argv):
        raise ConfigurationError(f"{key} contains a zero byte", where)
    return argv


def read_paths(options: Mapping[str, Any], key: str, where: str) -> tuple[Path, ...]:
    """Absolute paths of the drill host, the root directory not among them; raises `ConfigurationError`."""
    paths = [Path(os.path.normpath(text)) for text in take.texts(options, key, where, ())]
    for path in paths:
        if not path.is_absolute() or path.parent == path:
            raise ConfigurationError(f"{key}: {str(path)!r} is not the absolute path of a file or directory", where)
    return tuple(paths)
