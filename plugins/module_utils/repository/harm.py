# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a credential could do to backups that rest in a repository, tried on a canary of its own (law 5).

A policy that reads well proves nothing; a canary that is gone proves everything.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    AccessDenied,
    ObjectLocked,
    RepositoryError,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.keys import probe_key

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository

__all__ = ["CANARY", "DENIED", "DONE", "KEPT", "UNKNOWN", "Harm", "Rules", "on_canary"]

DENIED, KEPT, DONE, UNKNOWN = "denied", "old version stays", "done", "unknown"
"""Outcomes: refused; accepted, and what was there can still be read; accepted, and it is gone; not found out."""

CANARY = b"lifeboat canary: a backup that somebody tries to destroy\n"


@dataclass(frozen=True)
class Harm:
    """One thing that was tried: `action` in words, its `outcome`, and what was seen."""

    action: str
    outcome: str
    detail: str = ""


@dataclass(frozen=True)
class Rules:
    """What a bucket does by itself, in seconds; None where it does not, `unknown` says what this credential may not look at.

    `expires`: removes current objects. `removes_old_versions`: destroys versions that were replaced or deleted. `locks`: locks
    what is written. `versions`: keeps what is replaced. `aborts_uploads`: removes the parts of uploads that were never completed.
    """

    versions: bool | None = None
    locks: float | None = None
    expires: float | None = None
    removes_old_versions: float | None = None
    moves_to_cold: float | None = None
    aborts_uploads: float | None = None
    unknown: tuple[str, ...] = ()


def on_canary(repository: Repository, probe_prefix: str) -> tuple[Harm, ...]:
    """For a place that keeps neither versions nor locks: put as a backup is put, then replace it, then delete it."""
    key = probe_key(probe_prefix)
    try:
        repository.put(key, CANARY)
    except AccessDenied as error:
        return (Harm("write", DENIED, str(error)),)
    try:
        return (_replace(repository, key), _delete(repository, key))
    finally:
        with contextlib.suppress(RepositoryError):
            repository.delete(key)


def _replace(repository: Repository, key: str) -> Harm:
    try:
        repository.overwrite(key, b"somebody else's bytes\n")
    except NotImplementedError:
        return Harm("replace", UNKNOWN, f"not tried in a repository of type {repository.type}")
    except (AccessDenied, ObjectLocked) as error:
        return Harm("replace", DENIED, error.what)
    except RepositoryError as error:
        return Harm("replace", UNKNOWN, str(error))
    kept = repository.read(key) == CANARY
    return Harm("replace", DENIED, "accepted, and not done") if kept else Harm("replace", DONE, "the canary's bytes were replaced")


def _delete(repository: Repository, key: str) -> Harm:
    try:
        repository.delete(key)
    except (AccessDenied, ObjectLocked) as error:
        return Harm("delete", DENIED, error.what)
    except RepositoryError as error:
        return Harm("delete", UNKNOWN, str(error))
    return Harm("delete", DONE, "the canary is gone") if repository.stat(key) is None else Harm("delete", DENIED, "accepted, and not done")
