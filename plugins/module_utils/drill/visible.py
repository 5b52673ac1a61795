# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the drill's programs need to see of the file system, and which sockets lie in it."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

__all__ = ["listening_sockets", "program_paths"]

PROC_UNIX = Path("/proc/net/unix")
_ACCEPTING = 0x10000  # SO_ACCEPTCON, the flag of a listening socket in /proc/net/unix


@functools.cache
def program_paths(bin_dir: Path) -> tuple[Path, ...]:
    """What PostgreSQL's programs in `bin_dir` need beside `/usr`: their own tree and the libraries they are linked to.

    Empty for the system's packages. Elsewhere (a wheel, /opt) the tree is `bin`, `lib`, `lib64` and `share` beside each
    other, as PostgreSQL finds them itself: relative to its own program file.
    """
    needed: list[Path] = []
    for directory in dict.fromkeys((bin_dir.absolute(), bin_dir.resolve())):
        if _below(directory, [Path("/usr")]):
            continue
        needed += [directory, *(directory.parent / name for name in ("lib", "lib64", "share"))]
    needed = [path for path in needed if path.is_dir()]
    if needed:
        libraries = [*needed[0].parent.glob("lib*/*.so"), *needed[0].parent.glob("lib*/postgresql/*.so")]
        for library in _linked([needed[0] / "postgres", needed[0] / "initdb", needed[0] / "pg_restore", *libraries]):
            if not _below(library, [Path("/usr"), Path("/lib"), Path("/lib64"), *needed]):
                needed.append(library)
    return tuple(needed)


def listening_sockets(table: Path = PROC_UNIX) -> list[Path]:
    """Unix sockets with a path on which something listens, as the kernel lists them for this network namespace."""
    try:
        lines = table.read_text(encoding="utf-8", errors="surrogateescape").splitlines()[1:]
    except OSError:
        return []
    found = []
    for line in lines:
        fields = line.split(None, 7)
        if len(fields) == 8 and fields[7].startswith("/") and int(fields[3], 16) & _ACCEPTING:
            found.append(Path(fields[7]))
    # Not Path.exists(), which raises for a socket below a directory of somebody else: out of this user's reach anyhow.
    return sorted({path for path in found if os.path.exists(path)})


def _below(path: Path, directories: Iterable[Path]) -> bool:
    return any(directory == path or directory in path.parents for directory in directories)


def _linked(files: Iterable[Path]) -> list[Path]:
    """The shared libraries that the files load, by `ldd`; empty where there is no ldd."""
    present = [str(path) for path in files if path.exists()]
    try:
        # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
        listing = subprocess.run(["ldd", *present], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
    except OSError:
        return []
    # Not resolved: the loader asks for the very path, links included.
    return sorted({Path(os.path.normpath(path)) for path in re.findall(r"=> (/\S.*?) \(0x", listing.stdout)})
