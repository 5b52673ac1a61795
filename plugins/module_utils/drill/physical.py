# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A base backup back on a disk: fetched, opened and unpacked in one stream, put together from its chain, compared with the server's word.

What comes out is a data directory that has not been started: production's settings are still in it, and it is nothing without its log.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.base_tar import LABEL, MANIFEST, TABLESPACES
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import Account
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.fetch import Fetcher
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.unpack_base import BaseUnpacker
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError, ManifestError, PipelineError, RestoreError
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Artifact, Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.base_programs import PgCombineBackup, PgVerifyBackup
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import Elsewhere
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line

__all__ = ["BasePrograms", "RestoredBase", "Room", "restore_base"]

Wrap = Callable[[Sequence[str], Iterable[Path]], "list[str]"]
Phase = Callable[[str], AbstractContextManager[None]]

_MANIFEST_LIMIT_BYTES = 4 * 1024**3


class BasePrograms:
    """The programs of one major version that a restore needs; raises `MissingTool` for the first that is missing."""

    def __init__(self, major: int, bin_dir: Path | None, chain: bool = False, inside: Elsewhere | None = None) -> None:
        self.verify = PgVerifyBackup(major, bin_dir, inside)
        self.combine = PgCombineBackup(major, bin_dir, inside) if chain else None


@dataclass(frozen=True)
class Room:
    """Where a base backup is restored, and as whom.

    `data` exists, is empty, and belongs to `account`; beside it, `directory` is ours and takes what else there is: tablespaces, and
    for a while the links of a chain. `wrap` starts programs as the account, confined, given the directories that they may write.
    """

    directory: Path
    data: Path
    account: Account
    wrap: Wrap
    environment: Mapping[str, str]


@dataclass(frozen=True)
class RestoredBase:
    """`manifest` is that of the newest link; `tablespaces` maps a tablespace's number to the directory that it lies in now."""

    data: Path
    manifest: Manifest
    tablespaces: Mapping[str, Path] = field(default_factory=dict)

    @property
    def writable(self) -> tuple[Path, ...]:
        """The directories that the server has to be able to write."""
        return (self.data, *self.tablespaces.values())


def _untimed(_name: str) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


def restore_base(
    fetchers: Sequence[Fetcher],
    room: Room,
    programs: BasePrograms,
    phase: Phase = _untimed,
) -> RestoredBase:
    """Restore the chain of these fetchers (one for a full backup; oldest first) into `room.data`.

    Phases: `fetch_base`, `verify_base`, `combine_base`. Raises `IntegrityError` for what differs from the manifest or from what the
    server wrote, `SealError`, `RepositoryError`, `ManifestError` for links that do not belong together, `RestoreError`.
    """
    _check_chain([fetcher.manifest for fetcher in fetchers])
    newest = fetchers[-1].manifest
    if len(fetchers) == 1:
        spaces = room.directory / "spaces"
        link = _link(fetchers[0], room, room.data, spaces, programs, phase)
    else:
        link = _combined(fetchers, room, programs, phase)
    if not (room.data / LABEL).is_file():
        raise IntegrityError(f"there is no {LABEL} in it, without which a recovery would begin in the wrong place", newest.backup_id)
    if link.tablespaces:
        _empty(room.data / TABLESPACES)  # it names production's paths, where the server would look for its tablespaces
    return RestoredBase(room.data, newest, link.tablespaces)


@dataclass(frozen=True)
class _Link:
    data: Path
    tablespaces: Mapping[str, Path]

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self.data, *self.tablespaces.values())


def _link(fetcher: Fetcher, room: Room, data: Path, spaces: Path, programs: BasePrograms, phase: Phase) -> _Link:
    """One backup, unpacked into `data` and `spaces`, and compared with the server's own manifest."""
    manifest = fetcher.manifest
    bases = [artifact for artifact in manifest.artifacts if artifact.role == "base"]
    if not bases:
        raise ManifestError(f"backup {manifest.backup_id} has no base", manifest.name)
    tablespaces: dict[str, Path] = {}
    with phase("fetch_base"):
        left = manifest.plain_bytes
        names: set[str] = set()
        for number, artifact in enumerate(bases):
            directory = data
            if number:
                oid = _oid(artifact, manifest)
                if oid in tablespaces:
                    raise ManifestError(f"backup {manifest.backup_id} has tablespace {oid} twice", manifest.name)
                _mine(spaces, room.account)
                directory = tablespaces[oid] = spaces / oid
                _mine(directory, room.account)
            unpacker = BaseUnpacker(directory, left, f"backup {manifest.backup_id}", _owner(room.account))
            with contextlib.closing(unpacker):
                fetcher.pour(artifact, unpacker)
            left -= unpacker.size_bytes
            names |= unpacker.names if not number else set()
        if left:
            raise IntegrityError(f"the opened backup is {left} bytes smaller than its manifest says", f"backup {manifest.backup_id}")
        if MANIFEST not in names:
            _write_manifest(fetcher, data / MANIFEST, room.account)
        _place(data, tablespaces, room.account)
    with phase("verify_base"):
        _verify(programs, room, data, (data, *tablespaces.values()))
    return _Link(data, tablespaces)


