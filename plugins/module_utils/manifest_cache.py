# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests that were read before, on this host's disk: they never change, so a list needs only what is new.

One file per repository and system: a line about the file, an index of summaries, the packed manifests. An entry counts
while the repository lists the same key with the same size and mark (ETag and time, or inode and time). The file is trusted
only when it is this user's own and nobody else can write it; what is damaged, of another version or too large is not used
and is written anew. Nothing about the data is in it, as nothing is in a manifest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import encode_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.private_directory import private_directory
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import ObjectInfo, Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import VERSION
from ansible_collections.lifeboat.postgres.plugins.module_utils.stored_manifest import StoredManifest, Summary

__all__ = ["CachedManifests", "ManifestCache", "cache_in", "default_cache_dir"]

_FORMAT = 2
_LIMIT_BYTES = 256 * 1024 * 1024
"""Some 100,000 manifests. A larger file is not read; it is none of ours."""
_MAX_FILES = 1000
"""One per system and repository. Those that were not asked for the longest go: of places that are called otherwise by now."""
_SUFFIX = ".manifests"
_TEMPORARY = ".new-"
_STALE_SECONDS = 24 * 3600
"""A temporary file that is older belongs to a run that was killed."""


def default_cache_dir() -> Path:
    """`/var/cache/lifeboat` for root, else below the user's own cache directory (XDG)."""
    if os.geteuid() == 0:
        return Path("/var/cache/lifeboat")
    own = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(own) if os.path.isabs(own) else Path("~/.cache").expanduser()) / "lifeboat"


def cache_in(given: str | None) -> ManifestCache | None:
    """The cache in a directory that was named, in the usual one when none was, or None for "".

    Raises `ConfigurationError` for a named directory that cannot be used; the usual one is then done without.
    """
    if given == "":
        return None
    folder = Path(given).expanduser() if given is not None else default_cache_dir()
    try:
        private_directory(folder, "cache", "cache_dir")
    except ConfigurationError:
        if given is None:
            return None
        raise
    return ManifestCache(folder)


class ManifestCache:
    """A directory of such files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, repository: Repository, system: str) -> CachedManifests:
        """What is known of the manifests of a system in a repository; by its place, whatever name the inventory gives it."""
        place = json.dumps([system, repository.description()], sort_keys=True)
        digest = hashlib.sha256(place.encode()).hexdigest()
        return CachedManifests(self._folder / f"{encode_name(system)[:80]}-{digest[:20]}{_SUFFIX}", digest)


class CachedManifests:
    """One file of the cache. `get` asks it; `save` makes it what the repository holds now."""

    def __init__(self, path: Path, identity: str) -> None:
        self._path = path
        self._identity = identity
        self._entries: dict[str, tuple[str, int, StoredManifest]] = {}
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            self._entries = _entries(_own_file(path), identity)
            os.utime(path)  # it was used today

    def get(self, info: ObjectInfo) -> StoredManifest | None:
        """The manifest of this very object, or None when it has to be read."""
        found = self._entries.get(info.key)
        if found is None or not info.mark or found[:2] != (info.mark, info.size_bytes):
            return None
        return found[2]

    def save(self, prefix: str, manifests: Mapping[ObjectInfo, StoredManifest]) -> None:
        """Replace all entries below `prefix`; what is gone from the repository goes from here.

        A file that cannot be written is done without.
        """
        inside = {info.key: (info.mark, info.size_bytes, stored) for info, stored in manifests.items() if info.mark}
        outside = {key: entry for key, entry in self._entries.items() if not key.startswith(prefix)}
        if len(inside) + len(outside) == len(self._entries) and all(self._entries.get(key) == entry for key, entry in inside.items()):
            return
        self._entries = {**outside, **inside}
        with contextlib.suppress(OSError):
            self._write()
            _tidy(self._path.parent)

    def _write(self) -> None:
        rows, position = [], 0
        for key, (mark, size_bytes, stored) in self._entries.items():
            rows.append([key, mark, size_bytes, position, len(stored.packed), *stored.summary])
            position += len(stored.packed)
        index = json.dumps(rows, separators=(",", ":")).encode()
        header = {"format": _FORMAT, "version": VERSION, "identity": self._identity, "index_bytes": len(index), "sha256": _sha256(index)}
        descriptor, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=self._path.parent)  # 0600
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(json.dumps(header).encode() + b"\n" + index)
                stream.writelines(stored.packed for _mark, _size, stored in self._entries.values())
            os.replace(temporary, self._path)
        except BaseException:
            os.unlink(temporary)
            raise


def _tidy(folder: Path) -> None:
    """Keep the directory bounded: the newest `_MAX_FILES` stay. What is not ours is not touched."""
    files, now = [], time.time()
    with os.scandir(folder) as entries:
        for entry in entries:
            ours, left_behind = entry.name.endswith(_SUFFIX), entry.name.startswith(_TEMPORARY)
            if not (ours or left_behind) or not entry.is_file(follow_symlinks=False):
                continue
            used_at = entry.stat(follow_symlinks=False).st_mtime
            if ours:
                files.append((used_at, entry.path))
            elif now - used_at > _STALE_SECONDS:
                os.unlink(entry.path)
    for _used_at, path in sorted(files)[: max(len(files) - _MAX_FILES, 0)]:
        os.unlink(path)


def _own_file(path: Path) -> bytes:
    """The file's bytes; raises `ValueError` when somebody else may have written them, `OSError`."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022 or status.st_size > _LIMIT_BYTES:
            raise ValueError("not a file of our own")
        return stream.read()


def _entries(data: bytes, identity: str) -> dict[str, tuple[str, int, StoredManifest]]:
    """The entries of a file; raises `ValueError`, `TypeError` or `KeyError` when it is not whole or not of this version."""
    end = data.index(b"\n")
    header: dict[str, Any] = json.loads(data[:end])
    blobs = end + 1 + header["index_bytes"]
    index = data[end + 1 : blobs]
    if (header["format"], header["version"], header["identity"]) != (_FORMAT, VERSION, identity) or header["sha256"] != _sha256(index):
        raise ValueError("not this version's, or damaged")
    view = memoryview(data)[blobs:]
    names: dict[str, Mapping[str, str]] = {}
    entries = {}
    for key, mark, size_bytes, position, length, *summary in json.loads(index):
        # Most backups name the same repositories: one mapping for all of them.
        summary[-1] = names.setdefault(str(summary[-1]), summary[-1])
        entries[key] = (mark, size_bytes, StoredManifest(Summary(*summary), view[position : position + length]))
    return entries


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
