# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How bytes move: processes and Python functions joined by pipes, every exit status checked, the first cause reported.

A shell pipe reports the last program only: killing `pg_dump` in one gave exit 0 and a valid, sealed file with 11 % of
the data (docs/postgres-notes.md). Here a stream counts as whole only when `finish` has returned: every stage has ended
well and was read to its end. Memory is bounded by the pipes and one chunk per Python stage.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import BinaryIO, cast, final

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError, PipelineError
from ansible_collections.lifeboat.postgres.plugins.module_utils.process_stage import ProcessStage
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import (
    CHUNK_BYTES,
    FunctionStage,
    Stage,
    copy,
    move,
)

__all__ = ["CHUNK_BYTES", "Counter", "FunctionStage", "Pipeline", "ProcessStage", "Stage", "run_through"]

PIPE_BYTES = 1024 * 1024
GRACE_SECONDS = 3.0
"""After one stage failed: how long the others may take to end by themselves (and to say why) before they are killed."""
KILL_SECONDS = 10.0
"""How long a killed stage may take to be gone. Only a function that waits for something outside can take longer."""

_F_SETPIPE_SZ = 1031  # fcntl(2), Linux; the constant is in Python from 3.10 on


@final
class Pipeline:
    """Stages joined by pipes, from a producer to the caller, who reads the last stage's output by iterating.

        with Pipeline([dump, compressor(), sealer.stage()]) as pipeline:
            for chunk in pipeline:
                upload.write(chunk)

    `source` (a binary stream, or chunks) feeds the first stage; without one the first stage produces. The iteration
    itself calls `finish` at its end, and so does leaving the `with` block; an exception inside the block kills
    everything. A pipeline that was never iterated has its output read and dropped by `finish` (the last stage is a sink).
    """

    def __init__(self, stages: Sequence[Stage], source: BinaryIO | Iterable[bytes] | None = None) -> None:
        self.stages: list[Stage] = list(stages)
        if source is not None:
            self.stages.insert(0, _source_stage(source))
        self._ended: queue.SimpleQueue[Stage] = queue.SimpleQueue()
        self._running: set[Stage] = set()
        self._output = -1
        self._owner = threading.get_ident()
        self._iterated = False
        self._finished = False
        self._killed = False

    def __enter__(self) -> Pipeline:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self.kill()
        elif not self._killed:
            self.finish()

    def start(self) -> None:
        """Start every stage; raises `MissingTool` or `PipelineError`, and then nothing is left running."""
        _require_exit_statuses()
        upstream = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for stage in self.stages:
                self._output, stdout = _pipe()
                stdin, upstream = upstream, -1
                self._running.add(stage)
                try:
                    stage.start(stdin, stdout, self._ended.put)
                except BaseException:
                    self._running.discard(stage)
                    raise
                upstream, self._output = self._output, -1
        except BaseException:
            if upstream >= 0:
                os.close(upstream)
            self.kill()
            raise
        self._output = upstream

    def __iter__(self) -> Iterator[bytes]:
        """The last stage's output in chunks of at most 1 MiB; raises as `finish` does, so a cut stream never looks whole."""
        self._iterated = True
        self._owner = threading.get_ident()
        while self._output >= 0 and not self._killed:
            chunk = os.read(self._output, CHUNK_BYTES)
            if not chunk:
                self._close_output()
                break
            yield chunk
        self.finish()

    def finish(self) -> None:
        """Wait for every stage and check it. Raises the first cause: the failure of the stage that comes first in the
        stream, unless it only failed because a later one stopped reading. A `LifeboatError` of a stage is raised as it
        is, everything else as `PipelineError`. Idempotent after success.
        """
        if self._finished:
            return
        if not self._iterated:
            while self._output >= 0 and not self._killed and os.read(self._output, CHUNK_BYTES):
                pass
            self._close_output()
        unread = self._output >= 0
        self._close_output()
        self._wait()
        if self._killed:
            raise PipelineError("the stream was stopped before its end", " | ".join(stage.name for stage in self.stages))
        cause = self._first_cause()
        if cause is not None:
            raise cause
        if unread:
            raise PipelineError(f"the output of {self.stages[-1].name} was not read to its end")
        self._finished = True

    def kill(self) -> None:
        """End every stage now. Nothing is reported; idempotent. Another thread than the reader's may call it to stop a
        stalled stream: the reader then sees the end of the output, and `finish` raises.
        """
        self._killed = True
        for stage in self.stages:
            stage.kill()
        if threading.get_ident() != self._owner:
            return  # the reader may be waiting on the output at this moment: only it may close it
        self._close_output()
        deadline = time.monotonic() + KILL_SECONDS
        for stage in self.stages:
            stage.close(max(0.0, deadline - time.monotonic()))

    def _wait(self) -> None:
        """Until every stage has ended. One failure gives the others a short while, then they are killed."""
        deadline = time.monotonic() + KILL_SECONDS if self._killed else None
        killed = self._killed
        while self._running:
            try:
                stage = self._ended.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                if killed:
                    break  # a function that waits for something outside; its thread ends when that does
                killed, deadline = True, time.monotonic() + KILL_SECONDS
                for other in self._running:
                    other.kill()
                continue
            self._running.discard(stage)
            if stage.failure is not None and deadline is None:
                deadline = time.monotonic() + GRACE_SECONDS
        # Only now: what a program left behind may have been writing to the stream until its end.
        for stage in self.stages:
            stage.close(0.0 if stage in self._running else KILL_SECONDS)

    def _first_cause(self) -> LifeboatError | None:
        failures = [(index, stage.failure) for index, stage in enumerate(self.stages) if stage.failure is not None]
        for _index, failure in failures:
            if not failure.consequence:
                return failure.error
        if failures:
            # Nobody admits to anything: a later stage ended early and called it success. That is still a cut stream.
            index, failure = failures[-1]
            reader = self.stages[index + 1].name if index + 1 < len(self.stages) else "the reader"
            return PipelineError(f"{reader} stopped reading before {self.stages[index].name} had ended: {failure.error.what}")
        if self._running:
            return PipelineError("still running after the end of the stream: " + ", ".join(sorted(stage.name for stage in self._running)))
        return None

    def _close_output(self) -> None:
        output, self._output = self._output, -1
        if output >= 0:
            os.close(output)


