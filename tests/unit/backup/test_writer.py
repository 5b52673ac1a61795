# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commit protocol: into every repository, the manifest last, and one bad repository harms no other.

The repositories are real directories; the faults are put between them and the writer.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.writer import BackupWriter
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import ObjectInfo, Repository, Upload
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.backups import CHUNKS, check_complete, instructions, manifest_for, new_ref

STALL_SECONDS = 60.0
HANG_SECONDS = 5.0
"""Of a repository that hangs; long enough for a healthy one, whose disk is none (`disk`)."""


class Troubled(Repository):
    """A real repository that fails or hangs in one call, as often as `times` says."""

    def __init__(self, inner: Repository, call: str, trouble: str, times: int = 1) -> None:
        self.inner, self.name, self.type = inner, inner.name, inner.type
        self.call, self.trouble, self.times = call, trouble, times
        self.released = threading.Event()

    def strike(self, call: str) -> None:
        if call == self.call and self.times > 0:
            self.times -= 1
            if self.trouble == "hang":
                self.released.wait(120)
            raise RepositoryError(f"503 Slow Down while {call}", self.name)

    def start_upload(self, key: str) -> Upload:
        self.strike("start_upload")
        if key.endswith(".json"):
            self.strike("manifest")
        return TroubledUpload(self, self.inner.start_upload(key))

    def open(self, key: str) -> BinaryIO:
        return self.inner.open(key)

    def stat(self, key: str) -> ObjectInfo | None:
        return self.inner.stat(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self.inner.list(prefix)

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def capabilities(self, probe_prefix: str) -> Any:
        return self.inner.capabilities(probe_prefix)

    def can_write(self, probe_prefix: str) -> bool:
        return True

    def description(self) -> dict[str, str]:
        return self.inner.description()

    def close(self) -> None:
        self.inner.close()


class TroubledUpload(Upload):
    def __init__(self, repository: Troubled, inner: Upload) -> None:
        self.repository, self.inner, self.key = repository, inner, inner.key

    def write(self, data: bytes) -> None:
        self.repository.strike("write")
        self.inner.write(data)

    def confirm(self) -> None:
        self.repository.strike("confirm")
        self.inner.confirm()

    def publish(self) -> ObjectInfo:
        self.repository.strike("publish")
        return self.inner.publish()

    def abort(self) -> None:
        self.inner.abort()


@pytest.fixture
def disk() -> Iterator[Path]:
    """A directory in memory where that can be: to sync one on a busy disk may take as long as a repository that hangs is given."""
    memory = "/dev/shm"
    # What is given up is removed in the background, perhaps at the same moment.
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None, ignore_cleanup_errors=True) as path:
        yield Path(path)


@pytest.fixture
def here(disk: Path) -> Repository:
    (disk / "here").mkdir()
    return open_repository("here", {"type": "posix", "path": str(disk / "here")})


@pytest.fixture
def offsite(disk: Path) -> Repository:
    (disk / "offsite").mkdir()
    return open_repository("offsite", {"type": "posix", "path": str(disk / "offsite")})


def write(writer: BackupWriter) -> Manifest:
    writer.store("database.dump.zst.age", "dump", CHUNKS)
    writer.store("evidence.json.zst.age", "evidence", [b"evidence"])
    return writer.commit(instructions, manifest_for(writer.ref))


def exists(repository: Repository, ref: layout.BackupRef) -> bool:
    return repository.stat(layout.manifest_key(ref)) is not None


def test_a_backup_is_whole_in_every_repository(here: Repository, offsite: Repository) -> None:
    with BackupWriter(new_ref(), [here, offsite], STALL_SECONDS) as writer:
        manifest = write(writer)
    assert check_complete(here, writer.ref) == check_complete(offsite, writer.ref) == manifest
    assert manifest.repositories == {"here": "", "offsite": ""}
    assert [delivery.problem for delivery in writer.deliveries] == ["", ""]


@pytest.mark.parametrize("volume_bytes", [1, 59_999, 60_000, 60_001, 300_000, 300_001])
def test_volumes_joined_are_the_artifact(here: Repository, volume_bytes: int) -> None:
    chunks = [chunk[: 40 if volume_bytes == 1 else None] for chunk in CHUNKS]
    with BackupWriter(new_ref(), [here], STALL_SECONDS, volume_bytes) as writer:
        artifact = writer.store("database.dump", "dump", chunks)
        writer.store("evidence.json", "evidence", [b"e"])
        writer.commit(instructions, manifest_for(writer.ref))
    whole = b"".join(here.read(layout.artifact_key(writer.ref, volume.name)) for volume in artifact.volumes)
    assert whole == b"".join(chunks)
    assert all(volume.size_bytes == volume_bytes for volume in artifact.volumes[:-1])
    assert 0 < artifact.volumes[-1].size_bytes <= volume_bytes
    check_complete(here, writer.ref)


def test_the_repository_that_takes_the_smallest_objects_decides_about_volumes(here: Repository, offsite: Repository) -> None:
    offsite.max_object_bytes = 70_000
    with BackupWriter(new_ref(), [here, offsite], STALL_SECONDS) as writer:
        manifest = write(writer)
    assert max(volume.size_bytes for volume in manifest.artifact("dump").volumes) == 70_000
    assert check_complete(here, writer.ref) == check_complete(offsite, writer.ref)


def test_nothing_is_visible_before_the_commit(here: Repository) -> None:
    with BackupWriter(new_ref(), [here], STALL_SECONDS) as writer:
        writer.store("database.dump.zst.age", "dump", CHUNKS)
        assert list(here.list()) == []
    assert list(here.list()) == []


def test_a_source_that_breaks_off_commits_nothing(here: Repository) -> None:
    def broken() -> Iterator[bytes]:
        yield CHUNKS[0]
        raise RuntimeError("pg_dump was killed")

    with pytest.raises(RuntimeError), BackupWriter(new_ref(), [here], STALL_SECONDS) as writer:
        writer.store("database.dump.zst.age", "dump", broken())
    assert list(here.list()) == []


@pytest.mark.parametrize("trouble", ["fail", "hang"])
@pytest.mark.parametrize("call", ["start_upload", "write", "confirm", "publish"])
def test_a_troubled_repository_is_dropped_and_gets_its_copy_afterwards(
    here: Repository, offsite: Repository, call: str, trouble: str
) -> None:
    said: list[str] = []
    troubled = Troubled(offsite, call, trouble)
    patience = HANG_SECONDS if trouble == "hang" else STALL_SECONDS
    with BackupWriter(new_ref(), [here, troubled], patience, 100_000, said.append) as writer:
        manifest = write(writer)
        troubled.released.set()
    assert check_complete(offsite, writer.ref) == check_complete(here, writer.ref) == manifest
    assert manifest.repositories == {"here": "", "offsite": ""}
    delivery = writer.deliveries[1]
    assert delivery.problem == ""
    assert ("made no progress for 5 s" if trouble == "hang" else "503 Slow Down") in delivery.copied_because
    assert any("dropped" in line for line in said)
    assert any("got its copy from 'here'" in line for line in said)


@pytest.mark.parametrize("call", ["start_upload", "write", "confirm", "publish"])
def test_a_repository_that_stays_broken_is_named_in_the_manifests_of_the_others(here: Repository, offsite: Repository, call: str) -> None:
    with BackupWriter(new_ref(), [here, Troubled(offsite, call, "fail", times=99)], STALL_SECONDS) as writer:
        manifest = write(writer)
    assert check_complete(here, writer.ref) == manifest
    assert "503 Slow Down" in manifest.repositories["offsite"]
    assert "503 Slow Down" in writer.deliveries[1].problem
    assert not exists(offsite, writer.ref)


def test_a_manifest_that_cannot_be_written_is_a_problem_of_that_repository(here: Repository, offsite: Repository) -> None:
    with BackupWriter(new_ref(), [here, Troubled(offsite, "manifest", "fail", times=9)], STALL_SECONDS) as writer:
        write(writer)
    assert exists(here, writer.ref)
    assert not exists(offsite, writer.ref)
    assert writer.deliveries[1].problem


@pytest.mark.parametrize("call", ["start_upload", "write", "confirm", "publish", "manifest"])
def test_when_no_repository_is_left_the_run_fails_with_each_cause(here: Repository, offsite: Repository, call: str) -> None:
    broken: list[Repository] = [Troubled(here, call, "fail", times=99), Troubled(offsite, call, "fail", times=99)]
    with pytest.raises(RepositoryError, match=r"here: 503 .*offsite: 503 "), BackupWriter(new_ref(), broken, STALL_SECONDS) as writer:
        write(writer)
    assert not exists(here, writer.ref)
    assert not exists(offsite, writer.ref)


def test_a_copy_is_checked_against_what_was_written(here: Repository, offsite: Repository, disk: Path) -> None:
    """The healthy repository's disk lies between publishing and copying: the copy must not spread that."""
    said: list[str] = []

    class Rotten(Troubled):
        def open(self, key: str) -> BinaryIO:
            path = disk / "here" / key
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
            return self.inner.open(key)

    repositories: list[Repository] = [Rotten(here, "", ""), Troubled(offsite, "confirm", "fail")]
    with BackupWriter(new_ref(), repositories, STALL_SECONDS, progress=said.append) as writer:
        manifest = write(writer)
    assert "503" in manifest.repositories["offsite"]
    assert not exists(offsite, writer.ref)
    assert any("another digest" in line for line in said)
