# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How backups go bad: done to copies of a good one, to copies of production, and to the program that dumps."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from places import DemoError

if TYPE_CHECKING:
    from servers import Production

DUMP = "database.dump.zst.age"


def copy_repository(source: Path, target: Path, damage: Callable[[Path], None] | None = None) -> Path:
    """A copy of a posix repository that holds one backup, damaged when asked for."""
    shutil.copytree(source, target)
    if damage is not None:
        damage(target)
    return target


def truncate(repository: Path) -> None:
    """The last volume of the dump ends half-way, as after a full disk."""
    volume = volumes(repository)[-1]
    with open(volume, "r+b") as file:
        file.truncate(volume.stat().st_size // 2)


def flip_bit(repository: Path) -> None:
    """One bit in the middle of the dump's first volume is another, as on an old disk."""
    _flip(volumes(repository)[0])


def _flip(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 0b00010000]))


def remove_volume(repository: Path) -> None:
    """The second volume of the dump is gone, as after an eager clean-up."""
    volumes(repository)[1].unlink()


def remove_segment(repository: Path) -> None:
    """A segment on the way from the base backup to the target is gone."""
    middle_segment(repository).unlink()


def flip_segment(repository: Path) -> None:
    """One bit of such a segment is another."""
    _flip(middle_segment(repository))


def middle_segment(repository: Path) -> Path:
    """The segment before the last one in the archive; raises `DemoError` when there are too few of them."""
    found = sorted(path for path in repository.glob("*/wal/*/*") if re.match(r"[0-9A-F]{24}-", path.name))
    if len(found) < 3:
        raise DemoError(f"the demo's archive has {len(found)} segments, and the cases need three at least")
    return found[-2]


def volumes(repository: Path) -> list[Path]:
    """The dump's volumes in order; raises `DemoError` when it is not split, because the cases need that."""
    found = sorted(repository.glob(f"*/database/*/*/{DUMP}*"))
    if len(found) < 2:
        raise DemoError(f"the demo's backup has {len(found)} volumes, and the cases need two at least: lower the volume size")
    return found


def leaky_programs(bin_dir: Path, target: Path, table: str) -> Path:
    """A directory of PostgreSQL's programs whose pg_dump silently leaves out one table's rows, and says it went well."""
    target.mkdir(mode=0o755)
    for program in bin_dir.iterdir():
        if program.name != "pg_dump":
            (target / program.name).symlink_to(program)
    script = target / "pg_dump"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(str(bin_dir / "pg_dump"))} "$@" --exclude-table-data={shlex.quote(table)}\n')
    script.chmod(0o755)
    return target


def copy_database(production: Production, source: str, target: str, statements: str) -> None:
    """A database like `source` in which somebody ran `statements`."""
    with production.connect("postgres") as connection:
        # Copying files is many times faster here than logging the copy; before 15 it is the only way and has no name.
        strategy = "STRATEGY file_copy" if connection.info.server_version >= 150000 else ""
        connection.execute(f"CREATE DATABASE {target} TEMPLATE {source} OWNER {source} {strategy}")
    with production.connect(target) as connection:
        connection.execute(statements)
