# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the worker says to the launcher: this file is archived. A directory per life of the server, below `run_dir`.

    <run_dir>/<pid>-<start>/lock      held by the worker as long as it lives
    <run_dir>/<pid>-<start>/socket    where it is asked
    <run_dir>/<pid>-<start>/begun     as old as the options that it works with
    <run_dir>/<pid>-<start>/ok/FILE   every required repository has confirmed FILE

An acknowledgement holds within one life only. While a postmaster lives, a file that was once ready does not change; after a
restore the same name can have another content. Nothing here is synced to disk: with the machine the life ends, too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import time
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import Locked
from ansible_collections.lifeboat.postgres.plugins.module_utils.private_directory import private_directory
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.postmaster import Postmaster

__all__ = ["SOCKET", "Life"]

SOCKET = "socket"
_LOCK, _BEGUN, _OWNER, _OK = "lock", "begun", "data_directory", "ok"
_PAUSE_SECONDS = 0.05


class Life:
    """The directory of one life, held by the one worker that may write into it."""

    def __init__(self, run_dir: Path, postmaster: Postmaster) -> None:
        self.run_dir = run_dir
        self.postmaster = postmaster
        self.folder = run_dir / postmaster.life
        self.acknowledged: set[str] = set()
        self._lock: int | None = None

    def take(self, wait_seconds: float) -> bool:
        """Become the worker of this life, with no acknowledgement standing; False when another one is, and listens.

        The lock is one of this life, not of the cluster: a worker of the life before that was stopped in the midst of its
        work must not keep the new one from working. It ends by itself as soon as it goes on.
        Raises `ConfigurationError` when the directory is not a private one, `Locked` when another one has neither listened nor
        ended for so long, `OSError`.
        """
        private_directory(self.run_dir, "run", "run_dir")
        private_directory(self.folder, "run", "run_dir")
        self._lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + wait_seconds
        while not _try_lock(self._lock):
            if _somebody_listens(self.folder):
                return False
            if time.monotonic() >= deadline:
                raise Locked("another worker neither listens nor ends", str(self.folder), "It ends with what it is waiting for.")
            time.sleep(_PAUSE_SECONDS)
        # Looked at first: what it holds is removed, and a link would lead to other files.
        private_directory(self.folder / _OK, "run", "run_dir")
        # What a killed worker acknowledged may rest on other options than ours. To push it again costs little: it is there.
        self.withdraw()
        (self.folder / _OWNER).write_bytes(os.fsencode(self.postmaster.data_dir) + b"\n")
        (self.folder / _BEGUN).write_bytes(b"")
        self._bury_the_dead()
        return True

    def acknowledge(self, name: str) -> None:
        os.close(os.open(self.folder / _OK / name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        self.acknowledged.add(name)

    def forget(self, name: str) -> None:
        """The archiver has taken note of it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.folder / _OK / name)
        self.acknowledged.discard(name)

    def withdraw(self) -> None:
        """No acknowledgement stands any more."""
        self.acknowledged.clear()
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self.folder / _OK):
                os.unlink(entry.path)

    def leave(self) -> None:
        """Nobody finds this worker any more."""
        with contextlib.suppress(OSError):
            os.unlink(self.folder / SOCKET)

    def end(self) -> None:
        """Nothing of ours stands any more. The directory stays for the next worker, and goes with the first one of another life."""
        self.withdraw()
        self.leave()

    def _bury_the_dead(self) -> None:
        """Remove what earlier lives of this data directory left when their workers were killed."""
        owner = os.fsencode(self.postmaster.data_dir) + b"\n"
        for entry in os.scandir(self.run_dir):
            with contextlib.suppress(OSError):
                if entry.name != self.postmaster.life and (Path(entry.path) / _OWNER).read_bytes() == owner and _unlocked(entry.path):
                    shutil.rmtree(entry.path, ignore_errors=True)


def _unlocked(folder: str) -> bool:
    descriptor = os.open(os.path.join(folder, _LOCK), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _somebody_listens(folder: Path) -> bool:
    """The working directory is the folder: a socket's path may be no longer than 108 bytes."""
    os.chdir(folder)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        with contextlib.suppress(OSError):
            probe.connect(SOCKET)
            return True
    return False
