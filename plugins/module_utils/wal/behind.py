# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an optional repository lacks: one empty file per name, so that nothing has to be remembered elsewhere.

The notes are a short cut. Lost ones cost nothing but time: comparing the archives finds the same (catch_up.py).
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import encode_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.private_directory import private_directory

__all__ = ["Behind"]

DOWN_SECONDS = 60.0
"""How long an optional repository is left alone after it failed: the archiver waits for nobody who is down."""
_DOWN = ".down"


class Behind:
    """The notes of one system's archive. Nothing here raises for want of a directory: a note is never worth a push."""

    def __init__(self, run_dir: Path, system: str) -> None:
        self._root = run_dir / "behind" / encode_name(system)

    def names(self, repository: str) -> list[str]:
        """What is noted for a repository, oldest name first."""
        try:
            return sorted(entry for entry in os.listdir(self._folder(repository)) if not entry.startswith("."))
        except OSError:
            return []

    def note(self, repository: str, name: str) -> str:
        """Note that it lacks this file; what to add to the reason when that could not be done."""
        try:
            private_directory(self._folder(repository), "run", "run_dir")
            os.close(os.open(self._folder(repository) / name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        except (OSError, LifeboatError) as error:
            return f" It could not be noted ({error}): run lifeboat wal catch-up when the repository is back."
        return ""

    def forget(self, repository: str, name: str) -> None:
        """It has it now."""
        with contextlib.suppress(OSError):
            os.unlink(self._folder(repository) / name)

    def down(self, repository: str) -> None:
        """Remember that it failed just now."""
        with contextlib.suppress(OSError, LifeboatError):
            private_directory(self._folder(repository), "run", "run_dir")
            (self._folder(repository) / _DOWN).touch()

    def is_up(self, repository: str) -> None:
        """It answered."""
        with contextlib.suppress(OSError):
            os.unlink(self._folder(repository) / _DOWN)

    def is_down(self, repository: str) -> bool:
        """Whether it failed within the last `DOWN_SECONDS`."""
        try:
            return 0 <= time.time() - os.stat(self._folder(repository) / _DOWN).st_mtime < DOWN_SECONDS
        except OSError:
            return False

    def _folder(self, repository: str) -> Path:
        return self._root / encode_name(repository)
