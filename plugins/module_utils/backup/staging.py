# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A place for a dump that cannot be streamed, and what was staged there as one stream.

    staging_dir/                    ours, 0700
      .lock                         held while a run's directory is made or swept
      stage-<backup_id>/            0700
        owner                       locked (flock) for as long as the run lives
        dump/                       what pg_dump wrote, in clear

What lies there is production's data in clear, so it goes on every path: with the run, and when the run was killed, with
the next one. The lock goes with the process, so whether a run still lives needs no guess about process ids.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import BackupGuardError, ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import ArchiveListing
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.snapshot import named
from ansible_collections.lifeboat.postgres.plugins.module_utils.private_directory import is_held
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import FunctionStage, copy
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import size

__all__ = [
    "DATA_FILE",
    "TOC",
    "check_staged",
    "check_staging_dir",
    "default_staging_dir",
    "free_bytes",
    "room",
    "staged_files",
    "staging",
    "tar_stage",
]

TOC = "toc.dat"
DATA_FILE = re.compile(r"(?:toc|[0-9]{1,10}|blob_[0-9]{1,10})\.dat|blobs(?:_[0-9]{1,10})?\.toc")
"""Every file of an uncompressed directory dump (src/bin/pg_dump/pg_backup_directory.c)."""

COPY_END = b"\\.\n\n\n"
"""How pg_dump ends the rows of every table (dumpTableData_copy in pg_dump.c)."""

_OWNER = "owner"
_LOCK = ".lock"
_STAGE = re.compile(r"^stage-\d{8}T\d{6}Z-[0-9a-f]{8}$")
_BLOCK = 512


def default_staging_dir() -> Path:
    """A directory of the user's own on a disk: `/tmp` is memory on many hosts, and cleaned while a dump goes on."""
    return Path("/var/tmp", f"lifeboat-staging-{os.geteuid()}")


