# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a repository to plain bytes: volumes in order, each checked by size and SHA-256, opened, decompressed.

Nothing of an artifact is used before all of it was seen to be what the manifest says. The identity is read where it
lies; no copy of it, and no sealed copy of the artifact, is made.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ansible_collections.lifeboat.postgres.plugins.module_utils import compress, layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.offsets import Offsets
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.reserve import reserve
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.unpack import Unpacker
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    IntegrityError,
    ManifestError,
    ObjectMissing,
    PipelineError,
    SealError,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.frames import Follower, opening
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Artifact, Manifest, Volume
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import CHUNK_BYTES, Pipeline, run_through
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import Opener

__all__ = ["DUMP_HEADER", "Fetcher"]

DUMP_HEADER = b"PGDMP"
HEADERS = {"custom": DUMP_HEADER, "plain": b"--\n--"}
"""How an opened dump begins that is one file."""
EVIDENCE_LIMIT_BYTES = 512 * 1024 * 1024


class Fetcher:
    """Fetches and opens the artifacts of one backup from one repository."""

    def __init__(self, repository: Repository, manifest: Manifest, opener: Opener) -> None:
        if manifest.compression != compress.METHOD:
            raise ManifestError(f"it is compressed with {manifest.compression!r}, which this version cannot read", manifest.backup_id)
        self._repository = repository
        self._manifest = manifest
        self._opener = opener

    def check_identity(self) -> None:
        """Whether the identity opens this backup, from its first bytes; raises `WrongIdentity`, `DamagedSeal`.

        The evidence is asked where there is one: it is small, and damage to it can be told from a wrong identity at once.
        """
        artifact = self._manifest.artifact(next((role for role in ("evidence", "dump", "backup_manifest") if self.has(role)), "base"))
        with self._open(artifact, artifact.volumes[0]) as stream:
            head = stream.read(self._opener.head_bytes)
        with self._damage_named(artifact):
            self._opener.check(head)

    def check_instructions(self) -> None:
        """What people are told to read and to run on the worst of days is what was written; raises `IntegrityError`.

        Nothing of it is sealed, so whoever can write to the repository could put a program of theirs there.
        """
        for artifact in self._manifest.artifacts:
            if artifact.role == "instructions":
                for _chunk in self._sealed(artifact):
                    pass

    def has(self, role: str) -> bool:
        """Whether the backup has an artifact of this role."""
        return any(artifact.role == role for artifact in self._manifest.artifacts)

    def evidence(self, artifact: Artifact | None = None) -> bytes:
        """The opened evidence, of several this one; raises as `dump` does."""
        parts: list[bytes] = []
        size_bytes = 0

        def keep(chunk: bytes) -> None:
            nonlocal size_bytes
            size_bytes += len(chunk)
            if size_bytes > EVIDENCE_LIMIT_BYTES:
                raise IntegrityError(f"the evidence is larger than {EVIDENCE_LIMIT_BYTES} bytes", self._where)
            parts.append(chunk)

        self._fetch(artifact or self._manifest.artifact("evidence"), keep)
        return b"".join(parts)

    def dump(self, path: Path, group: int | None = None) -> int:
        """Write the opened dump to `path`, a seekable file that the `group` may read; return its bytes. Its table of contents is
        completed there (offsets.py), so that workers of a parallel restore find their rows.

        Raises `IntegrityError` for what differs from the manifest, `SealError`, `RepositoryError`, and `PipelineError`
        when the file cannot be written. On an error there is no file of that name.
        """
        partial = path.with_name(f".{path.name}.part")
        header = HEADERS.get(self._manifest.format, DUMP_HEADER)
        try:
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb", buffering=0) as file:
                written = _Written(file.fileno(), self._manifest.plain_bytes, len(header), path)
                self.pour(self._manifest.artifact("dump"), written)
                if written.head != header or written.size_bytes != self._manifest.plain_bytes:
                    raise IntegrityError(
                        f"the opened dump is not what was taken: {written.size_bytes} bytes beginning with {written.head!r},"
                        f" the manifest says {self._manifest.plain_bytes} bytes",
                        self._where,
                    )
                written.offsets.enter(file.fileno())
                if group is not None:
                    os.fchown(file.fileno(), -1, group)
                    os.fchmod(file.fileno(), 0o640)
            partial.rename(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                partial.unlink()
            raise
        return written.size_bytes

    def database(self, directory: Path, group: int | None = None) -> Path:
        """Bring the opened dump into `directory`, in whichever format it is; return what pg_restore is to be given."""
        if self._manifest.format == "directory":
            path = directory / "database"
            self.unpack(path, group)
        else:
            path = directory / "database.dump"
            self.dump(path, group)
        return path

    def unpack(self, path: Path, group: int | None = None) -> int:
        """Write the opened directory dump to `path`, which the `group` may read; return the bytes of its files.

        Raises as `dump` does. On an error there is no directory of that name.
        """
        partial = path.with_name(f".{path.name}.part")
        partial.mkdir(mode=0o700)
        try:
            unpacker = Unpacker(partial, self._manifest.plain_bytes, self._where, group)
            try:
                self.pour(self._manifest.artifact("dump"), unpacker)
            finally:
                unpacker.discard()
            if unpacker.size_bytes != self._manifest.plain_bytes:
                raise IntegrityError(
                    f"the opened dump is not what was taken: {unpacker.size_bytes} bytes,"
                    f" the manifest says {self._manifest.plain_bytes} bytes",
                    self._where,
                )
            if group is not None:
                os.chown(partial, -1, group)
                partial.chmod(0o750)
            partial.rename(path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return unpacker.size_bytes

    @property
    def _where(self) -> str:
        return f"backup {self._manifest.backup_id} in repository {self._repository.name!r}"

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def into(self, artifact: Artifact, sink: Callable[[bytes], None]) -> None:
        """Give the opened bytes of an artifact to `sink`, piece by piece; raises as `dump` does. Nothing counts before it returns."""
        self._fetch(artifact, sink)

    def pour(self, artifact: Artifact, follower: Follower) -> None:
        """Give the opened bytes of a large artifact to `follower`, in pieces of any size; raises as `dump` does."""
        with self._damage_named(artifact), Pipeline([self._opener.stage(), *opening(follower)], self._sealed(artifact)) as pipeline:
            pipeline.finish()

    def _fetch(self, artifact: Artifact, sink: Callable[[bytes], None]) -> None:
        with self._damage_named(artifact):
            run_through([self._opener.stage(), compress.decompressor()], self._sealed(artifact), sink)

    @contextlib.contextmanager
    def _damage_named(self, artifact: Artifact) -> Iterator[None]:
        """When the seal does not open: raise `IntegrityError` that names the volume which is not what the manifest says.

        The seal breaks at the first altered byte, long before a volume's digest is known, and an altered header looks
        like a wrong identity; so the artifact is read again, to its end. What is whole raises the seal's own error.
        """
        try:
            yield
        except (SealError, IntegrityError):
            for _chunk in self._sealed(artifact):
                pass
            raise

    def _sealed(self, artifact: Artifact) -> Iterator[bytes]:
        """The artifact's stored bytes; ends only when every volume and the whole are what the manifest says."""
        digest = hashlib.sha256()
        whole = hashlib.sha256() if len(artifact.volumes) > 1 else None  # of one volume, its own digest is that of the whole
        for volume in artifact.volumes:
            digest, size_bytes = hashlib.sha256(), 0
            with self._open(artifact, volume) as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    size_bytes += len(chunk)
                    digest.update(chunk)
                    if whole is not None:
                        whole.update(chunk)
                    if size_bytes > volume.size_bytes:
                        break
                    yield chunk
            if size_bytes != volume.size_bytes:
                found = f"more than {volume.size_bytes}" if size_bytes > volume.size_bytes else str(size_bytes)
                raise self._altered(f"{volume.name} has {found} bytes, the manifest says {volume.size_bytes}")
            if digest.hexdigest() != volume.sha256:
                raise self._altered(f"{volume.name} has another SHA-256 digest than the manifest says")
        if (whole or digest).hexdigest() != artifact.sha256:
            raise self._altered(f"{artifact.name} has another SHA-256 digest than the manifest says, though its volumes have theirs")

    @contextlib.contextmanager
    def _open(self, artifact: Artifact, volume: Volume) -> Iterator[BinaryIO]:
        try:
            stream = self._repository.open(layout.artifact_key(self._manifest.ref, volume.name))
        except ObjectMissing:
            raise self._altered(f"{volume.name} is missing, one of {len(artifact.volumes)} volumes of {artifact.name}") from None
        with stream:
            yield stream

    def _altered(self, what: str) -> IntegrityError:
        return IntegrityError(what, self._where, "Drill another repository's copy, and copy it from there.")


class _Written:
    """Follows a stream into a file that is to have `expected_bytes`: what is more is counted, and not kept. `head` is its beginning."""

    def __init__(self, descriptor: int, expected_bytes: int, head_bytes: int, path: Path) -> None:
        self.size_bytes = 0
        self.head = b""
        self.offsets = Offsets()
        self._descriptor = descriptor
        self._expected_bytes = expected_bytes
        self._head_bytes = head_bytes
        self._path = path
        with self._faults():
            reserve(descriptor, expected_bytes)

    def feed(self, data: memoryview) -> None:
        if len(self.head) < self._head_bytes:
            self.head += bytes(data[: self._head_bytes - len(self.head)])
        kept = data[: max(0, self._expected_bytes - self.size_bytes)]
        self.size_bytes += len(data)
        self.offsets.feed(kept)
        with self._faults():
            while kept:
                kept = kept[os.write(self._descriptor, kept) :]

    def finish(self) -> None:
        """Whether it is what was expected is seen by `size_bytes` and `head`."""

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PipelineError(f"the opened dump cannot be written: {error.strerror}", str(self._path)) from None
