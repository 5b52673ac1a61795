# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Giving a finished file its name without ever replacing another one.

`link` then `unlink` is the way that works everywhere with hard links, on NFS too. Where there are none (FAT, exFAT,
some FUSE and SMB mounts), `renameat2(RENAME_NOREPLACE)`; where the kernel refuses that as well, a check and a rename
under a lock of the directory, which holds against other runs of this program only.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
from collections.abc import Callable

__all__ = ["place"]

_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL)
_NO_RENAME_FLAGS = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_RENAME_NOREPLACE = 1


def place(directory: int, temporary: str, name: str) -> str:
    """Rename `temporary` to `name` inside the open `directory`; returns the way that worked.

    Raises `FileExistsError` and leaves both files alone when `name` is taken, and `OSError` for everything else.
    """
    try:
        return _by_link(directory, temporary, name)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
    try:
        return _by_rename(directory, temporary, name)
    except OSError as error:
        if error.errno not in _NO_RENAME_FLAGS:
            raise
    return _under_lock(directory, temporary, name)


def _by_link(directory: int, temporary: str, name: str) -> str:
    try:
        os.link(temporary, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        # NFS repeats a request whose answer was lost, and then finds the link that it made itself (link(2), BUGS).
        if not _same_file(directory, temporary, name):
            raise
    # A second, hidden name that stays behind is no fault of the object.
    with contextlib.suppress(OSError):
        os.unlink(temporary, dir_fd=directory)
    return "link"


def _by_rename(directory: int, temporary: str, name: str) -> str:
    renameat2: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if renameat2(directory, os.fsencode(temporary), directory, os.fsencode(name), _RENAME_NOREPLACE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)
    return "renameat2"


def _under_lock(directory: int, temporary: str, name: str) -> str:
    fcntl.flock(directory, fcntl.LOCK_EX)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.stat(name, dir_fd=directory, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        fcntl.flock(directory, fcntl.LOCK_UN)
    return "lock"


def _same_file(directory: int, one: str, other: str) -> bool:
    return os.path.samestat(os.stat(one, dir_fd=directory, follow_symlinks=False), os.stat(other, dir_fd=directory, follow_symlinks=False))
