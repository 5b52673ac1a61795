# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a backup's parts lie inside a repository (docs/format.md), and nothing else. Pure.

Manifests lie apart from artifacts, so that one listing costs one key per backup:

    <system>/manifests/<kind>/<name>/<backup_id>.json
    <system>/<kind>/<name>/<backup_id>/<artifact>

In a report repository, drill reports sort by the moment at which the drill began:

    <system>/reports/<kind>/<name>/<started>-<backup_id>.json

Those of drills on another major version than the backup's lie apart, since they say nothing about recovering production as it is:

    <system>/upgrades/<kind>/<name>/<started>-<backup_id>.json

The WAL archive of the system's cluster, every file under its timeline with the digest of its plain content:

    <system>/wal/<timeline>/<file>-<sha256><suffix>
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
from dataclasses import dataclass
from urllib.parse import quote, unquote

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, UnsafeName

__all__ = [
    "DEFAULT_VOLUME_BYTES",
    "KINDS",
    "BackupRef",
    "artifact_key",
    "backup_prefix",
    "check_key",
    "cluster_key",
    "decode_name",
    "encode_name",
    "manifest_key",
    "manifests_prefix",
    "moment_of",
    "new_backup_id",
    "parse_manifest_key",
    "parse_report_key",
    "parse_wal_key",
    "report_key",
    "reports_prefix",
    "wal_file_prefix",
    "wal_key",
    "wal_prefix",
]

WAL_ROOM = "wal"
CLUSTER_FILE = "cluster.json"
DEFAULT_VOLUME_BYTES = 64 * 1024**3
"""Of one object of an artifact: below what S3 takes in 10,000 parts of 8 MiB, so that one layout fits every store."""

KINDS = ("database", "globals", "base", "files", "objects", "redis", "search", "keys")

_BACKUP_ID = re.compile(r"^(\d{8}T\d{6}Z)-[0-9a-f]{8}$")
_REPORT_FILE = re.compile(r"^(\d{8}T\d{6}Z)-(no-backup|\d{8}T\d{6}Z-[0-9a-f]{8})\.json$")
_WAL_FILE = re.compile(r"^([0-9A-F]{8}[0-9A-F.a-z]{0,56})-([0-9a-f]{64})((?:\.[a-z]+)*)$")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, order=True)
class BackupRef:
    """Which backup: system, kind, name and id. Orders by time within one system, kind and name."""

    system: str
    kind: str
    name: str
    backup_id: str


def encode_name(name: str) -> str:
    """A name as one safe path component, reversibly: percent-encoding (RFC 3986), a leading dot or dash too.

    >>> encode_name('my "shop"/ü')
    'my%20%22shop%22%2F%C3%BC'
    >>> encode_name("..")
    '%2E.'
    """
    if not name:
        raise ConfigurationError("a name is empty", next_step="Give the system and every asset a name.")
    encoded = quote(name, safe="")
    if encoded[0] in ".-~":
        encoded = f"%{ord(encoded[0]):02X}" + encoded[1:]
    return encoded


def decode_name(component: str) -> str:
    """The inverse of `encode_name`."""
    return unquote(component, errors="strict")


def new_backup_id(now: dt.datetime) -> str:
    """A UTC stamp plus eight random hexadecimal digits: sorts by time, does not collide."""
    return f"{_stamp(now)}-{secrets.token_hex(4)}"


def moment_of(backup_id: str) -> dt.datetime:
    """The moment in a backup id (UTC, whole seconds); raises `UnsafeName` for anything that is not an id."""
    match = _BACKUP_ID.match(backup_id)
    if match is None:
        raise UnsafeName(f"{backup_id!r} is not a backup id", next_step="An id looks like 20261121T031500Z-1a2b3c4d.")
    return dt.datetime.strptime(match.group(1), _STAMP).replace(tzinfo=dt.timezone.utc)


def _stamp(moment: dt.datetime) -> str:
    return moment.astimezone(dt.timezone.utc).strftime(_STAMP)


def backup_prefix(ref: BackupRef) -> str:
    """The prefix under which a backup's artifacts lie; ends with `/`."""
    moment_of(ref.backup_id)
    return f"{encode_name(ref.system)}/{ref.kind}/{encode_name(ref.name)}/{ref.backup_id}/"


def artifact_key(ref: BackupRef, artifact: str) -> str:
    """The key of one artifact (or volume) of a backup."""
    return backup_prefix(ref) + encode_name(artifact)


def manifests_prefix(system: str, kind: str | None = None, name: str | None = None) -> str:
    """The prefix of the manifests of a system, narrowed to a kind and a name; ends with `/`."""
    return _narrowed(system, "manifests", kind, name)


