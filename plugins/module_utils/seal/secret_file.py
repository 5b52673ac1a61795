# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a file that holds a secret key, and refusing one that others can read (law 7)."""

from __future__ import annotations

import os
import stat

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import SealError

__all__ = ["read_secret_bytes", "read_secret_file"]

LIMIT_BYTES = 1024 * 1024


def read_secret_file(path: str, where: str) -> str:
    """Its text. Secret. Raises what `read_secret_bytes` does."""
    return read_secret_bytes(path, where).decode("utf-8", "replace")


def read_secret_bytes(path: str, where: str) -> bytes:
    """Its bytes. Secret. Raises `SealError` when it is missing, is not a regular file, or when others can read it.

    Permissions are judged as ssh(1) judges those of private keys; beyond that, a file of another owner may be shared
    with our group, but never with everybody.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise SealError("there is no such file", where) from None
    except OSError as error:
        raise SealError(f"cannot be read: {error.strerror}", where) from None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise SealError("this is not a regular file", where)
        if facts.st_mode & (0o077 if facts.st_uid == os.geteuid() else 0o007):
            raise SealError(f"others can read it (mode {stat.S_IMODE(facts.st_mode):04o})", where, f"chmod 600 {path}")
        return os.read(descriptor, LIMIT_BYTES)
    finally:
        os.close(descriptor)
