# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A manifest as it was read from a repository: what a list says of it at hand, the rest packed. Pure.

A list of ten thousand backups needs a few fields of each. So a manifest is read strictly once, when it comes from a
repository; what is kept is a summary and the very bytes, compressed, from which the whole one is made when it is asked for.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from typing import NamedTuple, Union

from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

__all__ = ["LIMIT_BYTES", "StoredManifest", "Summary"]

LIMIT_BYTES = 4 * 1024 * 1024
"""No manifest is larger; what is, is none."""


class Summary(NamedTuple):
    """What a list says of a backup. Moments are texts as in the manifest; `sha256` is of the bytes that were read."""

    sha256: str
    snapshot_at: str
    finished_at: str
    size_bytes: int
    server_version: str
    signed: bool
    encryption: str
    parent: str
    digested: str
    repositories: Mapping[str, str]


class StoredManifest:
    """A summary, and the packed bytes it was made from."""

    __slots__ = ("packed", "summary")

    def __init__(self, summary: Summary, packed: Union[bytes, memoryview]) -> None:
        self.summary = summary
        self.packed = packed

    @classmethod
    def of(cls, manifest: Manifest, document: bytes) -> StoredManifest:
        """`manifest` is what `document` was read as."""
        summary = Summary(
            hashlib.sha256(document).hexdigest(),
            format_moment(manifest.snapshot_at),
            format_moment(manifest.finished_at),
            manifest.size_bytes,
            manifest.server_version,
            bool(manifest.signature),
            manifest.encryption,
            manifest.parent,
            manifest.digested,
            manifest.repositories,
        )
        return cls(summary, zlib.compress(document, 1))

    def document(self) -> bytes:
        """The bytes as they were read; raises `ValueError` when what was packed is damaged."""
        unpacking = zlib.decompressobj()
        try:
            document = unpacking.decompress(self.packed, LIMIT_BYTES + 1)
        except zlib.error as error:
            raise ValueError(f"packed bytes are damaged: {error}") from None
        if hashlib.sha256(document).hexdigest() != self.summary.sha256:
            raise ValueError("packed bytes are not those that were read")
        return document

    def manifest(self) -> Manifest:
        """The whole manifest; raises `ValueError` as `document` does, `ManifestError`."""
        return Manifest.from_bytes(self.document())
