# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `archive_command` becomes for a file that is not acknowledged yet: ask the worker, or do it without one.

Started once per file (or once for many, while a backlog is drained), so it imports nothing but what is part of the
interpreter itself: no package, no `site`, not even `socket`, which alone doubles the time of the start.

Talking to the worker, a line each:

    us      push <data directory> NUL <path>
    worker  .                   I am at it; every second
            = <status> <words>  the file's exit status, and what the operator should read
            ~                   I end, because what I was started with has changed: ask the next one

A worker that is silent for too long is killed: at no step does that harm, and two must not work on the same file at once.
"""

from __future__ import annotations

import _socket
import os
import stat
import sys

__all__ = ["HEARTBEAT_SECONDS", "SILENCE_SECONDS", "START_SECONDS", "main"]

HEARTBEAT_SECONDS = 1.0
SILENCE_SECONDS = 15.0
START_SECONDS = 30.0
_TRIES = 3
_PACKAGE = "ansible_collections.lifeboat.postgres.plugins.module_utils"
_RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from {}.{} import main; sys.exit(main())"


class Broken(Exception):
    """There is no worker that answers."""


def main(argv: list[str]) -> int:
    """Archive the file `argv[2]` (relative to the data directory, which is the working directory) with the options of the
    job file `argv[1]`, through the worker below the run directory `argv[0]`. Returns the exit status; it may also replace
    this process by the full command."""
    run_dir, config, path = argv
    data_dir = os.getcwd()
    path = os.path.join(data_dir, path)
    life = _life()
    if life:
        try:
            return _through_worker(run_dir, life, data_dir, config, path)
        except (Broken, OSError) as error:
            if not _alive(life):
                # Its archiver only waits for us, and holds what the next server needs.
                _say(f"the server has ended: {os.path.basename(path)} is not archived")
                return 1
            _say(f"the worker cannot be used ({error}): {os.path.basename(path)} is archived without it")
    sys.stderr.flush()
    os.chdir(data_dir)
    arguments = _python("cli", "wal", "-c", config, "push", path)
    os.execv(arguments[0], arguments)  # noqa: S606 - no shell is wanted
    raise AssertionError("unreachable")


def _life() -> str:
    """The name of this life (wal/postmaster.py), or "" where no server runs in the working directory."""
    try:
        with open("postmaster.pid", encoding="ascii", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    return f"{int(lines[0])}-{lines[2].strip()}" if len(lines) >= 3 and lines[0].isdigit() and lines[2].strip().isdigit() else ""


def _alive(life: str) -> bool:
    try:
        os.kill(int(life.partition("-")[0]), 0)
    except OSError:
        return False
    return True


def _through_worker(run_dir: str, life: str, data_dir: str, config: str, path: str) -> int:
    for _try in range(_TRIES):
        connection = _connect(run_dir, life, data_dir)
        if connection is None:
            why = _start_worker(run_dir, life, data_dir, config)
            connection = _connect(run_dir, life, data_dir)
            if connection is None and why:
                raise Broken(why)
        if connection is not None:
            answer = _ask(connection, data_dir, path)
            if answer is not None:
                status, words = answer
                if words:
                    _say(words)
                return status
    raise Broken("it ended again and again")


def _connect(run_dir: str, life: str, data_dir: str) -> _socket.socket | None:
    """A connection, or None when nobody listens. A socket's path may have 108 bytes only, so it is reached from its directory."""
    folder = os.path.join(run_dir, life)
    for trusted in (run_dir, folder):
        try:
            status = os.lstat(trusted)
        except FileNotFoundError:
            return None
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise Broken(f"{trusted} is not a directory of our own")
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.settimeout(SILENCE_SECONDS)
    try:
        os.chdir(folder)
        connection.connect("socket")
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except BlockingIOError:
        raise Broken("it does not take what it is asked") from None
    finally:
        os.chdir(data_dir)
    return connection


def _ask(connection: _socket.socket, data_dir: str, path: str) -> tuple[int, str] | None:
    """The worker's answer; None when it went away without one, so that another may be asked."""
    received = b""
    try:
        connection.sendall(b"push " + os.fsencode(data_dir) + b"\0" + os.fsencode(path) + b"\n")
        while True:
            data = connection.recv(4096)
            if not data:
                return None
            received += data
            *lines, received = received.split(b"\n")
            for line in lines:
                if line.startswith(b"="):
                    status, _space, words = line[1:].strip().partition(b" ")
                    return min(int(status), 125), words.decode("utf-8", "replace")
                if line.startswith(b"~"):
                    return None
    except (BrokenPipeError, ConnectionResetError):
        return None
    except _socket.timeout:
        _kill(connection)
        raise Broken(f"it has been silent for {SILENCE_SECONDS:.0f} seconds and was killed") from None
    finally:
        connection.close()


def _kill(connection: _socket.socket) -> None:
    """Kill whoever listens at the other end (Linux says who it is)."""
    option = getattr(_socket, "SO_PEERCRED", None)
    if option is not None:
        pid = int.from_bytes(connection.getsockopt(_socket.SOL_SOCKET, option, 12)[:4], sys.byteorder)
        if pid > 1:
            try:  # noqa: SIM105 - contextlib takes longer to load than all the rest
                os.kill(pid, 9)
            except OSError:
                pass


def _start_worker(run_dir: str, life: str, data_dir: str, config: str) -> str:
    """Start a worker and wait until it, or another one, listens; else why not, in its own words."""
    ours, its = _socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _become_worker(its.fileno(), _python("wal.worker", data_dir, run_dir, life, config))
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    its.close()
    ours.settimeout(START_SECONDS)
    words = b""
    try:
        while data := ours.recv(4096):
            words += data
    except _socket.timeout:
        words = b"it takes too long to start"
    except OSError:
        pass
    finally:
        ours.close()
    return words.decode("utf-8", "replace").strip()


def _become_worker(descriptor: int, arguments: list[str]) -> None:
    """Keep no descriptor of the server: not its log's pipe, not its sockets, not its directory; then execute."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    if descriptor != 3:
        os.dup2(descriptor, 3)
    os.set_inheritable(3, True)
    try:
        opened = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        opened = list(range(os.sysconf("SC_OPEN_MAX")))
    for number in opened:
        if number > 3:
            try:  # noqa: SIM105
                os.close(number)
            except OSError:
                pass
    os.chdir("/")
    os.umask(0o077)
    os.execv(arguments[0], arguments)  # noqa: S606 - no shell is wanted


def _python(module: str, *arguments: str) -> list[str]:
    """The command that calls `main` of a module of this library."""
    root = os.path.abspath(__file__)
    for _level in range(7):
        root = os.path.dirname(root)
    return [sys.executable, "-I", "-c", _RUN.format(_PACKAGE, module), root, *arguments]


def _say(words: str) -> None:
    """Into the server's log; one that nobody reads any more changes nothing."""
    try:  # noqa: SIM105
        os.write(2, f"lifeboat: {words}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass
