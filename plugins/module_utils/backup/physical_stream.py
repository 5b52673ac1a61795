# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base backup itself: what pg_basebackup sends, compressed and sealed into every repository while it comes.

A server with tablespaces of its own cannot send one stream: its tars are staged first, and sent when they are whole.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ansible_collections.lifeboat.postgres.plugins.module_utils import compress
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.base_facts import Label, LogRange, read_label, read_ranges
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.base_tar import CONTROL, LABEL, MANIFEST, BaseTar
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_job import INCLUDED, PhysicalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_wal import ArchiverWatch
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.reach import client_conninfo, client_program
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.writer import BackupWriter
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, BackupGuardError, LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.frames import packing
from ansible_collections.lifeboat.postgres.plugins.module_utils.pipeline import FunctionStage, Pipeline, ProcessStage, Stage
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.base_programs import PgBaseBackup
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.replication import base_fault, lacks_summaries
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import CHUNK_BYTES, copy
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration

__all__ = ["BASE_NAME", "MANIFEST_NAME", "NothingToBuildOn", "Taken", "take"]

BASE_NAME, MANIFEST_NAME = "base.tar", "backup_manifest"
_TABLESPACE_TAR = re.compile(r"^[1-9][0-9]{0,9}\.tar$")
_LABEL_LIMIT_BYTES = 64 * 1024


class NothingToBuildOn(Exception):
    """The server refused an incremental backup before it sent anything: it does not have what changed since the parent."""

    def __init__(self, cause: LifeboatError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(frozen=True)
class Taken:
    """A whole base backup: what it says of itself, its bytes before compression, and when the last of its files was copied."""

    label: Label
    ranges: tuple[LogRange, ...]
    plain_bytes: int
    file_bytes: int
    copied_at: dt.datetime
    send: Callable[[], None]


class _Reading:
    """A tar as it goes by, and what it said of itself; the server's manifest goes to `manifest`."""

    def __init__(self, manifest: BinaryIO | None) -> None:
        self._label = bytearray()
        self.copied_at: dt.datetime | None = None
        caught: dict[str, Callable[[bytes], object]] = {LABEL: self._keep}
        if manifest is not None:
            caught[MANIFEST] = manifest.write
        self.tar = BaseTar(caught, self._seen)

    @property
    def label(self) -> Label:
        return read_label(bytes(self._label).decode("utf-8", "replace"))

    def _keep(self, piece: bytes) -> None:
        self._label += piece[:_LABEL_LIMIT_BYTES]

    def _seen(self, name: str) -> None:
        if name == CONTROL:
            self.copied_at = now()  # the server sends it last of all its files


def take(
    job: PhysicalJob,
    program: PgBaseBackup,
    writer: BackupWriter,
    watch: ArchiverWatch,
    application_name: str,
    manifest: BinaryIO,
    incremental: Path | None,
    stage: Path | None,
) -> Taken:
    """Take the backup; the server's manifest is written to `manifest`. With `stage` (a path in a private directory) by way of it.

    Raises `NothingToBuildOn`, `ArchiveError` when the server's archiver does not get on, `BackupGuardError`, `DatabaseError`.
    """
    argv = program.argv(
        client_conninfo(job, application_name),
        target=stage,
        include_wal=job.wal == INCLUDED,
        checkpoint=job.checkpoint,
        label=job.label or application_name,
        max_rate_bytes=job.max_rate_bytes,
        incremental=incremental,
    )
    with client_program(job, program.name, argv, ends_with_us=True) as process:
        process.explain = _explain(process.explain)
        try:
            if stage is None:
                return _streamed(job, process, writer, watch, manifest)
            return _staged(job, process, writer, watch, manifest, stage)
        except LifeboatError as error:
            if watch.over:
                raise ArchiveError(
                    f"the server waited for its own archiver for more than {duration(job.wal_timeout_seconds)}",
                    watch.over,
                    "Nothing was committed. Mend archiving, then run again; wal_timeout sets the limit.",
                ) from None
            if incremental is not None and process.returncode and lacks_summaries(process.stderr_tail):
                raise NothingToBuildOn(error) from None
            raise


def _streamed(job: PhysicalJob, process: ProcessStage, writer: BackupWriter, watch: ArchiverWatch, manifest: BinaryIO) -> Taken:
    """No temporary copy anywhere."""
    reading = _Reading(manifest)
    stages: list[Stage] = [process, *packing(job.compression_level, reading.tar), job.sealer.stage()]
    with Pipeline(stages) as sealed, watch.begin(sealed.kill):
        writer.store(f"{BASE_NAME}{compress.SUFFIX}{job.sealer.suffix}", "base", sealed)
    return _taken(reading, manifest, reading.tar.size_bytes, reading.tar.file_bytes, lambda: None)


def _staged(job: PhysicalJob, process: ProcessStage, writer: BackupWriter, watch: ArchiverWatch, manifest: BinaryIO, stage: Path) -> Taken:
    with Pipeline([process]) as silent, watch.begin(silent.kill):
        silent.finish()
    ended_at = now()
    names = sorted(os.listdir(stage), key=lambda name: (name != BASE_NAME, name))
    strange = [name for name in names if name not in (BASE_NAME, MANIFEST_NAME) and not _TABLESPACE_TAR.match(name)]
    if strange or names[:1] != [BASE_NAME] or MANIFEST_NAME not in names:
        what = f"it wrote {', '.join(map(repr, strange))}" if strange else "a file is missing"
        raise BackupGuardError(f"pg_basebackup ended well, and yet its directory is not as it should be: {what}", str(stage), "Run again.")
    with open(stage / MANIFEST_NAME, "rb") as source:
        copy(source, manifest)
    tars = [name for name in names if name != MANIFEST_NAME]
    readings = {name: _Reading(None) for name in tars}
    # Before anything is sent, its whole shape is looked at: that costs one reading of what lies in memory for the most part.
    for name in tars:
        with open(stage / name, "rb", buffering=0) as tar:
            while piece := tar.read(CHUNK_BYTES):
                readings[name].tar.feed(piece)
            readings[name].tar.finish()

    def send() -> None:
        for name in tars:
            stages = [_file_stage(stage / name), *packing(job.compression_level), job.sealer.stage()]
            with Pipeline(stages) as sealed:
                writer.store(f"{name}{compress.SUFFIX}{job.sealer.suffix}", "base", sealed)

    plain = sum(reading.tar.size_bytes for reading in readings.values())
    files = sum(reading.tar.file_bytes for reading in readings.values())
    readings[BASE_NAME].copied_at = ended_at
    return _taken(readings[BASE_NAME], manifest, plain, files, send)


def _taken(reading: _Reading, manifest: BinaryIO, plain_bytes: int, file_bytes: int, send: Callable[[], None]) -> Taken:
    label = reading.label
    manifest.seek(0)
    ranges = read_ranges(manifest)
    if reading.copied_at is None:
        raise BackupGuardError(f"the base backup is not whole: it holds no {CONTROL}", "base backup", "Nothing was kept; run again.")
    if (ranges[0].timeline, ranges[0].start) != (label.timeline, label.start):
        raise BackupGuardError(
            f"the base backup contradicts itself: its label begins at {label.start} on timeline {label.timeline},"
            f" its manifest at {ranges[0].start} on timeline {ranges[0].timeline}",
            "base backup",
            "Nothing was kept; run again.",
        )
    return Taken(label, ranges, plain_bytes, file_bytes, reading.copied_at, send)


def _file_stage(path: Path) -> FunctionStage:
    """A staged file as the beginning of a stream, by the kernel's own hand where it can."""

    def write(_nothing: BinaryIO, target: BinaryIO) -> None:
        with open(path, "rb", buffering=0) as source:
            sendfile = getattr(os, "sendfile", None)
            if sendfile is None:
                copy(source, target)
                return
            at = 0
            while sent := sendfile(target.fileno(), source.fileno(), at, CHUNK_BYTES):
                at += sent

    return FunctionStage(path.name, write)


def _explain(usual: Callable[[int, str], LifeboatError | None] | None) -> Callable[[int, str], LifeboatError | None]:
    def explain(code: int, stderr: str) -> LifeboatError | None:
        return base_fault(stderr) or (usual(code, stderr) if usual is not None else None)

    return explain
