# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The spool: a directory in which finished WAL files wait to be shipped, and how a server inside an image writes into it.

The writer needs nothing but sh, cp, cmp, ln, rm and sync (coreutils or busybox). What lies in a spool lies on one disk: it
counts as archived only when the repositories have confirmed it (`ship.py`).
"""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

__all__ = ["MARKER", "copy_command", "spool_command"]

MARKER = ".lifeboat-spool"
"""The shipper leaves this file in the spool. Without it the volume is not mounted there, or nobody ships: nothing is taken."""

# One line, since ALTER SYSTEM takes no other. Each step's status decides, and every failure is 1: above 125 would restart the
# archiver uncounted (docs/postgres-notes.md#archiving). `sync FILE` is fsync, of the file before it gets its name and of the
# directory after. `ln` gives the name only where there is none. The temporary name is removed first: it may be a link to what
# was taken already. `umask` because WAL holds everything that was written.
_COMMAND = (
    'd={directory}; f="$d/%f"; t="$d/.%f.tmp"; umask 077;'
    ' test -f "$d/{marker}" || {{ echo "lifeboat: $d is not {what} (no {marker})" >&2; exit 1; }};'
    ' rm -f "$t" || exit 1;'
    ' if test -e "$f"; then cmp -s "%p" "$f" || {{ echo "lifeboat: $f is there with another content" >&2; exit 1; }};'
    ' else cp "%p" "$t" && sync "$t" && ln "$t" "$f" || {{ rm -f "$t"; exit 1; }}; rm -f "$t"; fi;'
    ' sync "$d" || exit 1'
)


def spool_command(spool: str) -> str:
    """The `archive_command` that puts a file into the spool at this path (as the server sees it), durably, or fails.

    Raises `ConfigurationError` for a path that is not absolute or holds a control character.
    """
    return copy_command(spool, "spool", MARKER, "a spool that is shipped")


def copy_command(directory: str, option: str, marker: str, what: str) -> str:
    """The same for any directory that a file `marker` tells to be the right one, and mounted; without it `what` is missed."""
    if not PurePosixPath(directory).is_absolute() or ".." in PurePosixPath(directory).parts or not directory.isprintable():
        next_step = "Give the path at which the server sees it."
        raise ConfigurationError(f"the {option} {directory!r} is not an absolute path", option, next_step)
    # PostgreSQL reads %p, %f, %r and %% before the shell sees the text.
    quoted = shlex.quote(str(PurePosixPath(directory))).replace("%", "%%")
    return _COMMAND.format(directory=quoted, marker=marker, what=what)