def _combined(fetchers: Sequence[Fetcher], room: Room, programs: BasePrograms, phase: Phase) -> _Link:
    """The links below one directory, so that the program can link files instead of copying them; then its result in its place."""
    if programs.combine is None:
        raise RestoreError("a chain needs pg_combinebackup", fetchers[-1].manifest.backup_id)
    parts = room.directory / "links"
    _mine(parts, room.account)
    links = []
    for number, fetcher in enumerate(fetchers, 1):
        data = parts / str(number)
        _mine(data, room.account)
        links.append(_link(fetcher, room, data, parts / f"{number}-spaces", programs, phase))
    output, spaces = parts / "whole", parts / "spaces"
    mapping = {oid: spaces / oid for oid in links[-1].tablespaces}
    if mapping:
        _mine(spaces, room.account)
    with phase("combine_base"):
        argv = programs.combine.argv(
            [link.data for link in links], output, {str(links[-1].tablespaces[oid]): str(path) for oid, path in mapping.items()}
        )
        _run(room, argv, [parts], "the links of the chain could not be put together")
    with phase("verify_base"):
        _verify(programs, room, output, [parts])
    room.data.rmdir()
    output.rename(room.data)
    tablespaces = {}
    if mapping:
        spaces.rename(room.directory / "spaces")
        tablespaces = {oid: room.directory / "spaces" / oid for oid in mapping}
        _place(room.data, tablespaces, room.account)
    shutil.rmtree(parts)
    return _Link(room.data, tablespaces)


def _check_chain(chain: Sequence[Manifest]) -> None:
    if not chain:
        raise ManifestError("there is no base backup to restore")
    parent = ""
    for manifest in chain:
        if manifest.parent != parent:
            what = f"builds on {manifest.parent}" if manifest.parent else "is a full backup"
            raise ManifestError(f"backup {manifest.backup_id} {what}, and does not follow {parent or 'nothing'}", manifest.name)
        parent = manifest.backup_id


def _oid(artifact: Artifact, manifest: Manifest) -> str:
    oid, dot, _rest = artifact.name.partition(".tar")
    if not dot or not oid.isdigit() or len(oid) > 10:
        raise ManifestError(f"{artifact.name!r} is not the name of a tablespace's tar", f"backup {manifest.backup_id}")
    return oid


def _place(data: Path, tablespaces: Mapping[str, Path], account: Account) -> None:
    """Let the data directory name where its tablespaces lie now."""
    for oid, path in tablespaces.items():
        link = data / "pg_tblspc" / oid
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(path)
        owner = _owner(account)
        if owner is not None:
            os.chown(link, *owner, follow_symlinks=False)


def _write_manifest(fetcher: Fetcher, path: Path, account: Account) -> None:
    """Tars that were staged came without the server's manifest, which is an artifact of its own."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb") as file:
        owner, left = _owner(account), _MANIFEST_LIMIT_BYTES
        if owner is not None:
            os.fchown(file.fileno(), *owner)

        def write(chunk: bytes) -> None:
            nonlocal left
            left -= len(chunk)
            if left < 0:
                raise IntegrityError("the server's manifest is larger than any is", fetcher.manifest.backup_id)
            try:
                file.write(chunk)
            except OSError as error:
                raise PipelineError(f"the opened backup cannot be written: {error.strerror}", str(path)) from None

        fetcher.into(fetcher.manifest.artifact("backup_manifest"), write)


def _verify(programs: BasePrograms, room: Room, directory: Path, visible: Sequence[Path]) -> None:
    argv = programs.verify.argv(directory)
    _run(room, argv, visible, "what was unpacked is not what the server wrote", IntegrityError)


def _run(
    room: Room, argv: Sequence[str], writable: Iterable[Path], what: str, kind: type[IntegrityError | RestoreError] = RestoreError
) -> None:
    # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
    ended = subprocess.run(
        room.wrap(argv, writable),
        env=dict(room.environment),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        check=False,
    )
    if ended.returncode:
        raise kind(f"{what}: {clean_line(ended.stderr) or f'exit status {ended.returncode}'}", os.path.basename(argv[0]))


def _mine(directory: Path, account: Account) -> None:
    """A private directory of the account, made when it is not there."""
    if directory.is_dir() and not directory.is_symlink():
        return
    directory.mkdir(mode=0o700)
    owner = _owner(account)
    if owner is not None:
        os.chown(directory, *owner, follow_symlinks=False)


def _owner(account: Account) -> tuple[int, int] | None:
    """Whom files are given to; only root can, and anybody else is the account."""
    return (account.uid, account.gid) if os.geteuid() == 0 else None


def _empty(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC))
