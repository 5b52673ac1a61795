# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which user the drill's programs run as: never root."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

__all__ = ["Account", "account_for"]

DEFAULT_USERS = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """A user of this host by name, with its numbers."""

    name: str
    uid: int
    gid: int


def account_for(run_as: str = "") -> Account:
    """The user that runs initdb, the server and pg_restore; raises `ConfigurationError`.

    An ordinary user runs them as itself. Root takes `run_as`, else `postgres` where it exists, else `nobody`:
    PostgreSQL refuses root, and a restored function must not have root's rights.
    """
    if os.geteuid() != 0:
        own = os.geteuid()
        try:
            name = pwd.getpwuid(own).pw_name
        except KeyError:
            name = f"user{own}"
        if run_as and run_as != name:
            raise ConfigurationError(
                f"run_as is {run_as!r}, and only root can start programs as another user", f"user {name!r}", "Leave run_as out."
            )
        return Account(name, own, os.getegid())
    for name in (run_as,) if run_as else DEFAULT_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid == 0:
            raise ConfigurationError(
                "run_as is root, which PostgreSQL refuses and a restored function must not be",
                next_step="Name an ordinary user of this host.",
            )
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    wanted = repr(run_as) if run_as else "postgres or nobody"
    raise ConfigurationError(f"there is no user {wanted} on this host", next_step="Give run_as the name of an ordinary user.")
