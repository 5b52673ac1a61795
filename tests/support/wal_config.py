# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server to be configured, with a directory of configuration files, and the module's function asked about it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.run import run
from support.clusters import Server, account

__all__ = ["Configured"]


class Configured:
    """A server, and what the module says about it. `shown` is what SHOW says."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.conf_d = server.data / "conf.d"
        self.conf_d.mkdir()
        self.own(self.conf_d)
        with (server.data / "postgresql.conf").open("a") as main:
            main.write("include_dir = 'conf.d'\n")
        self.main = (server.data / "postgresql.conf").read_text()

    def own(self, path: Path) -> Path:
        """Give a file to whom the server runs as."""
        entry = account()
        if entry is not None:
            os.chown(path, entry.pw_uid, entry.pw_gid)
        return path

    def __call__(self, check: bool = False, **options: Any) -> dict[str, Any]:
        server = {"login_unix_socket": str(self.server.socket_dir), "login_port": self.server.port}
        # What is proven is proven also on a busy machine; a test that wants it to fail says how soon.
        return run({**server, "verify_timeout": "10m", "restart_timeout": "10m", **options}, check)

    def shown(self, name: str) -> str:
        with self.server.connect() as connection:
            row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
        assert row is not None
        return str(row[0])

    def auto(self) -> str:
        return (self.server.data / "postgresql.auto.conf").read_text()

    def put(self, name: str, text: str) -> Path:
        path = self.conf_d / name
        path.write_text(text)
        return self.own(path)

    def directory(self, name: str) -> str:
        """A new directory of the server's user."""
        path = self.server.directory / name
        path.mkdir()
        return str(self.own(path))

    def clean(self) -> None:
        """As it was made."""
        shutil.rmtree(self.conf_d)
        self.conf_d.mkdir()
        self.own(self.conf_d)
        (self.server.data / "postgresql.conf").write_text(self.main)
        self.server.execute("ALTER SYSTEM RESET ALL")
        self.server.reload()
