# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file in an archive directory that says which cluster's it is. Without it nothing is archived there: a volume that is not
mounted is an empty directory, and two clusters never share one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.local import LocalServer
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["directory_marker", "is_marked", "mark"]


def directory_marker(system_identifier: str) -> str:
    """The name of the file."""
    return f".lifeboat-wal-{system_identifier}"


def is_marked(connection: Connection[Any], directory: str, system_identifier: str) -> bool:
    """Whether the directory, as the server sees it, is this cluster's already; raises `ConfigurationError` when it is another's."""
    with database_errors(directory, "Make the directory; the server's user must be able to write it."):
        rows = connection.execute("SELECT pg_catalog.pg_ls_dir(%s)", (directory,)).fetchall()
    wanted, names = directory_marker(system_identifier), {row[0] for row in rows}
    others = sorted(name for name in names if name.startswith(directory_marker("")) and name != wanted)
    if others:
        raise ConfigurationError(
            f"the directory is the archive of cluster {others[0].rpartition('-')[2]}, this is {system_identifier}",
            directory,
            "Give each cluster a directory of its own.",
        )
    return wanted in names


def mark(server: LocalServer | None, directory: str, system_identifier: str) -> None:
    """Make the file, by the server's user, who alone may be able to write there; raises `ConfigurationError`."""
    path = f"{directory}/{directory_marker(system_identifier)}"
    if server is None or not server.can_become:
        raise ConfigurationError(
            "the directory does not say yet whose archive it is, and cannot be written from here",
            directory,
            f"Once, where the server sees it, as the server's user: touch '{path}'",
        )
    done = server.run(["/bin/sh", "-c", 'umask 077; set -C; : > "$1" && sync "$1" && sync "${1%/*}"', "sh", path])
    if done.returncode:
        hint = "Look at its owner and mode, and whether it is mounted."
        raise ConfigurationError(f"{server.user} cannot write into the directory", directory, hint)
