# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every check is: a question with one name, asked of the restored data, answered with a verdict."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess

    from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.opened import OpenedKey
    from psycopg import Connection

__all__ = ["FAILED", "PASSED", "UNVERIFIED", "VERDICTS", "Check", "CheckResult", "Inside", "Restored"]

PASSED = "passed"
FAILED = "failed"
UNVERIFIED = "unverified"
VERDICTS = (PASSED, FAILED, UNVERIFIED)


@dataclass(frozen=True)
class CheckResult:
    """One answer: `verdict` is passed, failed or unverified; the rest are sentences for people, never secrets.

    `expected` and `found` are short enough to stand side by side; `detail` may name the first few offenders.
    """

    name: str
    verdict: str
    expected: str = ""
    found: str = ""
    detail: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"{self.verdict!r} is not a verdict")


class Inside(ABC):
    """The drill's isolation, for checks that start a program: it sees the restored database, and nothing outside.

    `directory` is a place below which such a program may make a Unix socket, under the same path inside and outside.
    """

    directory: Path

    @abstractmethod
    def start(self, argv: Sequence[str], readable: Iterable[Path], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a program with libpq's variables set; standard output and error are pipes. Killing what this returns ends
        all that it started. `readable` are the files and directories that it needs, beside the system's programs.
        """


@dataclass(frozen=True)
class Restored:
    """What a check is asked of: the restored database, and what is known about production at the backup's snapshot.

    `recorded` is what the check's own `evidence` gave (None when there is nothing); `snapshot_at` is aware. `inside` is
    None where nothing can be started beside the database. `replayed_to` is the position up to which production's log was
    proven to be replayed, "" for a dump: then what is here is what production was, and nothing needs to be recorded.
    `keys` are the protected keys that were opened, by name.
    """

    conn: Connection[Any]
    recorded: Any | None
    snapshot_at: dt.datetime
    inside: Inside | None = None
    replayed_to: str = ""
    keys: Mapping[str, OpenedKey] = field(default_factory=dict, repr=False)


class Check(ABC):
    """One question. `name` is stable and unique in a job: what was recorded about production is found by it.
    `timeout_seconds` bounds each of its statements. `groups` are those it belongs to; without any it is always asked.

    Both methods get a connection whose transaction is read only and leave no setting behind in it. Both may raise
    `LifeboatError` or `psycopg.Error`: the collector then records nothing, the runner answers `unverified`.
    """

    name: str
    timeout_seconds: float = 600.0
    groups: tuple[str, ...] = ()
    makes_objects: bool = False
    """`run` makes objects of its own, in a transaction that is always rolled back. Only for the throwaway's data."""
    starts_programs: bool = False
    """`run` starts programs that may change the throwaway's data; so it is asked after all checks that do not."""
    needs_key: str = ""
    """The name of the protected key out of the vault that `run` finds in `Restored.keys`, or ""."""

    def evidence(self, conn: Connection[Any]) -> Any:
        """What the backup records about production, in the dump's snapshot: JSON data, or None for nothing."""
        return None

    @abstractmethod
    def run(self, restored: Restored) -> CheckResult:
        """Ask the restored database."""
