# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories with backups in them, and ways to fill and to damage them from outside of the code under test."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Artifact, Manifest, Volume
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.backups import manifest_for

__all__ = ["FILES", "NOW", "Shelf"]

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.timezone.utc)
FILES = {"database.dump.zst.age": (b"a" * 3000, b"b" * 10), "evidence.json.zst.age": (b"c" * 200,), "RESTORE.md": (b"# how\n",)}
ROLES = {"database.dump.zst.age": "dump", "evidence.json.zst.age": "evidence", "RESTORE.md": "instructions"}


class Shelf:
    """The repositories by name, and ways to fill and to damage them from outside of the code under test."""

    def __init__(self, specs: Mapping[str, Mapping[str, Any]]) -> None:
        self.specs = specs
        self.repositories = {name: open_repository(name, spec) for name, spec in specs.items()}

    @property
    def all(self) -> list[Repository]:
        return list(self.repositories.values())

    def backup(
        self,
        hours_ago: float = 1,
        *,
        into: Sequence[str] = ("here", "offsite"),
        meant_for: Mapping[str, str] | None = None,
        kind: str = "database",
        name: str = "shop",
        files: bool = True,
        sign: Callable[[bytes], str] | None = None,
        at: dt.datetime | None = None,
        digested: str = "",
    ) -> Manifest:
        """A backup of so many hours before `NOW`, or of the moment `at`.

        Its manifest lies in `into` and says of itself what `meant_for` says.
        """
        moment = at or NOW - dt.timedelta(hours=hours_ago)
        ref = layout.BackupRef("shop", kind, name, layout.new_backup_id(moment))
        claims = dict.fromkeys(into, "") if meant_for is None else meant_for
        manifest = dataclasses.replace(
            manifest_for(ref)([_artifact(file, parts) for file, parts in FILES.items()] if files else [], claims),
            started_at=moment,
            snapshot_at=moment,
            finished_at=moment + dt.timedelta(seconds=9),
            digested=digested,
        )
        if sign is not None:
            manifest = dataclasses.replace(manifest, signature=sign(manifest.signed_bytes()))
        for place in into:
            for artifact in manifest.artifacts:
                for volume, data in zip(artifact.volumes, FILES[artifact.name]):
                    self.repositories[place].put(layout.artifact_key(ref, volume.name), data)
            self.repositories[place].put(layout.manifest_key(ref), manifest.to_bytes())
        return manifest

    def keys(self, place: str) -> list[str]:
        return [info.key for info in self.repositories[place].list()]

    def close(self) -> None:
        for repository in self.all:
            repository.close()

    def overwrite(self, place: str, key: str, data: bytes) -> None:
        self.repositories[place].delete(key)
        self.repositories[place].put(key, data)


def _artifact(name: str, parts: Sequence[bytes]) -> Artifact:
    volumes = [Volume(name if number == 0 else f"{name}.{number:03}", len(part), _sha256(part)) for number, part in enumerate(parts)]
    whole = b"".join(parts)
    return Artifact(name, ROLES[name], len(whole), _sha256(whole), tuple(volumes))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
