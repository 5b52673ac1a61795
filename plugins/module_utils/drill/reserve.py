# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room for a large file on the disk, taken before its bytes come."""

from __future__ import annotations

import ctypes
import errno
import os
import sys

__all__ = ["reserve"]


def reserve(descriptor: int, size_bytes: int) -> None:
    """Take the room of a file at once, which halves what writing it costs the kernel, and shows a full disk early.

    fallocate(2) itself: where a file system has none, Python's posix_fallocate writes all of it. Raises `OSError` for a full disk only.
    """
    if not sys.platform.startswith("linux"):
        return
    call = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if call is None:
        return
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if call(descriptor, 0, 0, size_bytes) and ctypes.get_errno() == errno.ENOSPC:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
