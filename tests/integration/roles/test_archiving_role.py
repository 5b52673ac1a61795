# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role `archiving` after the role `host`: the server really archives through what was installed, and base backups are scheduled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support.clusters import Server
from support.hosts import Host, a_host
from support.logical import Identity, new_identity
from support.playbooks import Play

pytestmark = pytest.mark.needs("postgresql:15")

SETTINGS = {"archive_mode": "on", "wal_level": "replica", "max_wal_senders": "4"}


@dataclass(frozen=True)
class Site:
    host: Host
    server: Server
    identity: Identity

    def play(self, playbook: str, *arguments: str, **variables: Any) -> Play:
        described = {
            "lifeboat_repositories": {"here": {"type": "posix", "path": str(self.host.home / "here")}},
            "lifeboat_encryption": {"recipients": [self.identity.recipient]},
            "lifeboat_bin_dir": str(self.server.bin_dir),
            "lifeboat_login_unix_socket": str(self.server.socket_dir),
            "lifeboat_login_port": self.server.port,
            "lifeboat_archiving_become_user": "",
            "lifeboat_archiving_verify_timeout": "10m",
            "lifeboat_lock_dir": str(self.host.home / "locks"),
            "lifeboat_databases": [{"name": "postgres"}],
            "lifeboat_objective": "standard",
        }
        return self.host.play(playbook, *arguments, **{**described, **variables})

    def setting(self, name: str) -> str:
        with self.server.connect() as connection:
            row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
        assert row is not None
        return str(row[0])


@pytest.fixture
def site() -> Iterator[Site]:
    with (
        a_host(servers_user=True) as host,
        Server(15, SETTINGS, initdb=("--wal-segsize=1",), reads_all=True) as server,
    ):
        identity = new_identity(host.home / "identity")
        host.folder("here")
        yield Site(host, server, identity)


def test_a_server_archives_through_what_was_installed_and_base_backups_go_on_by_themselves(site: Site) -> None:
    rehearsal = site.play("site", "--check", "--diff", "--tags", "untagged,archiving")
    assert rehearsal.status == 0, rehearsal.output
    assert "wal-push" in rehearsal.output, "the setting is predicted, though the script is not there yet"
    assert site.setting("archive_command") in ("", "(disabled)")
    first = site.play("site", "--tags", "untagged,archiving")
    assert first.status == 0, first.output
    push = site.host.home / "runtime" / "bin" / "wal-push"
    assert site.setting("archive_command") == f"{push} %p"
    assert list((site.host.home / "here").glob("shop/wal/*/*.zst.age")), "the proof needs a segment in the repository"
    assert len(list((site.host.home / "here").glob("shop/manifests/base/*/*.json"))) == 1
    lines = site.host.cron_lines()
    assert set(lines) == {"base", "heartbeat"}
    for job in ("heartbeat", "base"):
        assert site.host.run_as_cron(job) == 0, site.host.files()
    assert len(list((site.host.home / "here").glob("shop/manifests/base/*/*.json"))) == 2
    with site.server.connect() as connection:
        assert connection.execute("SELECT count(*) FROM lifeboat.heartbeat").fetchone() == (1,)
    again = site.play("site", "--tags", "untagged,archiving")
    assert (again.status, again.recap("db1")["changed"]) == (0, 0), again.output
    alone = site.play("base_backup")
    assert (alone.status, alone.recap("db1")["changed"]) == (0, 0), alone.output
    status = site.host.lifeboat("status", "--json", "--jobs", str(site.host.home / "config"))
    assert {job["job"]: job["problem"] for job in json.loads(status.stdout)["jobs"]} == {"base": "", "heartbeat": ""}


def test_a_restart_command_without_the_word_for_it_is_refused_before_anything_is_written(site: Site) -> None:
    run = site.play("role:archiving", lifeboat_archiving_restart_command=["systemctl", "restart", "postgresql"])
    assert run.status != 0
    assert "restarted only with lifeboat_archiving_restart" in run.output
    assert not (site.host.home / "config").exists()
