# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Breaking a WAL archive for real, in a copy of it: files at rest, and (sealed and named as if nothing were wrong) what is in them."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

from support.damage import sealed_for
from support.logical import Identity
from support.wal import Place

__all__ = ["alter", "edit_cluster", "file_of", "flipped", "only_partial", "replace", "with_foreign_owner"]

_SYSTEM_IDENTIFIER_AT = 24  # XLogLongPageHeaderData


def file_of(place: Place, name: str) -> Path:
    """The one file of this name."""
    (path,) = place.files()[name]
    return path


def replace(place: Place, name: str, plain: bytes, recipient: str, beside: bool = False) -> None:
    """Another content under this name, with the digest that it has, in the old one's place or `beside` it."""
    old = file_of(place, name)
    new = old.with_name(f"{name}-{hashlib.sha256(plain).hexdigest()}.zst.age")
    new.write_bytes(sealed_for(recipient, plain))
    if not beside:
        old.unlink()


def alter(place: Place, name: str, identity: Identity, change: Callable[[bytes], bytes]) -> None:
    """What is in it, changed before it was archived."""
    replace(place, name, change(place.opened(name, identity)), identity.recipient)


def flipped(plain: bytes, at: int = 120) -> bytes:
    """One bit, by default in one of the first records of a segment."""
    data = bytearray(plain)
    data[at] ^= 1
    return bytes(data)


def with_foreign_owner(plain: bytes) -> bytes:
    """The same segment, of a cluster with another system identifier."""
    (mine,) = struct.unpack_from("<Q", plain, _SYSTEM_IDENTIFIER_AT)
    data = bytearray(plain)
    struct.pack_into("<Q", data, _SYSTEM_IDENTIFIER_AT, mine + 1)
    return bytes(data)


def only_partial(place: Place, name: str) -> None:
    """The segment lies there as the unfinished last one of a timeline that was left."""
    old = file_of(place, name)
    old.rename(old.with_name(old.name.replace(name, f"{name}.partial", 1)))


def edit_cluster(place: Place, **changes: object) -> None:
    """What the archive says of whose it is."""
    path = place.root / place.system / "wal" / "cluster.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
