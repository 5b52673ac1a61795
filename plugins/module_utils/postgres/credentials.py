# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How PostgreSQL's programs get the password: through a file that has no name (law 7).

An argument list is readable for everybody on the host, an environment for the same user and in crash reports, a
temporary file survives a kill. A memfd is none of these: libpq reads it by its number, and it is gone with the process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login

__all__ = ["Credentials", "client_credentials"]

# libpq's own variables that may stay: they say how to encrypt and where a password file is, never where to connect.
_KEPT = ("PGSSL", "PGREQUIRESSL", "PGGSS", "PGKRB", "PGSYSCONFDIR")


@dataclass(frozen=True)
class Credentials:
    """What a program is started with: its whole environment, and the file descriptors it must inherit."""

    env: dict[str, str] = field(repr=False)
    pass_fds: tuple[int, ...] = ()


@contextlib.contextmanager
def client_credentials(login: Login) -> Iterator[Credentials]:
    """The environment for a client program that logs in as `login`; valid until the block ends.

    Raises `ConfigurationError` for a password that a password file cannot hold.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("PG") or name.startswith(_KEPT)}
    env["LC_ALL"] = "C"  # what the programs say is read (restore_errors.py), so they say it in English
    if not login.password:
        if "PGPASSFILE" in os.environ:
            env["PGPASSFILE"] = os.environ["PGPASSFILE"]
        yield Credentials(env)
        return
    if any(character in login.password for character in "\n\r\0"):
        raise ConfigurationError(
            "login_password holds a line break", next_step="It was probably read from a file with its last newline: strip that."
        )
    if not hasattr(os, "memfd_create"):
        # No memfd on this system (macOS): the environment is the least bad place that is left.
        yield Credentials({**env, "PGPASSWORD": login.password})
        return
    descriptor = os.memfd_create("pgpass")
    try:
        os.fchmod(descriptor, 0o600)  # libpq ignores a password file that others could read
        escaped = login.password.replace("\\", "\\\\").replace(":", "\\:")
        os.write(descriptor, f"*:*:*:*:{escaped}\n".encode())
        yield Credentials({**env, "PGPASSFILE": f"/proc/self/fd/{descriptor}"}, (descriptor,))
    finally:
        os.close(descriptor)
