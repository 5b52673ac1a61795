# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run per system, kind and name on this host.

An flock on a file in a directory of the user's own: the kernel drops it with the process, so what a kill or a reboot
left behind is never in the way. Runs of other users and other hosts are kept apart by the advisory lock in the database.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, Locked
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import encode_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.private_directory import private_directory
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import host_name, now
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

__all__ = ["default_lock_dir", "host_lock"]


def default_lock_dir() -> Path:
    """`/run/lifeboat` for root, else the user's own runtime directory, else one below `/tmp`."""
    if os.geteuid() == 0:
        return Path("/run/lifeboat")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime, "lifeboat") if runtime else Path("/tmp", f"lifeboat-{os.geteuid()}")


@contextlib.contextmanager
def host_lock(system: str, kind: str, name: str, directory: Path | None = None, what: str = "a backup of") -> Iterator[None]:
    """Hold the lock for one asset; `what` says what runs on it.

    Raises `Locked` that says who holds it and since when, `ConfigurationError`.
    """
    folder = directory or default_lock_dir()
    private_directory(folder, "lock", "lock_dir")
    path = folder / "-".join(encode_name(part) for part in (system, kind, name))
    descriptor = _locked_descriptor(path, f"{what} {system}/{kind}/{name}")
    try:
        holder = {"pid": os.getpid(), "host": host_name(), "since": format_moment(now())}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _locked_descriptor(path: Path, subject: str) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(f"the lock file cannot be opened: {error.strerror}", str(path), "Set lock_dir.") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise Locked(
                f"{subject} is running already: {holder}",
                str(path),
                "Wait for it to end; the lock goes with the process, there is nothing to clean up.",
            ) from None
        # A cleaner of temporary files may have unlinked the file between open and flock: then lock the new one.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process, which has only just started"
