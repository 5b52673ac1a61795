# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One backup of a catalogue and what was found out about it; or what lies where one should, and is none."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.stored_manifest import Summary
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import moment

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.drill_history import Drilled

__all__ = ["Backup", "Broken", "Unread"]


@dataclass(frozen=True)
class Broken:
    """Something that lies where a manifest or a report should and is none: where, and why."""

    repository: str
    key: str
    reason: str


class Unread(Broken):
    """One that could not be read, for want of the store or of a permission: what it is worth is not known."""


@dataclass(frozen=True)
class Backup:
    """One backup and what was found out about it.

    `repositories` are those in which its manifest lies. `absent` maps a repository for which it was meant to the reason
    that its manifest itself gives. `problems` are faults: with one of them the backup is not good. `verified` says how
    far it was looked at: none (manifests), sizes, digests. `signed_by` is the fingerprint of the allowed key that signed, or "".
    `manifest` is the whole document, made anew each time it is asked for.
    """

    ref: BackupRef
    summary: Summary
    read_manifest: Callable[[], Manifest]
    repositories: tuple[str, ...]
    absent: Mapping[str, str]
    problems: tuple[str, ...] = ()
    verified: str = "none"
    drilled: Drilled | None = None
    signed_by: str = ""

    @property
    def manifest(self) -> Manifest:
        return self.read_manifest()

    @property
    def good(self) -> bool:
        """Complete wherever its manifest says so, and nothing wrong was found."""
        return not self.problems

    def age_seconds(self, now: dt.datetime) -> float:
        """How far the state it holds lies back; negative when a clock went wrong."""
        snapshot_at: dt.datetime = moment(self.summary.snapshot_at)
        return (now - snapshot_at).total_seconds()

    def with_problems(self, problems: Iterable[str], verified: str) -> Backup:
        """The same backup, looked at more closely."""
        return replace(self, problems=(*self.problems, *problems), verified=verified)

    def to_document(self, now: dt.datetime, newest: bool) -> dict[str, Any]:
        """For results and JMESPath: plain JSON data."""
        return {
            "backup_id": self.ref.backup_id,
            "kind": self.ref.kind,
            "name": self.ref.name,
            "snapshot_at": self.summary.snapshot_at,
            "finished_at": self.summary.finished_at,
            "age_seconds": round(self.age_seconds(now), 3),
            "size_bytes": self.summary.size_bytes,
            "server_version": self.summary.server_version,
            "signed": self.summary.signed,
            "signed_by": self.signed_by,
            "encryption": self.summary.encryption,
            "digested": self.summary.digested,
            "parent": self.summary.parent,
            "repositories": list(self.repositories),
            "absent": dict(self.absent),
            "good": self.good,
            "problems": list(self.problems),
            "verified": self.verified,
            "newest": newest,
            "drilled": None if self.drilled is None else self.drilled.to_document(),
        }
