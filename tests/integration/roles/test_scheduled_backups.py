# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `site`: a host that backs up by itself. What stands in cron.d is run as cron runs it, without Ansible."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.clusters import Server
from support.hosts import Host, a_host
from support.logical import Identity, new_identity, posix
from support.playbooks import Play


@dataclass(frozen=True)
class Site:
    """A host with two databases to be protected, and the inventory that says how."""

    host: Host
    server: Server
    databases: list[str]
    identity: Identity

    def described(self, **more: Any) -> dict[str, Any]:
        return {
            "lifeboat_databases": [{"name": name} for name in self.databases],
            "lifeboat_repositories": {"here": posix(self.host.home / "here")},
            "lifeboat_encryption": {"recipients": [self.identity.recipient]},
            "lifeboat_bin_dir": str(self.server.bin_dir),
            "lifeboat_login_unix_socket": str(self.server.socket_dir),
            "lifeboat_login_port": self.server.port,
            "lifeboat_backup_become_user": "",
            "lifeboat_lock_dir": str(self.host.home / "locks"),
            **more,
        }

    def play(self, *arguments: str, **variables: Any) -> Play:
        return self.host.play("site", *arguments, **self.described(**variables))

    @property
    def manifests(self) -> list[Path]:
        return sorted((self.host.home / "here").rglob("manifests/database/*/*.json"))

    def job(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.host.home / "config" / "shop" / f"{name}.json").read_text())
        return found


@pytest.fixture
def site(postgres18: Server) -> Iterator[Site]:
    with a_host() as host, postgres18.database() as shop, postgres18.database() as licences:
        for name in (shop, licences):
            postgres18.execute("CREATE TABLE invoices (number int); INSERT INTO invoices SELECT generate_series(1, 300)", name)
        yield Site(host, postgres18, [shop, licences], new_identity(host.home / "identity"))


def test_a_fresh_host_is_predicted_set_up_and_then_backs_up_without_the_control_node(site: Site) -> None:
    rehearsal = site.play("--check", "--diff")
    assert rehearsal.status == 0, rehearsal.output
    assert not (site.host.home / "config").exists()
    assert not site.manifests
    first = site.play()
    assert first.status == 0, first.output
    assert len(site.manifests) == 2, "the first backups are taken at once"
    assert set(site.host.cron_lines()) == {"databases", "verify"}
    assert site.host.run_as_cron("databases") == 0
    assert len(site.manifests) == 4, "a job that a clock starts takes a backup, however young the last one is"
    assert site.host.run_as_cron("verify") == 0
    status = site.host.lifeboat("status", "--json", "--jobs", str(site.host.home / "config"))
    assert status.returncode == 0, status.stdout + status.stderr
    assert {job["job"]: job["last_status"] for job in json.loads(status.stdout)["jobs"]} == {"databases": 0, "verify": 0}
    again = site.play()
    assert (again.status, again.recap("db1")["changed"]) == (0, 0), again.output
    (site.host.home / "here" / "shop" / "manifests").rename(site.host.home / "here" / "shop" / "gone")
    assert site.host.run_as_cron("verify") == 8, "and a look at the backups sees when they are gone"


def test_a_database_with_a_schedule_of_its_own_has_a_job_and_what_is_no_longer_asked_for_goes(site: Site) -> None:
    shop, licences = site.databases
    own = [{"name": shop}, {"name": licences, "schedule": "every 15m"}]
    secret = {"lifeboat_login_password": "not-asked-for", "lifeboat_schedule": {"verify": "never", "databases": "daily at 02:30"}}
    site.host.program.parent.mkdir(parents=True)
    site.host.program.touch()
    run = site.host.play("role:backup", "--diff", **site.described(lifeboat_databases=own, lifeboat_schedule_jobs=True, **secret))
    assert run.status == 0, run.output
    lines = site.host.cron_lines()
    assert set(lines) == {"databases", f"database-{licences}"}
    assert lines["databases"].startswith("30 2 * * * ")
    general, alone = site.job("databases"), site.job(f"database-{licences}")
    assert [item["name"] for item in general["options"]["databases"]] == [shop]
    assert general["options"]["exclude_databases"] == [licences]
    assert [item["name"] for item in alone["options"]["databases"]] == [licences]
    assert "not-asked-for" not in run.output + json.dumps([general, alone])
    assert site.host.files()["config/shop/login_password"] == ("0600", b"not-asked-for")
    # The same with the schedule of one database, and that of the checks, gone.
    run = site.host.play("role:backup", **site.described(lifeboat_schedule_jobs=True, lifeboat_schedule={"databases": "never"}))
    assert run.status == 0, run.output
    assert set(site.host.cron_lines()) == {"verify"}
    assert not (site.host.home / "config" / "shop" / f"database-{licences}.json").exists()


def test_an_impossible_schedule_is_one_sentence_and_nothing_is_changed(site: Site) -> None:
    run = site.play("--tags", "backup", lifeboat_schedule={"databases": "0 25 * * *"})
    assert run.status != 0
    assert "hour 25 is not between 0 and 23" in run.output
    assert not site.host.files().keys() - {"identity"}
    assert not site.manifests
