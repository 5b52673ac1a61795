# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stream of bytes passes through: a process, or a Python function in a thread, each between two pipes.

A stage starts once, ends once, and then knows whether it `failure`d and whether that was its own fault. Only
`pipeline.Pipeline` starts stages.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError, MissingTool, PipelineError

__all__ = ["CHUNK_BYTES", "Failure", "FunctionStage", "ProcessStage", "Stage", "clean_line", "copy"]

CHUNK_BYTES = 1024 * 1024
STDERR_TAIL_BYTES = 64 * 1024
_BUFFER_BYTES = 256 * 1024
_POLL_MILLISECONDS = 1000
_BROKEN_PIPE = re.compile(r"broken pipe|\bEPIPE\b|^curl: \(23\)", re.IGNORECASE | re.MULTILINE)


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

    def join(self, timeout_seconds: float) -> bool:
        """Release what the stage held, once it has ended; False when it has not."""
        if self._thread is not None:
            self._thread.join(timeout_seconds)
            return not self._thread.is_alive()
        return True

    def _watch(self, target: Callable[[], None], ended: Callable[[Stage], None]) -> None:
        def run() -> None:
            try:
                target()
            finally:
                ended(self)

        self._thread = threading.Thread(target=run, name=f"lifeboat-{self.name}", daemon=True)
        self._thread.start()


class ProcessStage(Stage):
    """A program, by argv list, never through a shell; standard error is read all the time and its end kept.

    - `env`: all that it gets besides `PATH` and `LC_ALL=C`; nothing else is inherited.
    - `pass_fds`: file descriptors that stay open in it under their numbers; the caller closes its own copies.
    - `kill_signal`: what `kill` sends to its process group; followed by SIGKILL when it does not end.
    - `user`, `group`, `extra_groups`: run as another user (needs root); `cwd` is then `/`, unless given.
    - `accept`: exit statuses that count as success.
    - `explain`: may turn (exit status, standard error) into a better error than "ended with exit status 1".

    Afterwards `returncode` (negative: the signal) and `stderr_tail` say how it went.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        kill_signal: int = signal.SIGKILL,
        *,
        user: int | str | None = None,
        group: int | str | None = None,
        extra_groups: Sequence[int | str] | None = None,
        cwd: str | None = None,
        umask: int = -1,
        accept: Sequence[int] = (0,),
        explain: Callable[[int, str], LifeboatError | None] | None = None,
    ) -> None:
        super().__init__(name)
        self.argv = list(argv)
        self.env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **(env or {})}
        self.pass_fds = tuple(pass_fds)
        self.kill_signal = kill_signal
        self.user, self.group, self.extra_groups = user, group, extra_groups
        self.cwd = cwd or ("/" if user is not None else None)
        self.umask = umask
        self.accept = tuple(accept)
        self.explain = explain
        self.returncode: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._tail = bytearray()
        self._lock = threading.Lock()
        self._killed = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def stderr_tail(self) -> str:
        """The last 64 KiB that the program wrote to standard error."""
        return bytes(self._tail[-STDERR_TAIL_BYTES:]).decode("utf-8", "replace")

    def start(self, stdin: int, stdout: int, ended: Callable[[Stage], None]) -> None:
        try:
            # A session of its own: what it starts can be ended with it, and a Ctrl-C reaches us, who then report it,
            # instead of every program at once.
            self._process = subprocess.Popen(
                self.argv, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, bufsize=0, env=self.env, close_fds=True,
                pass_fds=self.pass_fds, start_new_session=True, cwd=self.cwd, umask=self.umask,
                user=self.user, group=self.group, extra_groups=self.extra_groups,
            )  # fmt: skip
        except FileNotFoundError as error:
            if error.filename == self.cwd:
                raise PipelineError(f"{self.name} could not start: no such directory", str(self.cwd)) from None
            raise MissingTool(f"the program {self.name} was not found", self.argv[0], "Install it, or add its directory to PATH.") from None
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise PipelineError(f"{self.name} could not start: {clean_line(str(error))}", self.argv[0]) from None
        finally:
            os.close(stdin)
            os.close(stdout)
        self._watch(self._attend, ended)

    def kill(self) -> None:
        self._signal(self.kill_signal)

    def join(self, timeout_seconds: float) -> bool:
        if super().join(timeout_seconds if self.kill_signal == signal.SIGKILL else min(timeout_seconds, 3.0)):
            return True
        self._signal(signal.SIGKILL)
        return super().join(timeout_seconds)

    def _signal(self, number: int) -> None:
        with self._lock:
            if self._process is not None and self.returncode is None:
                self._killed = True
                _signal_group(self._process.pid, number)

    def _attend(self) -> None:
        """Read standard error until it ends, then learn how the program ended. Runs in the stage's thread."""
        process = self._process
        assert process is not None and process.stderr is not None
        stderr = process.stderr.fileno()
        poll = select.poll()
        poll.register(stderr, select.POLLIN | select.POLLHUP)
        while True:
            if poll.poll(_POLL_MILLISECONDS):
                data = os.read(stderr, CHUNK_BYTES)
                if not data:
                    break
                self._tail += data
                if len(self._tail) > 4 * STDERR_TAIL_BYTES:
                    del self._tail[:-STDERR_TAIL_BYTES]
            elif _exited(process.pid, block=False):
                break  # something it started, and left behind, still holds standard error
        known = _exited(process.pid, block=True)
        with self._lock:
            if known:
                # Not yet waited for, so neither its process id nor its group can have been given to a stranger.
                _signal_group(process.pid, signal.SIGKILL)
            self.returncode = process.wait()
        process.stderr.close()
        self.failure = self._judge(known)

    def _judge(self, known: bool) -> Failure | None:
        code, stderr = self.returncode, self.stderr_tail
        assert code is not None
        if not known:
            return Failure(PipelineError(f"the exit status of {self.name} was lost", "", "Is SIGCHLD ignored?"), False)
        if code in self.accept:
            return None
        killed_by_us = self._killed and code in (-signal.SIGKILL, -self.kill_signal)
        consequence = killed_by_us or code == -signal.SIGPIPE or (code > 0 and bool(_BROKEN_PIPE.search(stderr)))
        error = self.explain(code, stderr) if self.explain is not None else None
        return Failure(error or self._error(code, stderr), consequence)

    def _error(self, code: int, stderr: str) -> LifeboatError:
        if code < 0:
            what, next_step = f"{self.name} was killed by signal {-code} ({_signal_name(-code)})", ""
            if code == -signal.SIGKILL:
                next_step = "Look for the out-of-memory killer in the kernel's log."
        else:
            what, next_step = f"{self.name} ended with exit status {code}", ""
        said = clean_line(stderr)
        return PipelineError(f"{what}: {said}" if said else what, "", next_step)


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
        self._watch(lambda: self._run(reader, writer), ended)

    def _run(self, reader: BinaryIO, writer: BinaryIO) -> None:
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


def clean_line(text: str, limit: int = 600) -> str:
    """What a program said, as one line without control characters; the end of it, when it is long."""
    lines = (re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", line).strip() for line in text.splitlines())
    line = "; ".join(part for part in lines if part)
    return line if len(line) <= limit else "…" + line[-limit:]


def _exited(pid: int, block: bool) -> bool:
    """Whether a child has ended, without taking its status away. When asked to block: whether its status is there."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13: Popen.wait is all there is
        return block
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | (0 if block else os.WNOHANG)) is not None
    except ChildProcessError:
        return not block


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _reader_is_gone(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _fd, event in poll.poll(0))
