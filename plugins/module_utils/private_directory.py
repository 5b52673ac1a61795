# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories of one's own, for files whose names or contents others must not choose, and whether somebody works in one."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

__all__ = ["is_held", "private_directory"]


def private_directory(folder: Path, what: str, option: str) -> None:
    """Make the directory, 0700; a symlink or a directory of somebody else's is refused (it could be swapped under us).

    Raises `ConfigurationError` that names `what` it is and the `option` that sets it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = os.lstat(folder)
    except OSError as error:
        raise ConfigurationError(f"the {what} directory cannot be made: {error.strerror}", str(folder), f"Set {option}.") from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
        raise ConfigurationError(
            f"the {what} directory is a symlink, belongs to another user or can be written by others",
            str(folder),
            f"Set {option} to a directory of your own with mode 0700.",
        )


def is_held(lock: Path) -> bool:
    """Whether a living process holds this file's lock (flock, exclusively); a file that is not there nobody holds.

    Asked by a shared lock: who only looks is never taken for a holder by another who looks.
    """
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