@contextlib.contextmanager
def staging(directory: Path, backup_id: str, end: Callable[[str], None] = lambda backup_id: None) -> Iterator[Path]:
    """The path that pg_dump may write its directory to; it does not exist yet. Gone with the block, whatever happens.

    What killed runs left is removed first, after `end` was called with the id of each: nothing ends a pg_dump that writes to a
    directory when the one who started it is killed. Raises `ConfigurationError` for a place that cannot be used.
    """
    _make(directory)
    stage = directory / f"stage-{backup_id}"
    with _locked(directory):
        sweep(directory, end)
        stage.mkdir(mode=0o700)
        owner = os.open(stage / _OWNER, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield stage / "dump"
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        os.close(owner)


def sweep(directory: Path, end: Callable[[str], None]) -> None:
    """Remove what killed runs left, after `end` of each. The caller holds the directory's lock."""
    for name in sorted(os.listdir(directory)):
        path = directory / name
        if _STAGE.match(name) and not path.is_symlink() and path.is_dir() and not _alive(path):
            end(name[len("stage-") :])
            shutil.rmtree(path, ignore_errors=True)
            if path.exists():  # its pg_dump, which has lost its sessions, may have made one more file meanwhile
                shutil.rmtree(path, ignore_errors=True)


def free_bytes(directory: Path) -> int:
    """What is free for us on the disk of a directory, which need not exist yet."""
    place = next(path for path in (directory, *directory.parents) if path.exists())
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize


def staged_files(dump: Path) -> list[tuple[str, int]]:
    """Names and sizes of the staged files in the order in which they are sent: the table of contents, then by name."""
    found = [(entry.name, entry.stat(follow_symlinks=False).st_size) for entry in os.scandir(dump)]
    return sorted(found, key=lambda item: (item[0] != TOC, item[0]))


def check_staged(dump: Path, listing: ArchiveListing) -> None:
    """Every file that the table of contents speaks of is there and whole, and no other; raises `BackupGuardError`."""
    present = {name for name, _size in staged_files(dump)}
    expected, cut = {TOC}, []
    for dump_id in listing.ids("TABLE DATA"):
        name = f"{dump_id}.dat"
        expected.add(name)
        if name in present and not _ends_well(dump / name):
            cut.append(name)
    blobs = listing.ids("BLOBS")
    if blobs:
        # Since 17 there is one list per group of large objects, before there was one for all.
        lists = {f"blobs_{dump_id}.toc" for dump_id in blobs}
        if "blobs.toc" in present:
            lists = {"blobs.toc"}
        expected |= lists
        for name in sorted(lists & present):
            lines = (dump / name).read_text(encoding="ascii", errors="replace").splitlines()
            expected |= {line.split()[1] for line in lines if len(line.split()) == 2}
    problems = [
        ("are missing", sorted(expected - present)),
        ("end early", cut),
        ("are not in its table of contents", sorted(present - expected)),
    ]
    wrong = [f"{named(names)} {what}" for what, names in problems if names]
    if wrong:
        raise BackupGuardError(
            f"pg_dump ended well, and yet its directory is not whole: {'; '.join(wrong)}", str(dump), "Nothing was kept; run again."
        )


def tar_stage(dump: Path) -> FunctionStage:
    """The staged files as a tar archive, the same bytes for the same files: no owner, no time, a fixed order."""
    files = staged_files(dump)

    def write(_nothing: BinaryIO, target: BinaryIO) -> None:
        for name, size_bytes in files:
            member = tarfile.TarInfo(name)
            member.size, member.mode = size_bytes, 0o600
            # GNU's own way of writing a size beyond 8 GiB needs no second header; every tar of today reads it.
            target.write(member.tobuf(tarfile.GNU_FORMAT))
            target.flush()
            _send(dump / name, target, size_bytes)
            target.write(bytes(-size_bytes % _BLOCK))
        target.write(bytes(2 * _BLOCK))

    return FunctionStage("tar", write)


def _send(path: Path, target: BinaryIO, size_bytes: int) -> None:
    """The file's bytes by the kernel's own hand, so that Python's threads do not wait for each other."""
    with open(path, "rb", buffering=0) as source:
        if sys.platform != "linux":
            copy(source, target)  # elsewhere only a socket can be sent to
            return
        sent = 0
        while sent < size_bytes:
            count = os.sendfile(target.fileno(), source.fileno(), sent, size_bytes - sent)
            if count == 0:
                raise BackupGuardError(f"a staged file became shorter: {path.name}", str(path), "Leave the staging directory alone.")
            sent += count


def _ends_well(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - len(COPY_END)))
        return file.read() == COPY_END


def _alive(stage: Path) -> bool:
    """Whether a run holds it. One without its file was not finished by a run that is dead: making it happens under the lock."""
    return is_held(stage / _OWNER)


def check_staging_dir(directory: Path) -> None:
    """Refuse a place that is not ours alone: what it will hold is in clear. It need not exist yet. Changes nothing.

    Raises `ConfigurationError`.
    """
    if not directory.is_absolute():
        raise ConfigurationError("staging_dir is not an absolute path", str(directory))
    try:
        status = os.lstat(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"staging_dir cannot be used: {error.strerror}", str(directory), "Name another one.") from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise ConfigurationError(
            "staging_dir is a symlink, belongs to another user or can be looked into by others",
            str(directory),
            "Name a directory of your own with mode 0700, or one that does not exist yet.",
        )


def _make(directory: Path) -> None:
    check_staging_dir(directory)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"staging_dir cannot be made: {error.strerror}", str(directory), "Name another one.") from None
    check_staging_dir(directory)  # again, since somebody else may have made it meanwhile


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def room(directory: Path, database_bytes: int) -> str:
    """Why a dump of a database of this size does not fit, "" when it does. Rows as text rarely take more than the database."""
    free = free_bytes(directory)
    return "" if free >= database_bytes else f"staging needs {size(database_bytes)} on the disk of {directory}, {size(free)} are free"
