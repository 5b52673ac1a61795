# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup is: the document that is written last. Pure.

A backup exists if and only if its manifest does (law 1). Reading is strict: an unknown schema, a missing or a surplus
field is refused. Writing is stable: the same manifest gives the same bytes, so that it can be signed. Nothing in it
tells about the data; what does (counts, names of tables) is in the sealed evidence.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ManifestError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef

__all__ = ["SCHEMA", "Artifact", "Manifest", "Volume", "format_moment", "parse_moment"]

SCHEMA = 1
ROLES = ("dump", "evidence", "instructions")


def format_moment(moment: dt.datetime) -> str:
    """A moment as ISO 8601 in UTC with microseconds, `Z` at the end."""
    return moment.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_moment(text: str) -> dt.datetime:
    """The inverse of `format_moment`; raises `ManifestError`."""
    try:
        return dt.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=dt.timezone.utc)
    except (ValueError, TypeError):
        raise ManifestError(f"{text!r} is not a moment in UTC") from None


@dataclass(frozen=True)
class Volume:
    """One object of an artifact, as it lies in the repository (sealed): name, size, SHA-256 in hexadecimal."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Artifact:
    """One file of a backup; its `volumes`, joined in order, are its bytes. `size_bytes` and `sha256` are of the whole."""

    name: str
    role: str
    size_bytes: int
    sha256: str
    volumes: tuple[Volume, ...]


@dataclass(frozen=True)
class Manifest:
    """A backup. Moments are aware datetimes in UTC; sizes are bytes.

    `snapshot_at` is the moment whose state the backup holds. `plain_bytes` is the dump before compression,
    `database_bytes` what the database took on production's disk. `repositories` maps each repository that was asked for
    to "" when this backup is complete there, else to the reason. `signature` is an OpenSSH signature over
    `signed_bytes()`, or "".
    """

    system: str
    kind: str
    name: str
    backup_id: str
    started_at: dt.datetime
    snapshot_at: dt.datetime
    finished_at: dt.datetime
    lifeboat_version: str
    host_name: str
    host_id: str
    server_version: str
    server_version_num: int
    client_version: str
    system_identifier: str
    database_bytes: int
    plain_bytes: int
    compression: str
    encryption: str
    recipients: tuple[str, ...]
    artifacts: tuple[Artifact, ...]
    repositories: Mapping[str, str]
    notes: tuple[str, ...] = ()
    signature: str = field(default="")

    @property
    def ref(self) -> BackupRef:
        return BackupRef(self.system, self.kind, self.name, self.backup_id)

    @property
    def size_bytes(self) -> int:
        """What the backup takes in one repository, without its manifest."""
        return sum(artifact.size_bytes for artifact in self.artifacts)

    def artifact(self, role: str) -> Artifact:
        """The one artifact of a role; raises `ManifestError` when there is none."""
        for artifact in self.artifacts:
            if artifact.role == role:
                return artifact
        raise ManifestError(f"backup {self.backup_id} has no {role}", self.name)

    def to_document(self) -> dict[str, Any]:
        """The manifest as plain JSON data."""
        document: dict[str, Any] = {"schema": SCHEMA}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, dt.datetime):
                value = format_moment(value)
            elif item.name == "artifacts":
                value = [dataclasses.asdict(artifact) for artifact in value]
            elif isinstance(value, tuple):
                value = list(value)
            elif isinstance(value, Mapping):
                value = dict(value)
            document[item.name] = value
        return document

    def to_bytes(self) -> bytes:
        """The manifest as it is stored: UTF-8 JSON with sorted keys."""
        return _dump(self.to_document())

    def signed_bytes(self) -> bytes:
        """What a signature covers: the stored form with an empty `signature`."""
        return _dump({**self.to_document(), "signature": ""})

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "") -> Manifest:
        """Read a stored manifest strictly; raises `ManifestError` that names what is wrong and `where`."""
        try:
            document = json.loads(data.decode("utf-8"))
        except (UnicodeDecodeError, ValueError):
            raise ManifestError("the manifest is not JSON", where, "It was altered or cut; use another repository.") from None
        if not isinstance(document, dict):
            raise ManifestError("the manifest is not a JSON object", where)
        schema = document.pop("schema", None)
        if schema != SCHEMA:
            raise ManifestError(
                f"the manifest has schema {schema!r}, this version reads {SCHEMA}", where, "Use a newer lifeboat.postgres."
            )
        try:
            return cls(**_fields(cls, document, _READERS))
        except ManifestError as error:
            raise ManifestError(error.what, where) from None


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=True).encode() + b"\n"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ManifestError(f"expected text, found {value!r}")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ManifestError(f"expected a whole number, found {value!r}")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(item) for item in _sequence(value))


def _sequence(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ManifestError(f"expected a list, found {value!r}")
    return value


def _sha256(value: Any) -> str:
    text = _text(value)
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ManifestError(f"expected a SHA-256 in hexadecimal, found {text!r}")
    return text


def _reasons(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ManifestError(f"expected a mapping, found {value!r}")
    return {_text(key): _text(reason) for key, reason in value.items()}


def _volume(value: Any) -> Volume:
    return Volume(**_fields(Volume, value, _READERS))


def _artifact(value: Any) -> Artifact:
    artifact = Artifact(**_fields(Artifact, value, {**_READERS, "volumes": lambda v: tuple(_volume(i) for i in _sequence(v))}))
    if artifact.role not in ROLES:
        raise ManifestError(f"artifact {artifact.name!r} has the unknown role {artifact.role!r}")
    if sum(volume.size_bytes for volume in artifact.volumes) != artifact.size_bytes:
        raise ManifestError(f"the volumes of {artifact.name!r} do not add up to its size")
    return artifact


_READERS: dict[str, Any] = {
    "started_at": parse_moment,
    "snapshot_at": parse_moment,
    "finished_at": parse_moment,
    "server_version_num": _count,
    "database_bytes": _count,
    "plain_bytes": _count,
    "size_bytes": _count,
    "sha256": _sha256,
    "recipients": _texts,
    "notes": _texts,
    "artifacts": lambda value: tuple(_artifact(item) for item in _sequence(value)),
    "repositories": _reasons,
}


def _fields(cls: type, document: Any, readers: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments, each read by its reader; missing and surplus fields are refused."""
    if not isinstance(document, dict):
        raise ManifestError(f"expected a JSON object, found {document!r}")
    names = {item.name for item in dataclasses.fields(cls)}
    surplus, missing = sorted(set(document) - names), sorted(names - set(document))
    if surplus or missing:
        raise ManifestError(f"fields missing: {missing}, not known: {surplus}")
    values = {}
    for name in names:
        try:
            values[name] = readers.get(name, _text)(document[name])
        except ManifestError as error:
            raise ManifestError(f"field {name!r}: {error.what}") from None
    return values
