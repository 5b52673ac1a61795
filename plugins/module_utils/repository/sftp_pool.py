# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connections of one repository behind SFTP: made when they are needed, kept for the next one, each for one thread at a time."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    MissingTool,
    ObjectExists,
    ObjectMissing,
    RepositoryError,
    UnsafeName,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository import sftp_faults
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_faults import ConnectionLost, Refused
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_options import (
    PINNED,
    SftpOptions,
    check_files,
    ssh_arguments,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.sftp_session import Session

__all__ = ["Connections"]

Result = TypeVar("Result")

_ANSWERS = (Refused, ObjectMissing, ObjectExists, UnsafeName)
"""After these a connection is as good as before."""


class Connections:
    """Thread-safe."""

    def __init__(self, given: SftpOptions) -> None:
        self._given = given
        self._lock = threading.Lock()
        self._idle: list[Session] = []
        self._used: set[Session] = set()
        self._pinned: tuple[int, str] | None = None

    def take(self) -> Session:
        """A connection for one thread, an idle one or a new one; `give_back` it. Raises when the directory does not exist."""
        with self._lock:
            waiting, self._idle = self._idle, []
        while waiting:
            session = waiting.pop()
            if session.is_alive():
                break
            session.close()
        else:
            session = self._connect()
        with self._lock:
            self._idle += waiting
            self._used.add(session)
        if session.root is None:
            self.give_back(session, whole=False)
            raise sftp_faults.root_missing(self._given)
        return session

    def give_back(self, session: Session, whole: bool) -> None:
        """Keep a connection for the next one, or, when it is not `whole`, end it and those that are idle: they may have ended with it.

        Never raises.
        """
        try:
            if whole:
                session.flush()
        except RepositoryError:
            whole = False
        ended: list[Session] = []
        with self._lock:
            self._used.discard(session)
            if whole:
                self._idle.append(session)
            else:
                ended, self._idle = [session, *self._idle], []
        for one in ended:
            one.close()

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """A connection for the length of a block."""
        session = self.take()
        try:
            yield session
        except _ANSWERS:
            self.give_back(session, whole=True)
            raise
        except BaseException:
            self.give_back(session, whole=False)
            raise
        self.give_back(session, whole=True)

    def ask(self, function: Callable[[Session], Result]) -> Result:
        """The function's result; it only looks, so that it is done again when the connection breaks."""
        session, result = self.begin(function)
        self.give_back(session, whole=True)
        return result

    def begin(self, function: Callable[[Session], Result]) -> tuple[Session, Result]:
        """A connection on which the function has succeeded, to go on with; `give_back` it. `function` may be done twice: a
        connection may have ended while nobody used it.
        """
        for attempt in (1, 2):
            session = self.take()
            try:
                return session, function(session)
            except BaseException as error:
                self.give_back(session, whole=isinstance(error, _ANSWERS))
                if attempt == 2 or not isinstance(error, ConnectionLost):
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End them all; who uses one gets `ConnectionLost`."""
        with self._lock:
            idle, self._idle = self._idle, []
            used = list(self._used)
            pinned, self._pinned = self._pinned, None
        for session in idle:
            session.close()
        for session in used:
            session.kill()
        if pinned is not None:
            _let_go(pinned)

    def _connect(self) -> Session:
        check_files(self._given)
        program = shutil.which("ssh")
        if program is None:
            raise MissingTool(
                "the program ssh is not installed", f"repository {self._given.name!r}", "Install the package openssh-client(s)."
            )
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C"}
        return Session(self._given, ssh_arguments(self._given, program, self._known_hosts()), environment)

    def _known_hosts(self) -> str:
        """The file that ssh looks host keys up in; a pinned one lies in memory, so that nothing is left behind."""
        if self._given.known_hosts_file is not None:
            return self._given.known_hosts_file
        with self._lock:
            if self._pinned is None:
                self._pinned = _held("".join(f"{PINNED} {line}\n" for line in self._given.host_keys).encode())
            return self._pinned[1]


def _held(content: bytes) -> tuple[int, str]:
    """A file with this content, as its descriptor and its path: in memory, where the system can."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("lifeboat-known-hosts")
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
    else:
        descriptor, path = tempfile.mkstemp(prefix="lifeboat-known-hosts-")
    os.write(descriptor, content)
    return descriptor, path


def _let_go(held: tuple[int, str]) -> None:
    descriptor, path = held
    os.close(descriptor)
    if not path.startswith("/proc/"):
        with contextlib.suppress(OSError):
            os.unlink(path)
