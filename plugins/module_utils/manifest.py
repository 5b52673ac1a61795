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
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import strict
from ansible_collections.lifeboat.postgres.plugins.module_utils.digest_coverage import read_part
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ManifestError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef

__all__ = ["SCHEMA", "Artifact", "EvidencePoint", "Manifest", "Volume", "WalRange", "split_signature"]

SCHEMA = 1
ROLES = ("dump", "base", "backup_manifest", "key", "evidence", "instructions")
FORMATS = ("custom", "directory", "plain", "tar", "raw")
_ADDED: Mapping[str, Any] = {"keys": {}, "evidence": []}
"""Fields that came later: left out where they are empty, so that earlier manifests stay what they are, signature included."""


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
class WalRange:
    """The write-ahead log without which a base backup is nothing: from `start_lsn` to `stop_lsn`, written as PostgreSQL does.

    `first` and `last` are the names of the segments that hold them, each of `segment_bytes`; they lie in the WAL archive, and
    with `included` in the backup itself.
    """

    timeline: int
    start_lsn: str
    stop_lsn: str
    first: str
    last: str
    segment_bytes: int
    included: bool = False


@dataclass(frozen=True)
class EvidencePoint:
    """Evidence of one database at a position of the log behind a base backup, in the sealed `artifact`.

    `exact`: it is the state that all records before `lsn` make, and no other; else it holds bounds. `how` says why, in words.
    """

    database: str
    artifact: str
    lsn: str
    exact: bool
    how: str


@dataclass(frozen=True)
class Manifest:
    """A backup. Moments are aware datetimes in UTC; sizes are bytes.

    `snapshot_at` is the moment whose state the backup holds. `plain_bytes` is the dump before compression,
    `database_bytes` what the database took on production's disk. `repositories` maps each repository that was asked for
    to "" when this backup is complete there, else to the reason. `format` is that of the dump (custom, directory, plain);
    `object_count` the definitions in it. `application_version` is what the operator says of the application (an image's tag,
    a revision), or "". `costs` are seconds that parts of the run took. `digested` says which part of how many ("3/7") of the
    content digests that go in turn is whole in the evidence, or "". Of kind `base`, `wal` is the log that it needs, and
    `parent` the backup that an incremental one builds on, or "", `evidence` what a recovery can be compared with.
    `keys` are the protected keys that production used, by name, each
    with its fingerprint; of kind `keys` its own. `signature` is an OpenSSH signature over `signed_bytes()`, or "".
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
    format: str = "custom"
    object_count: int = 0
    application_version: str = ""
    costs: Mapping[str, float] = field(default_factory=dict)
    digested: str = ""
    wal: WalRange | None = None
    parent: str = ""
    evidence: tuple[EvidencePoint, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
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
                value = strict.format_moment(value)
            elif item.name in ("artifacts", "evidence"):
                value = [dataclasses.asdict(entry) for entry in value]
            elif isinstance(value, tuple):
                value = list(value)
            elif isinstance(value, WalRange):
                value = dataclasses.asdict(value)
            elif isinstance(value, Mapping):
                value = dict(value)
            if value or item.name not in _ADDED:
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
            raise ManifestError(f"the manifest has schema {schema!r}, this version reads {SCHEMA}", where, "Use a newer lifeboat.postgres.")
        try:
            return strict.fields(cls, {**_ADDED, **document}, _READERS)
        except ValueError as error:
            raise ManifestError(f"the manifest cannot be read: {error}", where, "It was altered; use another repository.") from None


def split_signature(document: bytes) -> tuple[bytes, str] | None:
    """What the signature of a stored manifest covers, and the signature, without reading the rest; None where that is not easily said.

    A signature that holds over these bytes was made over them, so they are as `signed_bytes` writes them: there, a line that is
    indented by two begins with a key of the document itself.
    """
    found = _SIGNATURE.findall(document)
    if len(found) != 1:
        return None
    return _SIGNATURE.sub(rb'\1""\3', document), str(json.loads(found[0][1]))


_SIGNATURE = re.compile(rb'^(  "signature": )("(?:[^"\\\n]|\\.)+")(,?)$', re.MULTILINE)


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=True).encode() + b"\n"


def _sha256(value: Any) -> str:
    text = strict.text(value)
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ValueError(f"expected a SHA-256 in hexadecimal, found {text!r}")
    return text


_VOLUME = strict.nested(Volume, {"size_bytes": strict.count, "sha256": _sha256})
_ARTIFACT = strict.nested(
    Artifact, {"role": strict.one_of(ROLES), "size_bytes": strict.count, "sha256": _sha256, "volumes": strict.tuple_of(_VOLUME)}
)


def _artifact(value: Any) -> Artifact:
    artifact = _ARTIFACT(value)
    if sum(volume.size_bytes for volume in artifact.volumes) != artifact.size_bytes:
        raise ValueError(f"the volumes of {artifact.name!r} do not add up to its size")
    return artifact


_WAL = strict.nested(WalRange, {"timeline": strict.count, "segment_bytes": strict.count, "included": strict.boolean})


def _digested(value: Any) -> str:
    text = strict.text(value)
    if text:
        read_part(text)
    return text


_READERS: dict[str, strict.Reader] = {
    "started_at": strict.moment,
    "snapshot_at": strict.moment,
    "finished_at": strict.moment,
    "server_version_num": strict.count,
    "database_bytes": strict.count,
    "plain_bytes": strict.count,
    "object_count": strict.count,
    "format": strict.one_of(FORMATS),
    "costs": strict.mapping(strict.number),
    "digested": _digested,
    "wal": strict.optional(_WAL),
    "evidence": strict.tuple_of(strict.nested(EvidencePoint, {"exact": strict.boolean})),
    "keys": strict.mapping(strict.text),
    "recipients": strict.tuple_of(strict.text),
    "notes": strict.tuple_of(strict.text),
    "artifacts": strict.tuple_of(_artifact),
    "repositories": strict.mapping(strict.text),
}
