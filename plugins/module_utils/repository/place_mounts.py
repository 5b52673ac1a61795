# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which server a directory is mounted from, so that a directory over NFS and its twin over SFTP are seen to be one."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass

__all__ = ["Mounted", "served_by"]

_MOUNTS = "/proc/self/mountinfo"
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs")


@dataclass(frozen=True)
class Mounted:
    """A server, and the path there that a local directory shows."""

    host: str
    path: str


def served_by(real: str, mounts: str | None = None) -> Mounted | None:
    """The server that the real path `real` is mounted from, or None for a disk of this machine. `mounts`: the table's text."""
    if mounts is None:
        mounts = ""
        with contextlib.suppress(OSError), open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as stream:
            mounts = stream.read()
    found: tuple[str, str, str, str] | None = None
    for line in mounts.splitlines():
        before, _dash, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(kinds) < 2:
            continue
        inside, point = _plain(fields[3]), _plain(fields[4])
        # The last one wins: mounts lie on each other.
        if (real + "/").startswith(point.rstrip("/") + "/") and (found is None or len(point) >= len(found[0])):
            found = (point, inside, kinds[0], _plain(kinds[1]))
    if found is None or found[2] not in _NETWORK:
        return None
    point, inside, _kind, source = found
    host, path = _split(source)
    below = real[len(point.rstrip("/")) :]
    # NFS shows its own root as inside "/" and names the export; a bind mount of a part of it shows the part.
    return Mounted(host, os.path.normpath("/" + "/".join((path, inside, below)).lstrip("/")))


def _split(source: str) -> tuple[str, str]:
    """`server:/path`, `user@server:/path`, `[2001:db8::1]:/path` or `//server/share`."""
    if source.startswith("//"):
        host, _slash, path = source[2:].partition("/")
        return host, path
    match = re.match(r"(?:[^@/]*@)?(\[[^]]*\]|[^:/]*):(.*)", source)
    return (match.group(1), match.group(2)) if match else (source, "")


def _plain(field: str) -> str:
    """The kernel writes blanks in a field as octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)
