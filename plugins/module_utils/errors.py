# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong, in the operator's words.

Every expected fault is a `LifeboatError`: it says what happened, to what, and what to do next, and its class carries
the exit code of the `lifeboat` command. Nothing else in the library calls `fail_json` or exits; the fronts do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "AccessDenied",
    "ArchiveError",
    "BackupGuardError",
    "ConfigurationError",
    "DatabaseError",
    "DrillNotPassed",
    "DrillRefused",
    "EvidenceError",
    "IntegrityError",
    "KeyRefused",
    "LifeboatError",
    "Locked",
    "ManifestError",
    "MissingTool",
    "NotAllBackedUp",
    "NotFresh",
    "ObjectDamaged",
    "ObjectExists",
    "ObjectLocked",
    "ObjectMissing",
    "PipelineError",
    "RepositoryError",
    "RepositoryStalled",
    "RestoreError",
    "RetentionRefused",
    "SealError",
    "TimedOut",
    "UnsafeName",
    "WalConflict",
]


class LifeboatError(Exception):
    """An expected fault: `what` happened, `where` (the thing it happened to), and what to do `next_step`.

    `str()` gives one line: "what (where). next_step". A secret never belongs into any of the three. `result` is what was
    achieved all the same (JSON data, for the module's result): a backup that is complete in one of two repositories.
    """

    exit_code = 1

    def __init__(self, what: str, where: str = "", next_step: str = "", result: Mapping[str, Any] | None = None) -> None:
        self.what = what.rstrip(". ")
        self.where = where
        self.next_step = next_step
        self.result = dict(result or {})
        super().__init__(what)

    def __str__(self) -> str:
        text = self.what
        if self.where:
            text += f" ({self.where})"
        text += "."
        if self.next_step:
            text += " " + self.next_step
        return text


class ConfigurationError(LifeboatError):
    """An option is missing, unknown or has an unusable value; found before anything runs."""

    exit_code = 2


class MissingTool(LifeboatError):
    """A program or a Python library is absent or too old; `next_step` names the package."""

    exit_code = 3


class DatabaseError(LifeboatError):
    """PostgreSQL refused or broke off: connection, permission, version, a statement."""

    exit_code = 4


class EvidenceError(DatabaseError):
    """Evidence could not be taken truthfully (row-level security, a failing named query)."""


class RepositoryError(LifeboatError):
    """A repository failed: unreachable, full, refused, inconsistent."""

    exit_code = 5


class RepositoryStalled(RepositoryError):
    """A repository accepted no bytes within its deadline."""


class AccessDenied(RepositoryError):
    """The credential may not do this."""


class ObjectLocked(AccessDenied):
    """A lock of the store's keeps the object: nobody may remove it yet."""


class ObjectDamaged(RepositoryError):
    """An object's bytes are not those that were written."""


class ObjectExists(RepositoryError):
    """Refused to overwrite: an object of that key is already there."""


class ObjectMissing(RepositoryError):
    """No object of that key."""


class UnsafeName(RepositoryError):
    """A key or path that would leave the repository's root (symlink, `..`, control characters)."""


class SealError(LifeboatError):
    """Sealing or opening failed: no recipient, wrong identity, damaged ciphertext."""

    exit_code = 6


class KeyRefused(SealError):
    """A protected key is no key: empty, short, a known default, or a passphrase of the backups. Nothing of it is ever shown."""


class ManifestError(LifeboatError):
    """A manifest is unreadable, of an unknown schema, or its signature does not hold."""

    exit_code = 7


class IntegrityError(LifeboatError):
    """Bytes differ from what the manifest says: size, digest, a missing volume."""

    exit_code = 8


class PipelineError(LifeboatError):
    """A process or stage in a stream of bytes failed; carries the first cause."""

    exit_code = 9


class Locked(LifeboatError):
    """Another run holds the lock; says who and since when."""

    exit_code = 10


class BackupGuardError(LifeboatError):
    """A finished dump looks wrong (empty, too small, stopped midway) and is not kept."""

    exit_code = 11


class DrillRefused(LifeboatError):
    """A guard kept the drill from starting; nothing was touched."""

    exit_code = 12


class RestoreError(LifeboatError):
    """What was fetched could not be restored."""

    exit_code = 13


class NotAllBackedUp(LifeboatError):
    """Of several databases at least one has no backup; `result` holds what became of each."""

    exit_code = 15


class ArchiveError(LifeboatError):
    """The WAL archive does not hold what it should, or was offered what it must not take."""

    exit_code = 16


class WalConflict(ArchiveError):
    """The archive holds a file of this name with another content, or belongs to another cluster. Never overwritten."""


class RetentionRefused(LifeboatError):
    """What is listed cannot be believed, or too much would go: nothing was removed; `result` holds what was found."""

    exit_code = 17


class TimedOut(LifeboatError):
    """A job did not end within its own time limit, and was stopped."""

    exit_code = 18


class NotFresh(LifeboatError):
    """Something is late, missing or broken that was promised to be fresh; `result` holds every finding."""

    exit_code = 19


class DrillNotPassed(LifeboatError):
    """The drill ended, and its verdict is not `passed`, or its objective was missed; `result` holds the report."""

    exit_code = 14
