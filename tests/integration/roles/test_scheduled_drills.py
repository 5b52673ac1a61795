# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `site` with a drill host: one run sets both up and drills at once, and what it leaves drills by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.clusters import Server
from support.drills import short_work_dir
from support.hosts import Host, a_host
from support.keys import KeyPair, ssh_pair
from support.logical import Identity, new_identity, posix
from support.playbooks import Play, play

pytestmark = pytest.mark.needs("root", "netns")


@dataclass(frozen=True)
class Site:
    """A database host and a drill host, which are both this machine, in one folder."""

    host: Host
    server: Server
    database: str
    work_dir: Path
    identity: Identity
    signer: KeyPair

    def play(self, *arguments: str, **variables: Any) -> Play:
        production = {
            "lifeboat_encryption": {"recipients": [self.identity.recipient]},
            "lifeboat_login_unix_socket": str(self.server.socket_dir),
            "lifeboat_login_port": self.server.port,
            "lifeboat_backup_become_user": "",
            "lifeboat_backup_globals": "false",
            "lifeboat_signing_key": self.signer.path,
            "lifeboat_lock_dir": str(self.host.home / "locks"),
        }
        drill = {
            "lifeboat_identity_file": str(self.identity.file),
            "lifeboat_drill_become_user": "",
            "lifeboat_drill_waive": ["same_host"],
            "lifeboat_work_dir": str(self.work_dir),
            "lifeboat_report_repository": posix(self.host.home / "reports"),
            "lifeboat_pitr": {"preload_libraries": ["pgaudit"]},
            "lifeboat_enforce_objective": False,
        }
        everywhere = self.host.variables(
            lifeboat_databases=[{"name": self.database}],
            lifeboat_repositories={"here": posix(self.host.home / "here")},
            lifeboat_verify_keys=[self.signer.public],
            lifeboat_bin_dir=str(self.server.bin_dir),
            lifeboat_objective={"rto": "1h"},
            **variables,
        )
        children = {
            "databases": {"hosts": {"db1": {}}, "vars": production},
            "drill": {"hosts": {"drill1": {}}, "vars": {**drill, **({"lifeboat_pitr": {}} if "--tags" not in arguments else {})}},
        }
        return play("site", {"all": {"vars": everywhere, "children": children}}, self.host.home / "control", *arguments)

    @property
    def reports(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted((self.host.home / "reports").rglob("reports/*/*/*.json"))]

    def job(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.host.home / "config" / "shop" / f"{name}.json").read_text())
        return found


@pytest.fixture
def site(postgres18: Server) -> Iterator[Site]:
    with a_host() as host, postgres18.database() as shop, short_work_dir() as work_dir:
        postgres18.execute("CREATE TABLE invoices (number int); INSERT INTO invoices SELECT generate_series(1, 300)", shop)
        yield Site(host, postgres18, shop, work_dir, new_identity(host.home / "identity"), ssh_pair(host.home / "key"))


def test_one_run_sets_up_a_drill_host_that_drills_at_once_and_then_goes_on_by_itself(site: Site) -> None:
    rehearsal = site.play("--check", "--diff", "--limit", "drill1")
    assert rehearsal.status == 0, rehearsal.output
    assert not (site.host.home / "config").exists()
    assert not site.reports
    run = site.play()
    assert run.status == 0, run.output
    (report,) = site.reports
    assert (report["name"], report["verdict"]) == (site.database, "passed")
    assert run.stats["lifeboat_drills"][f"shop/{site.database}"] == report
    job = f"drill-{site.database}"
    assert set(site.host.cron_lines()) == {"databases", "verify", job, "reap"}
    again = site.play("--limit", "drill1")
    assert (again.status, again.recap("drill1")["changed"]) == (0, 0), again.output
    assert site.host.run_as_cron(job) == 0
    assert len(site.reports) == 1, "none is due for a month"
    status = site.host.lifeboat("status", "--jobs", str(site.host.home / "config"))
    assert f"last good drill on {report['started_at'][:10]}, the next is due on " in status.stdout
    # What the host remembers by is gone, as on a drill host that was made anew: it drills by itself.
    for place in ("reports", f"state/{site.host.user}/reports"):
        (site.host.home / place / "shop").rename(site.host.home / place / "gone")
    assert site.host.run_as_cron(job) == 0
    assert [report["verdict"] for report in site.reports] == ["passed", "passed"]


def test_a_job_has_what_its_drill_was_told_and_production_is_never_set_up_to_drill(site: Site) -> None:
    site.host.program.parent.mkdir(parents=True)
    site.host.program.touch()
    schedule = {"drill": "weekly on sunday at 04:00"}
    run = site.play("--tags", "drill", "--limit", "drill1", lifeboat_schedule=schedule, lifeboat_drill_max_age="14d")
    assert "there is no backup" in run.output, "so the drills of this run are red"
    lines = site.host.cron_lines()
    assert set(lines) == {f"drill-{site.database}", "recovery-cluster", "reap"}
    assert lines["recovery-cluster"].startswith("0 4 * * 0 root ")
    recovery, drill = site.job("recovery-cluster")["options"], site.job(f"drill-{site.database}")["options"]
    assert (recovery["mode"], recovery["name"], recovery["preload_libraries"]) == ("pitr", "cluster", ["pgaudit"])
    assert (drill["name"], drill["max_age"], drill["objective"]) == (site.database, "14d", {"rto": "1h"})
    assert drill["production_hosts"] == ["db1"]
    assert drill["report_dir"] == str(site.host.home / "state" / "root" / "reports")
    assert "db1" not in run.output.partition("PLAY RECAP")[2], "only the host that was asked for"
