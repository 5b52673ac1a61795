# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From streams of sealed bytes to a backup that exists: the commit protocol (docs/format.md#commit).

1. Artifacts flow to every repository at once and are confirmed there, unpublished: no reader sees them.
2. Artifacts are published. A repository that failed or stood still until now gets its copy from a healthy one.
3. The instructions (`RESTORE.md`, `restore.sh`) are written.
4. The manifest is written. Only now the backup exists.

A fault or a kill before 4 leaves remains that no reader takes for a backup (law 1). Used for every kind of asset.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.feed import Feed, copy_object, healthy
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ObjectMissing, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import DEFAULT_VOLUME_BYTES, BackupRef, artifact_key, manifest_key
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Artifact, Manifest, Volume
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.patience import within

__all__ = ["BackupWriter", "Delivery"]


@dataclass(frozen=True)
class Delivery:
    """What became of a backup in one repository.

    `problem` is "" when the backup is complete there; `copied_because` says why it got its copy afterwards, "" when it
    took part in the stream to its end.
    """

    repository: str
    problem: str
    copied_because: str
    size_bytes: int
    seconds: float

    @property
    def bytes_per_second(self) -> float:
        return self.size_bytes / self.seconds if self.seconds else 0.0


class BackupWriter:
    """Writes one backup into several repositories. Use as a context manager: leaving it without `commit` aborts.

    `stall_timeout_seconds` is how long one repository may make no progress. Raises `RepositoryError` when no repository
    is left; what happened to the single ones is in `deliveries` after `commit`.
    """

    def __init__(
        self,
        ref: BackupRef,
        repositories: Sequence[Repository],
        stall_timeout_seconds: float,
        volume_bytes: int = DEFAULT_VOLUME_BYTES,
        progress: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.ref = ref
        self.deliveries: list[Delivery] = []
        self._artifacts: list[Artifact] = []
        self._stall_timeout = stall_timeout_seconds
        # One layout for all repositories: the one that takes the smallest objects decides.
        limits = (repository.max_object_bytes for repository in repositories)
        self._volume_bytes = min([volume_bytes, *(limit for limit in limits if limit is not None)])
        self._progress = progress
        self._started = time.monotonic()
        self._feeds = [Feed(repository, stall_timeout_seconds) for repository in repositories]
        self._copied: dict[str, str] = {}
        self._dropped: set[str] = set()

    def __enter__(self) -> BackupWriter:
        return self

    def __exit__(self, *_error: object) -> None:
        for feed in self._feeds:
            feed.drop()
            feed.close()

    def store(self, name: str, role: str, chunks: Iterable[bytes]) -> Artifact:
        """Send one artifact to all repositories; return once every healthy one has confirmed it. Not yet visible."""
        volumes: list[_OpenVolume] = []
        whole = None
        for chunk in chunks:
            view = memoryview(chunk)
            while view:
                if not volumes or volumes[-1].size_bytes == self._volume_bytes:
                    self._end_volume(volumes)
                    # The digest of the first volume is the one of the whole for as long as there is no second.
                    whole = whole or (volumes[0].digest.copy() if volumes else None)
                    volumes.append(self._begin_volume(name, len(volumes)))
                room = self._volume_bytes - volumes[-1].size_bytes
                part = chunk if len(view) == len(chunk) <= room else bytes(view[:room])
                view = view[len(part) :]
                if whole is not None:
                    whole.update(part)
                volumes[-1].take(part)
                for feed in self._healthy():
                    feed.write(part)
        if not volumes:
            volumes.append(self._begin_volume(name, 0))
        self._end_volume(volumes)
        for feed in self._healthy():
            feed.settle()
        self._healthy()
        artifact = Artifact(
            name,
            role,
            sum(volume.size_bytes for volume in volumes),
            (whole or volumes[0].digest).hexdigest(),
            tuple(Volume(volume.name, volume.size_bytes, volume.digest.hexdigest()) for volume in volumes),
        )
        self._artifacts.append(artifact)
        return artifact

    def commit(
        self,
        instructions: Callable[[Sequence[Artifact]], Mapping[str, bytes]],
        manifest: Callable[[Sequence[Artifact], Mapping[str, str]], Manifest],
    ) -> Manifest:
        """Publish, copy to who fell behind, write instructions and manifest; return the manifest.

        `instructions` makes the files of role `instructions` from the artifacts; `manifest` makes the signed manifest
        from all artifacts and each repository's problem. Raises `RepositoryError` when no repository holds the backup.
        """
        for feed in self._healthy():
            feed.publish()
        self._healthy()
        self._catch_up()
        files = instructions(tuple(self._artifacts))
        for name, data in files.items():
            digest = hashlib.sha256(data).hexdigest()
            self._artifacts.append(Artifact(name, "instructions", len(data), digest, (Volume(name, len(data), digest),)))
            self._put_everywhere(artifact_key(self.ref, name), data, f"writing {name}")
        problems = {feed.repository.name: self._problem(feed) for feed in self._feeds}
        document = manifest(tuple(self._artifacts), problems)
        self._put_everywhere(manifest_key(self.ref), document.to_bytes(), "writing the manifest")
        seconds = time.monotonic() - self._started
        self.deliveries = [
            Delivery(
                feed.repository.name,
                self._problem(feed),
                self._copied.get(feed.repository.name, ""),
                document.size_bytes,
                seconds,
            )
            for feed in self._feeds
        ]
        return document

    def _begin_volume(self, name: str, number: int) -> _OpenVolume:
        # How many volumes there will be is not known yet: the first one bears the artifact's own name.
        volume = _OpenVolume(name if number == 0 else f"{name}.{number:03d}")
        for feed in self._healthy():
            feed.begin(artifact_key(self.ref, volume.name))
        return volume

    def _end_volume(self, volumes: Sequence[_OpenVolume]) -> None:
        if volumes:
            for feed in self._healthy():
                feed.end()

    def _healthy(self) -> list[Feed]:
        """The feeds without a fault; says once when one drops out, raises when none is left."""
        for feed in self._feeds:
            if feed.fault is not None and feed.repository.name not in self._dropped:
                self._dropped.add(feed.repository.name)
                feed.drop()
                self._progress(f"repository {feed.repository.name!r} dropped from the stream: {feed.fault}")
        alive = healthy(self._feeds)
        if not alive:
            raise self._all_failed()
        return alive

    def _catch_up(self) -> None:
        """Copy the published artifacts from a healthy repository to each that was dropped; sealed bytes as they are."""
        sources = healthy(self._feeds)
        for feed in self._feeds:
            if feed.fault is None:
                continue
            for source in sources:
                try:
                    self._copy_all(source.repository, feed.repository)
                except RepositoryError as error:
                    self._progress(f"copying from {source.repository.name!r} to {feed.repository.name!r} failed: {error}")
                else:
                    self._progress(f"repository {feed.repository.name!r} got its copy from {source.repository.name!r}")
                    self._copied[feed.repository.name] = str(feed.fault)
                    self._dropped.discard(feed.repository.name)
                    feed.fault = None
                    break

    def _copy_all(self, source: Repository, target: Repository) -> None:
        for artifact in self._artifacts:
            for volume in artifact.volumes:
                key = artifact_key(self.ref, volume.name)
                there = within(self._stall_timeout, lambda key=key: target.stat(key), target, f"looking at {key}")  # type: ignore[misc]
                if there is not None and there.size_bytes == volume.size_bytes and self._same(target, key, volume):
                    continue
                copy_object(source, target, key, volume.sha256, self._stall_timeout)

    @staticmethod
    def _same(target: Repository, key: str, volume: Volume) -> bool:
        """Whether the object that lies there is this volume: it was published before the repository dropped out."""
        digest = hashlib.sha256()
        with contextlib.suppress(ObjectMissing), target.open(key) as stream:
            for chunk in iter(lambda: stream.read(1024 * 1024), b""):
                digest.update(chunk)
        return digest.hexdigest() == volume.sha256

    def _put_everywhere(self, key: str, data: bytes, what: str) -> None:
        for feed in self._healthy():
            repository = feed.repository
            try:
                within(self._stall_timeout, lambda target=repository: target.put(key, data), repository, what)  # type: ignore[misc]
            except RepositoryError as error:
                feed.drop(error)
        self._healthy()

    def _problem(self, feed: Feed) -> str:
        return "" if feed.fault is None else str(feed.fault)

    def _all_failed(self) -> RepositoryError:
        causes = "; ".join(f"{feed.repository.name}: {feed.fault}" for feed in self._feeds)
        return RepositoryError(f"no repository took the backup: {causes}", next_step="Nothing was committed.")


class _OpenVolume:
    """Size and digest of the volume being written."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.size_bytes = 0
        self.digest = hashlib.sha256()

    def take(self, part: bytes) -> None:
        self.size_bytes += len(part)
        self.digest.update(part)