def _narrowed(system: str, room: str, kind: str | None, name: str | None) -> str:
    prefix = f"{encode_name(system)}/{room}/"
    if kind is not None:
        prefix += f"{kind}/"
        if name is not None:
            prefix += f"{encode_name(name)}/"
    return prefix


def manifest_key(ref: BackupRef) -> str:
    """The key of a backup's manifest, its commit marker."""
    moment_of(ref.backup_id)
    return f"{manifests_prefix(ref.system, ref.kind, ref.name)}{ref.backup_id}.json"


def parse_manifest_key(key: str) -> BackupRef | None:
    """The backup that a manifest's key speaks of, or None for a key of any other shape."""
    parts = key.split("/")
    if len(parts) != 5 or parts[1] != "manifests" or parts[2] not in KINDS or not parts[4].endswith(".json"):
        return None
    backup_id = parts[4][: -len(".json")]
    if _BACKUP_ID.match(backup_id) is None:
        return None
    return _decoded(parts, backup_id)


def reports_prefix(system: str, kind: str | None = None, name: str | None = None) -> str:
    """The prefix of the drill reports of a system, narrowed to a kind and a name; ends with `/`."""
    return _narrowed(system, "reports", kind, name)


def retired_prefix(system: str, kind: str, name: str) -> str:
    """The prefix of the lists of backups that retention took from a repository; ends with `/`."""
    return _narrowed(system, "retired", kind, name)


def report_key(ref: BackupRef, started_at: dt.datetime, upgrade: bool = False) -> str:
    """The key of a drill's report; `ref.backup_id` is empty when the drill found no backup. `upgrade`: on another major version."""
    backup_id = ref.backup_id or "no-backup"
    if ref.backup_id:
        moment_of(ref.backup_id)
    prefix = _narrowed(ref.system, "upgrades" if upgrade else "reports", ref.kind, ref.name)
    return f"{prefix}{_stamp(started_at)}-{backup_id}.json"


def parse_report_key(key: str) -> tuple[BackupRef, dt.datetime] | None:
    """The backup that a report's key speaks of and when the drill began (UTC), or None for a key of any other shape."""
    parts = key.split("/")
    match = _REPORT_FILE.match(parts[-1])
    if len(parts) != 5 or parts[1] != "reports" or parts[2] not in KINDS or match is None:
        return None
    started_at = dt.datetime.strptime(match.group(1), _STAMP).replace(tzinfo=dt.timezone.utc)
    backup_id = "" if match.group(2) == "no-backup" else match.group(2)
    ref = _decoded(parts, backup_id)
    return None if ref is None else (ref, started_at)


def _decoded(parts: list[str], backup_id: str) -> BackupRef | None:
    """The backup of a key's components; None when a stranger's key has names that no encoder of ours wrote."""
    try:
        return BackupRef(decode_name(parts[0]), parts[2], decode_name(parts[3]), backup_id)
    except UnicodeDecodeError:
        return None


def check_key(key: str) -> str:
    """The key itself when it is safe in every kind of repository; raises `UnsafeName`.

    Refused: empty, absolute, empty components, `.` and `..`, control characters and backslashes, over 900 bytes.
    """
    components = key.split("/")
    if not key or len(key.encode()) > 900 or any(component in ("", ".", "..") for component in components) or _UNSAFE.search(key):
        raise UnsafeName(f"{key!r} is not a safe key", next_step="Nothing was read or written.")
    return key


def wal_prefix(system: str, timeline: int | None = None) -> str:
    """The prefix of a system's WAL archive, narrowed to a timeline; ends with `/`."""
    prefix = f"{encode_name(system)}/{WAL_ROOM}/"
    return prefix if timeline is None else f"{prefix}{timeline:08X}/"


def wal_key(system: str, name: str, sha256: str, suffix: str) -> str:
    """The key of a WAL file: its name, the SHA-256 of its plain content, and how it was compressed and sealed (`.zst.age`)."""
    return f"{wal_file_prefix(system, name)}{sha256}{suffix}"


def wal_file_prefix(system: str, name: str) -> str:
    """How every key of a WAL file of this name begins, whatever its content; ends with `-`."""
    return f"{wal_prefix(system)}{name[:8]}/{name}-"


def cluster_key(system: str) -> str:
    """The key of the document that says whose WAL this is: one archive, one cluster."""
    return f"{wal_prefix(system)}{CLUSTER_FILE}"


def parse_wal_key(key: str) -> tuple[str, str, str] | None:
    """The file's name, the digest of its plain content and the suffix of a WAL file's key; None for a key of any other shape."""
    parts = key.split("/")
    match = _WAL_FILE.fullmatch(parts[-1])
    if len(parts) != 4 or parts[1] != WAL_ROOM or match is None or parts[2] != match.group(1)[:8]:
        return None
    return match.group(1), match.group(2), match.group(3)
