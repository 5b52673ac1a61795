# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A system of two databases, described once, in an inventory whose hosts are all this machine."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.clusters import Server
from support.keys import KeyPair, ssh_pair
from support.logical import Identity, new_identity, posix
from support.playbooks import Play, play

__all__ = ["backed_up", "system"]


@dataclass(frozen=True)
class System:
    """Two databases, `shop` and `licences` for short, with a repository, keys, and the inventory that describes them."""

    server: Server
    databases: list[str]
    home: Path
    work_dir: Path
    identity: Identity
    signer: KeyPair

    @property
    def repository(self) -> Path:
        return self.home / "here"

    @property
    def manifests(self) -> list[Path]:
        return sorted(self.repository.rglob("manifests/database/*/*.json"))

    def inventory(self, groups: Mapping[str, list[str]], **variables: Any) -> dict[str, Any]:
        own = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "lifeboat_system": "shop",
            "lifeboat_databases": [{"name": name} for name in self.databases],
            "lifeboat_repositories": {"here": posix(self.repository)},
            "lifeboat_encryption": {"recipients": [self.identity.recipient]},
            "lifeboat_checks": [{"gapless": {"table": "invoices", "column": "number"}}],
            "lifeboat_bin_dir": str(self.server.bin_dir),
            "lifeboat_login_unix_socket": str(self.server.socket_dir),
            "lifeboat_login_port": self.server.port,
            "lifeboat_backup_become_user": "",
            "lifeboat_signing_key": self.signer.path,
            "lifeboat_lock_dir": str(self.home / "locks"),
            "lifeboat_identity_file": str(self.identity.file),
            "lifeboat_verify_keys": [self.signer.public],
            "lifeboat_drill_become_user": "",
            "lifeboat_drill_waive": ["same_host"],
            "lifeboat_work_dir": str(self.work_dir),
            "lifeboat_report_dir": str(self.home / "reports"),
            **variables,
        }
        children: dict[str, Any] = {group: {"hosts": {host: {} for host in hosts}} for group, hosts in groups.items()}
        return {"all": {"vars": own, "children": children}}

    def back_up(self, *arguments: str, **variables: Any) -> Play:
        return play("backup", self.inventory({"databases": ["db1"]}, **variables), self.home, *arguments)

    def drill(self, *arguments: str, groups: Mapping[str, list[str]] | None = None, **variables: Any) -> Play:
        groups = groups or {"databases": ["db1"], "drill": ["drill1"]}
        return play("drill", self.inventory(groups, **variables), self.home, *arguments)

    def nothing_left(self) -> bool:
        return not self.work_dir.exists() or [path.name for path in self.work_dir.iterdir()] in ([], [".lock"])


@contextlib.contextmanager
def a_system(server: Server, home: Path) -> Iterator[System]:
    with server.database() as shop, server.database() as licences, tempfile.TemporaryDirectory(prefix="lb-", dir="/tmp") as short:
        for name in (shop, licences):
            server.execute("CREATE TABLE invoices (number int PRIMARY KEY); INSERT INTO invoices SELECT generate_series(1, 500)", name)
        Path(short).chmod(0o755)  # root's drill runs its server as another user, who passes through here
        yield System(server, [shop, licences], home, Path(short) / "drills", new_identity(home / "identity"), ssh_pair(home / "key"))


@pytest.fixture
def system(postgres18: Server, tmp_path: Path) -> Iterator[System]:
    """A system without backups yet."""
    with a_system(postgres18, tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def backed_up(postgres18: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system with a backup of each database, which tests leave as they are."""
    with a_system(postgres18, tmp_path_factory.mktemp("system")) as found:
        run = found.back_up()
        assert run.status == 0, run.output
        yield found
