# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program as a stage of a stream: started without a shell, its standard error read all the time, its end looked at."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError, MissingTool, PipelineError
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import CHUNK_BYTES, Failure, Stage, clean_line

__all__ = ["ProcessStage"]

STDERR_TAIL_BYTES = 64 * 1024
POLITE_SECONDS = 3.0
"""How long a program that is ended by another signal than SIGKILL may take to clean up."""

_POLL_MILLISECONDS = 1000
_CAN_LOOK = hasattr(os, "waitid")  # macOS has it from Python 3.13 on
_BROKEN_PIPE = re.compile(r"broken pipe|\bEPIPE\b|^curl: \(23\)", re.IGNORECASE | re.MULTILINE)


class ProcessStage(Stage):
    """A program, by argv list, never through a shell; standard error is read all the time and its end kept.

    - `env`: all that it gets besides `PATH` and `LC_ALL=C`; nothing else is inherited.
    - `pass_fds`: file descriptors that stay open in it under their numbers; the caller closes its own copies.
    - `kill_signal`: what `kill` sends to its process group; followed by SIGKILL when it does not end.
    - `user`, `group`, `extra_groups`: run as another user (needs root); `cwd` is then `/`, unless given.
    - `ends_with_us`: it is killed when the thread that starts it ends, also by a SIGKILL of this process (Linux, where setpriv
      is installed). For a program that may be silent: others notice when they next write into a pipe without a reader.
    - `accept`: exit statuses that count as success.
    - `stdin`: a descriptor to read from in place of the stream; the caller closes its own copy.
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
        ends_with_us: bool = False,
        accept: Sequence[int] = (0,),
        explain: Callable[[int, str], LifeboatError | None] | None = None,
        stdin: int | None = None,
    ) -> None:
        super().__init__(name)
        self.argv = list(argv)
        self.env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **(env or {})}
        self.pass_fds = tuple(pass_fds)
        self.kill_signal = kill_signal
        self.user, self.group, self.extra_groups = user, group, extra_groups
        self.cwd = cwd or ("/" if user is not None else None)
        self.umask = umask
        self.ends_with_us = ends_with_us
        self.accept = tuple(accept)
        self.explain = explain
        self.stdin = stdin
        self.returncode: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._tail = bytearray()
        self._lock = threading.Lock()
        self._over, self._released = threading.Event(), threading.Event()
        self._killed = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def stderr_tail(self) -> str:
        """The last 64 KiB that the program wrote to standard error."""
        return bytes(self._tail[-STDERR_TAIL_BYTES:]).decode("utf-8", "replace")

    def start(self, stdin: int, stdout: int, ended: Callable[[Stage], None]) -> None:
        stderr, their_stderr = os.pipe()
        try:
            # A session of its own: what it starts can be ended with it, and a Ctrl-C reaches us, who then report it,
            # instead of every program at once.
            # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
            self._process = subprocess.Popen(
                self._command(), stdin=stdin if self.stdin is None else self.stdin, stdout=stdout, stderr=their_stderr,
                env=self.env, close_fds=True,
                pass_fds=self.pass_fds, start_new_session=True, cwd=self.cwd, umask=self.umask,
                user=self.user, group=self.group, extra_groups=self.extra_groups,
            )  # fmt: skip
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            os.close(stderr)
            raise self._cannot_start(error) from None
        finally:
            for theirs in (stdin, stdout, their_stderr):
                os.close(theirs)
        process = self._process
        self._watch(lambda: self._attend(process, stderr, ended))

    def _command(self) -> list[str]:
        # Not by prctl(2) between fork and exec: Python may run nothing there once there are threads.
        if not self.ends_with_us or not shutil.which(self.argv[0], path=self.env["PATH"]):
            return self.argv
        return [*_end_with_us(), *self.argv]

    def _cannot_start(self, error: Exception) -> LifeboatError:
        if not isinstance(error, FileNotFoundError):
            return PipelineError(f"{self.name} could not start: {clean_line(str(error))}", self.argv[0])
        if error.filename == self.cwd:
            return PipelineError(f"{self.name} could not start: no such directory", str(self.cwd))
        return MissingTool(f"the program {self.name} was not found", self.argv[0], "Install it, or add its directory to PATH.")

    def kill(self) -> None:
        self._signal(self.kill_signal)

    def close(self, timeout_seconds: float) -> bool:
        if self._process is None:
            return True
        if not self._over.wait(timeout_seconds if self.kill_signal == signal.SIGKILL else min(timeout_seconds, POLITE_SECONDS)):
            self._signal(signal.SIGKILL)
            self._over.wait(timeout_seconds)
        with self._lock:
            if self._over.is_set() and not self._released.is_set():
                # Whatever it started and left behind goes with it. It was only looked at so far (`_end_of`), so neither its
                # process id nor its group can have been given to a stranger.
                if _CAN_LOOK:
                    _signal_group(self._process.pid, signal.SIGKILL)
                self._process.wait()
            self._released.set()
        return super().close(timeout_seconds)

    def _signal(self, number: int) -> None:
        with self._lock:
            if self._process is not None and not self._over.is_set():
                self._killed = True
                _signal_group(self._process.pid, number)

    def _attend(self, process: subprocess.Popen[bytes], stderr: int, ended: Callable[[Stage], None]) -> None:
        """Read standard error until it ends, and tell how the program ended as soon as it has. Runs in the stage's thread."""
        poll = select.poll()
        poll.register(stderr, select.POLLIN | select.POLLHUP)
        while not self._released.is_set():
            if poll.poll(_POLL_MILLISECONDS):
                data = os.read(stderr, CHUNK_BYTES)
                if not data:
                    break
                self._tail += data
                if len(self._tail) > 4 * STDERR_TAIL_BYTES:
                    del self._tail[:-STDERR_TAIL_BYTES]
            elif not self._over.is_set():
                # Something that it started may hold standard error, and write on to our stream, when it has ended itself.
                self._look(process, False, ended)
        if not self._over.is_set():
            self._look(process, True, ended)
        os.close(stderr)

    def _look(self, process: subprocess.Popen[bytes], block: bool, ended: Callable[[Stage], None]) -> None:
        try:
            code = _end_of(process, block)
        except ChildProcessError:
            self.failure = Failure(PipelineError(f"the exit status of {self.name} was lost", "", "Is SIGCHLD ignored?"), False)
        else:
            if code is None:
                return
            self.returncode = code
            self.failure = self._judge(code, self.stderr_tail)
        self._over.set()
        ended(self)

    def _judge(self, code: int, stderr: str) -> Failure | None:
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


@functools.lru_cache(maxsize=1)
def _end_with_us() -> list[str]:
    """What to put before a program so that it is killed with us; nothing where that cannot be had."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    if setpriv is None:
        return []
    prefix = [setpriv, "--pdeathsig", "KILL", "--"]
    try:
        # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
        known = subprocess.run([*prefix, "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        known = False
    return prefix if known else []  # a busybox has a setpriv without it


def _end_of(process: subprocess.Popen[bytes], block: bool) -> int | None:
    """How a child ended (negative: the signal), or None while it runs; where possible without taking its status away, so
    that it stays a zombie and its process id stays its own. Raises `ChildProcessError` when the status is lost.
    """
    if not _CAN_LOOK:
        return process.wait() if block else process.poll()
    seen = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | (0 if block else os.WNOHANG))
    if seen is None:
        return None
    return seen.si_status if seen.si_code == os.CLD_EXITED else -seen.si_status


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
