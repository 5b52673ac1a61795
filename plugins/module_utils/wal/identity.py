# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose WAL it is: one archive belongs to one cluster, and says so in a document that is written once."""

from __future__ import annotations

import dataclasses
import json
import struct
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils import strict
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, UnsafeName
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.header import HEADER_BYTES, WalHeader, read_header
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import SEGMENT, WalName, check_segment_bytes

__all__ = ["ClusterIdentity", "control_identifier", "identity_beside", "identity_from"]

SCHEMA = 1


@dataclass(frozen=True)
class ClusterIdentity:
    """A cluster as its WAL tells of it. `server_version_num` is that of its major version (180000)."""

    system_identifier: str
    server_version_num: int
    segment_bytes: int

    def to_bytes(self) -> bytes:
        return json.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, sort_keys=True, indent=2).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> ClusterIdentity:
        """Read strictly; raises `ArchiveError`."""
        try:
            document = json.loads(data)
            if not isinstance(document, dict) or document.pop("schema", None) != SCHEMA:
                raise ValueError(f"its schema is not {SCHEMA}")
            return strict.fields(
                cls, document, {"server_version_num": strict.count, "segment_bytes": lambda value: check_segment_bytes(strict.count(value))}
            )
        except (ValueError, RecursionError) as error:
            raise ArchiveError(
                f"what says whose archive this is cannot be read: {error}", where, "It was altered: look who can write there."
            ) from None

    def __str__(self) -> str:
        return f"{self.system_identifier} (PostgreSQL {self.server_version_num // 10000})"


def identity_from(header: WalHeader, data_dir: Path | None) -> ClusterIdentity:
    """The cluster of a segment. A format newer than those known here is asked of the data directory's PG_VERSION."""
    major = header.major
    if not major and data_dir is not None:
        try:
            major = int((data_dir / "PG_VERSION").read_text(encoding="ascii").strip())
        except (OSError, ValueError):
            major = 0
    if not major:
        raise ArchiveError("the WAL is of a PostgreSQL newer than those known here", "", "Use a newer lifeboat.postgres, or set data_dir.")
    return ClusterIdentity(header.system_identifier, major * 10000, header.segment_bytes)


def identity_beside(path: Path, data_dir: Path | None) -> ClusterIdentity | None:
    """For a file that does not say it itself (a history, a backup's label): the cluster of the segments beside it.

    None when none lies there that belongs to the server whose data directory this is.
    """
    for sibling in sorted(path.parent.iterdir()):
        try:
            if WalName.parse(sibling.name).kind != SEGMENT:
                continue
            with open(sibling, "rb") as stream:
                identity = identity_from(read_header(stream.read(HEADER_BYTES)), data_dir)
        except (UnsafeName, ArchiveError, OSError):
            continue  # one that was made ahead and not written yet, or is being recycled at this moment
        control = control_identifier(data_dir)
        if control in ("", identity.system_identifier):
            return identity
    return None


def control_identifier(data_dir: Path | None) -> str:
    """The system identifier that pg_control begins with, or "" where there is none (src/include/catalog/pg_control.h)."""
    if data_dir is None:
        return ""
    try:
        with open(data_dir / "global" / "pg_control", "rb") as stream:
            return str(struct.unpack("=Q", stream.read(8))[0])
    except (OSError, struct.error):
        return ""