class Counter(FunctionStage):
    """Passes bytes on and counts them; `size_bytes` holds after the stream.

    With `header` the stream must begin with those bytes, else `PipelineError` (`PGDMP` for a custom-format dump). It is a stage, or
    follows what another stage takes (frames.py).
    """

    def __init__(self, name: str = "counter", header: bytes = b"") -> None:
        super().__init__(name, self._count)
        self.header = header
        self.size_bytes = 0
        self._head = b""

    def feed(self, data: memoryview) -> None:
        """Follow the next bytes."""
        self.size_bytes += len(data)
        if len(self._head) < len(self.header):
            self._head += bytes(data[: len(self.header) - len(self._head)])
            if not self.header.startswith(self._head):
                self.finish()

    def finish(self) -> None:
        """The followed stream has ended."""
        if self._head != self.header:
            raise PipelineError(f"{self.name}: the stream does not begin with {self.header!r} but with {self._head!r}")

    def _count(self, source: BinaryIO, target: BinaryIO) -> None:
        # Past the buffer of `source`, which would take what is to be moved.
        while len(self._head) < len(self.header) and (more := os.read(source.fileno(), len(self.header) - len(self._head))):
            self.feed(memoryview(more))
            target.write(more)
        self.finish()
        target.flush()
        self.size_bytes += move(source.fileno(), target.fileno())


def run_through(stages: Sequence[Stage], source: BinaryIO | Iterable[bytes] | None, sink: Callable[[bytes], None]) -> None:
    """Send `source` through `stages` into `sink`; returns only when all of it went well, raises as `Pipeline.finish` does."""
    with Pipeline(stages, source) as pipeline:
        for chunk in pipeline:
            sink(chunk)


def _source_stage(source: BinaryIO | Iterable[bytes]) -> FunctionStage:
    def pump(_nothing: BinaryIO, target: BinaryIO) -> None:
        if hasattr(source, "read"):
            copy(cast(BinaryIO, source), target)
            return
        try:
            target.writelines(source)
        finally:
            if isinstance(source, Generator):
                source.close()  # so that what it holds open is closed now, not when this object goes

    return FunctionStage("source", pump)


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # the user's share of pipe pages is used up: the default works, only slower
            fcntl.fcntl(writer, _F_SETPIPE_SZ, PIPE_BYTES)
    return reader, writer


def _require_exit_statuses() -> None:
    """An ignored SIGCHLD, inherited from whoever started us, loses every exit status, and subprocess then reports 0."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        except ValueError:
            raise PipelineError("SIGCHLD is ignored in this process, so exit statuses would be lost") from None
