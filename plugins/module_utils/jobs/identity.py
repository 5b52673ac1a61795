# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job runs as its own user, whoever starts it: root's files among those of another user would stop the next run of that one."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

__all__ = ["answer_as", "become"]


def become(user: str, where: str) -> None:
    """Go on as `user`, for good; nothing to do where we are that user, or none is named.

    Raises `ConfigurationError` for somebody who cannot, and for a user that is not there.
    """
    if not user:
        return
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ConfigurationError(f"there is no user {user!r} on this host", where, "The job file names who runs it.") from None
    if entry.pw_uid == os.geteuid():
        return
    if os.geteuid() != 0:
        raise ConfigurationError(f"this job is run by {user}", where, f"Start it as root, or as {user}.")
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        del os.environ[name]  # root's directories
    os.environ.update(HOME=entry.pw_dir, USER=user, LOGNAME=user)
    os.chdir("/")


def answer_as(user: str, where: str, ask: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """What `ask` answers in a process of `user`; None when that process broke down. Raises what `become` does."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            become(user, where)
            with os.fdopen(writing, "w", encoding="utf-8") as stream:
                json.dump(ask(), stream)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as stream:
        text = stream.read()
    os.waitpid(child, 0)
    try:
        answer: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return answer
