# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies sealed beside a protected key: whence it came, how its files were owned, and how its fingerprint is computed. Pure.

The same artifact role as production's evidence beside a dump; docs/format.md#protected-keys.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import strict
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError

__all__ = ["FileFacts", "KeyDocument", "packed_files", "unpacked_files"]

SCHEMA = 1


@dataclass(frozen=True)
class FileFacts:
    """One file, so that it can be put back as it was; `name` is "" for one value or file alone. `mode` is octal, as chmod takes it."""

    name: str
    mode: str
    owner: str
    group: str
    size_bytes: int


@dataclass(frozen=True)
class KeyDocument:
    """`origin` says in words where the key lay; `salt` is that of `fingerprint`, in hexadecimal, and a secret."""

    taken_at: dt.datetime
    origin: str
    variable: str
    fingerprint: str
    salt: str = dataclasses.field(repr=False)
    files: tuple[FileFacts, ...]

    def to_bytes(self) -> bytes:
        document: dict[str, Any] = {**dataclasses.asdict(self), "schema": SCHEMA, "taken_at": strict.format_moment(self.taken_at)}
        return json.dumps(document, sort_keys=True, indent=2).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> KeyDocument:
        """Read it strictly; raises `IntegrityError` that never shows a value."""
        try:
            document = json.loads(data)
            if not isinstance(document, dict) or document.pop("schema", None) != SCHEMA:
                raise ValueError("another schema")
            return strict.fields(cls, document, _READERS)
        except ValueError:
            raise IntegrityError("what lies beside the key is not its description", where, "Use another repository's copy.") from None


_FILE = strict.nested(FileFacts, {"size_bytes": strict.count})
_READERS: Mapping[str, strict.Reader] = {"taken_at": strict.moment, "files": strict.tuple_of(_FILE)}


def packed_files(files: Sequence[tuple[str, bytes]]) -> bytes:
    """Several files as a tar: by name, owned by nobody, of no time, so that the same files give the same bytes. Secret."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape") as tar:
        for name, data in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o600
            tar.addfile(entry, io.BytesIO(data))
    return target.getvalue()


def unpacked_files(data: bytes, where: str) -> list[tuple[str, bytes]]:
    """The files of such a tar, in its order. Secret. Raises `IntegrityError` for anything that `packed_files` would not write."""
    files: list[tuple[str, bytes]] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
            for entry in tar:
                parts = entry.name.split("/")
                stream = tar.extractfile(entry) if entry.isreg() else None
                if stream is None or entry.name.startswith("/") or any(part in ("", ".", "..") for part in parts):
                    raise IntegrityError("the tar of keys holds something that is no plain file inside it", where)
                files.append((entry.name, stream.read()))
    except tarfile.TarError:
        raise IntegrityError("the tar of keys cannot be read", where, "Use another repository's copy.") from None
    return files
