# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `drill` with `lifeboat_pitr`: the whole server is recovered beside the drills of its databases."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run as back_up
from support.drills import work_dir
from support.pitr import Production
from support.playbooks import Play, play

__all__ = ["work_dir"]

pytestmark = pytest.mark.needs("postgresql:15", "netns")


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """A server with a base backup, a dump, and a row that came after both."""
    found = Production(15, tmp_path_factory.mktemp("keys"))
    try:
        found.query("CREATE TABLE orders (id int)")
        found.archive()
        found.back_up()
        back_up(
            {
                "system": "shop",
                "name": "postgres",
                "login_db": "postgres",
                "login_unix_socket": str(found.server.socket_dir),
                "login_port": found.server.port,
                "bin_dir": str(found.server.bin_dir),
                "repositories": {"here": found.place.spec},
                "encryption": {"method": "age", "recipients": [found.identity.recipient]},
                "signing_key": found.signer.path,
                "lock_dir": str(found.keys_dir / "locks"),
                "globals": False,
            }
        )
        found.query("INSERT INTO orders VALUES (4711)")
        found.archive()
        yield found
    finally:
        found.stop()


def drill(production: Production, work_dir: Path, home: Path, **pitr: Any) -> Play:
    own = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "lifeboat_system": "shop",
        "lifeboat_databases": [{"name": "postgres"}],
        "lifeboat_repositories": {"here": production.place.spec},
        "lifeboat_identity_file": str(production.identity.file),
        "lifeboat_verify_keys": [production.signer.public],
        "lifeboat_bin_dir": str(production.server.bin_dir),
        "lifeboat_drill_become_user": "",
        "lifeboat_drill_waive": ["same_host"],
        "lifeboat_work_dir": str(work_dir),
        "lifeboat_pitr": pitr,
    }
    children: dict[str, Any] = {group: {"hosts": {host: {}}} for group, host in (("databases", "db1"), ("drill", "drill1"))}
    return play("drill", {"all": {"vars": own, "children": children}}, home)


def test_the_server_is_recovered_beside_its_databases(production: Production, work_dir: Path, tmp_path: Path) -> None:
    # The dump does not hold the row, the archive does.
    wanted = {"must_exist": ["SELECT 1 FROM orders WHERE id = 4711"]}
    run = drill(production, work_dir, tmp_path, database="postgres", markers=wanted, amcheck=False, data_checksums=False)
    assert run.status == 0, run.output
    reports = run.stats["lifeboat_drills"]
    assert {key: (report["kind"], report["verdict"]) for key, report in reports.items()} == {
        "shop/postgres": ("database", "passed"),
        "shop/cluster": ("base", "passed"),
    }


def test_a_server_that_does_not_come_back_fails_the_play_by_name(production: Production, work_dir: Path, tmp_path: Path) -> None:
    run = drill(production, work_dir, tmp_path, markers={"must_exist": ["SELECT 1 FROM orders WHERE id = 4712"]}, amcheck=False)
    assert run.status != 0
    assert "1 of 2 drills of system shop did not pass. cluster: the drill's verdict is failed" in run.output
    assert run.stats["lifeboat_drills"]["shop/postgres"]["verdict"] == "passed"
