# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stream of bytes passes through, and the simplest kind of it: a Python function in a thread, between two pipes.

A stage starts once, ends once, and then knows whether it failed and whether that was its own fault. Only
`pipeline.Pipeline` starts stages. The other kind, a program, is in `process_stage.py`.
"""

from __future__ import annotations

import fcntl
import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError, PipelineError
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import clean_line

__all__ = ["CHUNK_BYTES", "WORTHWHILE_BYTES", "Failure", "FunctionStage", "Stage", "clean_line", "copy", "move", "nap_seconds"]

CHUNK_BYTES = 1024 * 1024
_BUFFER_BYTES = 256 * 1024
WORTHWHILE_BYTES = 128 * 1024
_NAP_SECONDS = 0.001
"""Many a program writes 4 KiB at a time (pg_dump does). To wake up for each costs more than to move it; a large pipe, which takes
longer to fill than this, keeps both ends busy meanwhile."""
_F_GETPIPE_SZ = 1032  # fcntl(2), Linux; the constant is in Python from 3.10 on


@dataclass(frozen=True)
class Failure:
    """Why a stage failed. `consequence`: only because the stage after it stopped reading, or because we ended it."""

    error: LifeboatError
    consequence: bool


class Stage:
    """One step of a stream; `name` is how messages call it. A stage object serves one pipeline, once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.failure: Failure | None = None
        self._thread: threading.Thread | None = None

    def start(self, stdin: int, stdout: int, ended: Callable[[Stage], None]) -> None:
        """Begin between two file descriptors, which are the stage's from here on, also when this raises.

        `ended` is called from the stage's thread once the stage is over and `failure` is set.
        """
        raise NotImplementedError

    def kill(self) -> None:
        """End it now, as far as that is possible; idempotent."""

    def close(self, timeout_seconds: float) -> bool:
        """Release what the stage holds, once nothing more is wanted of it; False when it has not ended within the time."""
        if self._thread is not None:
            self._thread.join(timeout_seconds)
            return not self._thread.is_alive()
        return True

    def _watch(self, target: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=target, name=f"lifeboat-{self.name}", daemon=True)
        self._thread.start()


class FunctionStage(Stage):
    """A Python function that reads one binary stream and writes another, run in a thread between two pipes.

    It must read its input to the end; a `LifeboatError` that it raises is reported as it is.
    """

    def __init__(self, name: str, function: Callable[[BinaryIO, BinaryIO], None]) -> None:
        super().__init__(name)
        self._function = function

    def start(self, stdin: int, stdout: int, ended: Callable[[Stage], None]) -> None:
        reader = open(stdin, "rb", buffering=_BUFFER_BYTES)  # noqa: SIM115 - closed by the thread
        writer = open(stdout, "wb", buffering=_BUFFER_BYTES)  # noqa: SIM115
        self._watch(lambda: self._run(reader, writer, ended))

    def _run(self, reader: BinaryIO, writer: BinaryIO, ended: Callable[[Stage], None]) -> None:
        try:
            self._function(reader, writer)
            writer.flush()
            if reader.read(1):
                raise PipelineError(f"{self.name} stopped before the end of its input")
        except BaseException as error:  # noqa: BLE001 - a thread has nobody else to tell
            # Asked while our own end is still open: nobody downstream can have failed because of this failure.
            consequence = _reader_is_gone(writer.fileno())
            if not isinstance(error, LifeboatError):
                error = PipelineError(f"{self.name} failed: {type(error).__name__}: {clean_line(str(error))}")
            self.failure = Failure(error, consequence)
        finally:
            for stream in (writer, reader):
                try:
                    stream.close()
                except OSError as error:  # flushing the rest into a pipe that nobody reads
                    if self.failure is None:
                        self.failure = Failure(PipelineError(f"{self.name} failed: {clean_line(str(error))}"), True)
            ended(self)


def copy(source: BinaryIO, target: BinaryIO) -> int:
    """Copy to the end in chunks; returns the bytes copied."""
    read = getattr(source, "read1", source.read)
    total = 0
    while True:
        data = read(CHUNK_BYTES)
        if not data:
            return total
        target.write(data)
        total += len(data)


def move(source: int, target: int) -> int:
    """Move a pipe's bytes into another pipe to the end, inside the kernel where it can (splice(2), Linux); returns the bytes moved."""
    splice = getattr(os, "splice", None)  # Python 3.10 and newer
    nap = nap_seconds(source)
    total = 0
    while splice is not None:
        moved: int = splice(source, target, CHUNK_BYTES)
        if not moved:
            return total
        total += moved
        if nap and moved < WORTHWHILE_BYTES:
            time.sleep(nap)
    while data := os.read(source, CHUNK_BYTES):
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
        total += len(data)
    return total


def nap_seconds(pipe: int) -> float:
    """How long to let it fill after less than `WORTHWHILE_BYTES` came out of it: 0 for one that holds little, or is no pipe."""
    try:
        return _NAP_SECONDS if fcntl.fcntl(pipe, _F_GETPIPE_SZ) >= 4 * WORTHWHILE_BYTES else 0.0
    except OSError:
        return 0.0


def _reader_is_gone(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _fd, event in poll.poll(0))
