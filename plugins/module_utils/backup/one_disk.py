# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup that lies only where the database lies: one broken disk takes both."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors

if TYPE_CHECKING:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job_common import Job
    from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
    from psycopg import Connection

__all__ = ["note_on_one_disk"]


def note_on_one_disk(connection: Connection[Any], job: Job, repositories: Sequence[Repository]) -> Iterator[str]:
    """A sentence where every repository is a directory on the disk of the server's data directory, as far as that can be told.

    It cannot for a server of another machine or in a container, or to a login that may not read where its data are.
    """
    paths = [repository.description().get("path", "") for repository in repositories if repository.type == "posix"]
    if len(paths) < len(repositories) or job.login.host or job.inside is not None:
        return
    with database_errors():
        row = connection.execute("SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'").fetchone()
    # A directory of that name, where the server sees it, need not be one that this user may look at.
    with contextlib.suppress(OSError):
        if row and {os.stat(path).st_dev for path in paths} == {os.stat(row[0]).st_dev}:
            names = ", ".join(repr(repository.name) for repository in repositories)
            yield f"it lies on the disk of the database only ({names}): one broken disk takes both; add a repository elsewhere"
