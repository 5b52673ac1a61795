# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A WAL file on its way into an archive: read once, looked at, digested, compressed and sealed.

Up to `IN_MEMORY_BYTES` all of it happens in memory: 16 MB pass the libraries in less time than three programs start.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils import compress
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, IntegrityError
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import CHUNK_BYTES, Pipeline
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import Sealer
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.header import HEADER_BYTES, WalHeader, check_header, read_header
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.history import read_history
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import BACKUP, HISTORY, WalName

__all__ = ["IN_MEMORY_BYTES", "PlainWal", "SealedWal", "read_wal", "seal", "seal_file", "suffix_of"]

IN_MEMORY_BYTES = 64 * 1024 * 1024
_TEXT_BYTES = 1024 * 1024
"""More than this is neither a history nor a backup's label, which are a few lines."""


@dataclass(frozen=True)
class PlainWal:
    """A file as the server wrote it. `data` is None when it is larger than what is held in memory; `header` is None for a text."""

    name: WalName
    path: Path
    sha256: str
    plain_bytes: int
    header: WalHeader | None
    data: bytes | None


@dataclass(frozen=True)
class SealedWal:
    """A file as archives get it. `data` is None for one that is compressed and sealed anew for each reader of `chunks`."""

    name: WalName
    sha256: str
    suffix: str
    plain_bytes: int
    data: bytes | None
    source: Callable[[], Iterator[bytes]]

    def chunks(self) -> Iterator[bytes]:
        """The sealed bytes; ends only when they were made of the content whose digest is `sha256`."""
        return self.source()


def suffix_of(sealer: Sealer) -> str:
    """How an archived file's key ends."""
    return compress.SUFFIX + sealer.suffix


def read_wal(path: str | os.PathLike[str]) -> PlainWal:
    """Read a file that the archiver hands over, and see that it is what its name says.

    Raises `UnsafeName` for another kind of name, `ArchiveError` for a content that cannot be that name's, or for a file
    that cannot be read.
    """
    name = WalName.parse(os.path.basename(os.fspath(path)))
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ArchiveError(f"{name.text} is not a regular file", str(path))
            size_bytes = status.st_size
            data = None if size_bytes > IN_MEMORY_BYTES else stream.readall()
            head = stream.read(HEADER_BYTES) if data is None else data[:HEADER_BYTES]
            header = _look(name, head, data, size_bytes)
            if data is not None:
                digest.update(data)
                read_bytes = len(data)
            else:
                digest.update(head or b"")
                read_bytes = len(head or b"")
                while chunk := stream.read(CHUNK_BYTES):
                    digest.update(chunk)
                    read_bytes += len(chunk)
    except OSError as error:
        raise ArchiveError(f"{name.text} cannot be read: {error.strerror}", str(path)) from None
    if read_bytes != size_bytes:
        raise ArchiveError(f"{name.text} changed while it was read: {size_bytes} bytes, then {read_bytes}", str(path))
    return PlainWal(name, Path(path), digest.hexdigest(), size_bytes, header, data)


def seal(plain: PlainWal, sealer: Sealer, level: int = 3) -> SealedWal:
    """The file compressed and sealed; one that is not held in memory is only prepared for it."""
    facts = plain.name, plain.sha256, suffix_of(sealer), plain.plain_bytes
    if plain.data is not None:
        sealed = sealer.seal(compress.packed(plain.data, level))
        return SealedWal(*facts, sealed, lambda: iter((sealed,)))
    return SealedWal(*facts, None, lambda: _streamed(plain, sealer, level))


def seal_file(path: str | os.PathLike[str], sealer: Sealer, level: int = 3) -> SealedWal:
    """Read and seal in one; raises as `read_wal` does."""
    return seal(read_wal(path), sealer, level)


def _look(name: WalName, head: bytes | None, data: bytes | None, size_bytes: int) -> WalHeader | None:
    if name.kind not in (BACKUP, HISTORY):
        header = read_header(head or b"")
        check_header(name, header, size_bytes)
        return header
    if data is None or size_bytes > _TEXT_BYTES:
        raise ArchiveError(f"{name.text} has {size_bytes} bytes; it should be a few lines")
    text = data.decode("utf-8", errors="replace")
    if name.kind == HISTORY:
        try:
            steps = read_history(text, name.timeline)
        except IntegrityError as error:
            raise ArchiveError(error.what, "", "Look at pg_wal before anything there is removed.") from None
        if not steps:
            raise ArchiveError(f"{name.text} does not say where its timeline came from", "", "It was cut: look at pg_wal.")
    elif not text.startswith("START WAL LOCATION: "):
        raise ArchiveError(f"{name.text} is not a backup's label: it begins with {text[:40]!r}")
    return None


def _streamed(plain: PlainWal, sealer: Sealer, level: int) -> Iterator[bytes]:
    digest = hashlib.sha256()

    def read() -> Iterator[bytes]:
        with open(plain.path, "rb", buffering=0) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
                yield chunk

    with Pipeline([compress.compressor(level), sealer.stage()], read()) as pipeline:
        yield from pipeline
    if digest.hexdigest() != plain.sha256:
        raise ArchiveError(f"{plain.name.text} changed while it was read", str(plain.path))
