# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one directory that a drill owns, and the marker that says whose it is.

    work_dir/                       ours, nobody else may write in it
      .lock                         held while a drill's directory is made or reaped
      drill-<stamp>-<random>/       0710: the drill's user may pass, not look or write
        drill.json                  the marker, locked (flock) for as long as the drill lives
        data/  s/                   0700, the server's; its socket lies in s
        fetched/                    0750, ours; the opened dump, which pg_restore may read
        root/                       0700, empty; the isolated programs' root is mounted over it
        p/                          0755, for a moment; a socket that the server must not reach (proof.py)
        server.log                  0600, ours
        passwd  group               0644, ours; who is who in a container

The lock goes with the process, so whether a drill still runs needs no guess about process ids. The marker lies outside
of what the restored database can write: it cannot keep itself from being reaped.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import Account
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DrillRefused
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.cluster import check_socket_directory
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import host_id, host_name, now
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

__all__ = ["DRILL_VARIABLE", "MARKER", "Workspace", "check_work_dir", "drills_in", "work_dir_locked"]

DRILL_VARIABLE = "LIFEBOAT_DRILL"
"""In the environment of every program of a drill: its id, by which teardown and reaper know it."""

MARKER = "drill.json"
_LOCK = ".lock"
_DRILL_ID = re.compile(r"^drill-\d{8}T\d{6}Z-[0-9a-f]{8}$")
_LONGEST_ID = "drill-20260101T000000Z-00000000"


class Workspace:
    """A drill's own directory, locked by this process until `close`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.drill_id = path.name
        self.data, self.socket = path / "data", path / "s"
        self.fetched, self.mount_point = path / "fetched", path / "root"
        self._lock = lock

    @classmethod
    def create(cls, work_dir: Path, account: Account) -> Workspace:
        """A new directory below `work_dir`; raises `DrillRefused` or `ConfigurationError`, and nothing is left then."""
        check_work_dir(work_dir)
        _make_work_dir(work_dir)
        path = work_dir / f"drill-{layout.new_backup_id(now())}"
        with work_dir_locked(work_dir):
            path.mkdir(mode=0o700)
            lock = os.open(path / MARKER, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(lock, json.dumps(_marker(path.name), sort_keys=True).encode())
        workspace = cls(path, lock)
        try:
            workspace._furnish(account)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            workspace.close()
            raise
        return workspace

    def _furnish(self, account: Account) -> None:
        root = os.geteuid() == 0
        for directory, mode, owner in (
            (self.data, 0o700, account.uid),
            (self.socket, 0o700, account.uid),
            (self.fetched, 0o750, -1),
            (self.mount_point, 0o700, -1),
        ):
            directory.mkdir(mode=0o700)
            if root:
                os.chown(directory, owner, account.gid)
            directory.chmod(mode)
        if root:
            os.chown(self.path, -1, account.gid)
        self.path.chmod(0o710)

    def note(self, more: Mapping[str, Any]) -> None:
        """Write more into the marker, before what it is about is made: a reaper finds it there."""
        text = json.dumps({**_marker(self.drill_id), **more}, sort_keys=True).encode()
        os.pwrite(self._lock, text, 0)
        os.ftruncate(self._lock, len(text))

    def empty_data(self, account: Account) -> None:
        """Make the server's data directory anew; no server of this drill may run any more."""
        shutil.rmtree(self.data)
        self.data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(self.data, account.uid, account.gid)

    def room(self, name: str, account: Account) -> Path:
        """A directory of ours below `fetched`, into which the drill's user may look."""
        path = self.fetched / name
        path.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(path, -1, account.gid)
        path.chmod(0o750)
        return path

    def close(self) -> None:
        """Give up the lock; from now on the directory, where it still exists, can be reaped. Idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def check_work_dir(work_dir: Path) -> None:
    """Refuse a place that is not ours alone, or that holds anything but drills; it need not exist yet. Changes nothing.

    Raises `ConfigurationError` for a path that cannot work, `DrillRefused` for one that must not be used.
    """
    if not work_dir.is_absolute():
        raise ConfigurationError("work_dir is not an absolute path", str(work_dir))
    check_socket_directory(work_dir / _LONGEST_ID / "s")
    try:
        status = os.lstat(work_dir)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"work_dir cannot be used: {error.strerror}", str(work_dir)) from None
    if not stat.S_ISDIR(status.st_mode):
        raise DrillRefused("work_dir is not a directory", str(work_dir), "Name a directory that only drills use.")
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise DrillRefused(
            "work_dir belongs to another user, or others can write in it",
            str(work_dir),
            "Name a directory of your own, or one that does not exist yet.",
        )
    strangers = sorted(name for name in os.listdir(work_dir) if name != _LOCK and not _DRILL_ID.match(name))
    if strangers:
        raise DrillRefused(
            f"work_dir is in use: it holds {', '.join(map(repr, strangers[:3]))}{' and more' if len(strangers) > 3 else ''}",
            str(work_dir),
            "Name a directory that only drills use; a data directory is never touched.",
        )


def drills_in(work_dir: Path) -> list[Path]:
    """The directories of drills, running or left behind, oldest first."""
    if not work_dir.is_dir():
        return []
    return sorted(path for path in work_dir.iterdir() if _DRILL_ID.match(path.name) and path.is_dir() and not path.is_symlink())


@contextlib.contextmanager
def work_dir_locked(work_dir: Path) -> Iterator[None]:
    """Nobody else makes or reaps a drill's directory meanwhile."""
    lock = os.open(work_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _make_work_dir(work_dir: Path) -> None:
    try:
        # Root's programs run as another user, who has to pass through here.
        work_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"work_dir cannot be made: {error.strerror}", str(work_dir), "Name a directory that you may create or own."
        ) from None


def _marker(drill_id: str) -> dict[str, Any]:
    """For people, and for a reaper on another host that shares the file system."""
    return {
        "drill_id": drill_id,
        "pid": os.getpid(),
        "host": host_name(),
        "host_id": host_id(),
        "since": format_moment(now()),
    }
