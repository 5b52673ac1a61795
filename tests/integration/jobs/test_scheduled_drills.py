# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill's job as cron starts it: it looks often, drills when that is due, and says when it is not."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.deliver import deliver
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from support.clusters import Server, readable_bin_dir
from support.drills import BackedUp, back_up, short_work_dir
from support.jobs import Jobs
from support.leaks import eventually
from support.logical import posix
from support.reports import a_report

SHOP = """
    CREATE TABLE invoices (number int PRIMARY KEY, cents bigint NOT NULL CHECK (cents > 0));
    INSERT INTO invoices SELECT n, n * 100 FROM generate_series(1, 300) AS n;
    CREATE VIEW large AS SELECT i.number FROM invoices i WHERE i.cents > 20000 AND i.number IN (SELECT number FROM invoices);
    GRANT SELECT ON invoices TO PUBLIC;
"""


@dataclass(frozen=True)
class Practice:
    """A drill host with a job for the database `name`, which a server of PostgreSQL 15 holds at first."""

    jobs: Jobs
    name: str
    taken: BackedUp
    work_dir: Path

    @property
    def reports(self) -> Path:
        return self.jobs.home / "reports"

    def options(self, **more: Any) -> dict[str, Any]:
        given = self.taken.options(self.work_dir, report_repository=posix(self.reports), report_dir=str(self.jobs.home / "kept"), **more)
        # A host with PostgreSQL 15 and 18: no one directory has both.
        return {key: value for key, value in given.items() if key != "bin_dir"}

    def write(self, **more: Any) -> None:
        self.jobs.write("drill-shop", "drill", self.options(**{"max_age": "30d", **more}), schedule="17 3 * * *")

    def lines(self) -> list[str]:
        log = self.jobs.home / "log" / "shop" / "drill-shop.jsonl"
        return log.read_text().splitlines() if log.exists() else []

    def run(self) -> tuple[int, str, list[str]]:
        """A run of the job: its exit status, its last words, and what it told on the way."""
        before = len(self.lines())
        done = self.jobs.run("shop/drill-shop", PATH=f"{readable_bin_dir(18)}:{os.environ['PATH']}")
        events = self.jobs.events("drill-shop")[before:]
        assert done.stderr == ""
        return done.returncode, events[-1]["message"], [event["message"] for event in events if event["event"] == "progress"]

    def found(self, room: str = "reports") -> list[dict[str, Any]]:
        """The reports in the report repository, oldest first."""
        return [json.loads(path.read_text()) for path in sorted((self.reports / "shop").glob(f"{room}/database/*/*.json"))]


@pytest.fixture
def practice(postgres15: Server, tmp_path: Path) -> Iterator[Practice]:
    with postgres15.database() as name, short_work_dir() as work_dir:
        postgres15.execute(SHOP, name)
        yield Practice(Jobs(tmp_path), name, back_up(postgres15, name, tmp_path), work_dir)


@pytest.mark.needs("netns", "postgresql:18")
def test_a_job_drills_at_once_then_waits_and_drills_again_after_an_upgrade_of_production(practice: Practice, postgres18: Server) -> None:
    practice.write()
    status, said, told = practice.run()
    assert (status, said) == (0, f"the drill of {practice.name} passed")
    assert told[0] == "a drill is due: it was never drilled, as far as can be seen from here"
    (report,) = practice.found()
    assert report["postgresql"].partition(".")[0] == report["server_version"].partition(".")[0] == "15"
    assert len(told) > len(report["phases"]), "every phase is told when it begins"

    status, said, told = practice.run()
    assert (status, told) == (0, [])
    assert said.startswith("no drill is due: its last good drill is of ")
    assert len(practice.found()) == 1
    standing = practice.jobs.status()["drill-shop"]
    assert standing["problem"] == ""
    assert standing["drill"]["last_good"] == report["started_at"]
    due = dt.datetime.fromisoformat(report["started_at"]) + dt.timedelta(days=30, hours=-2)
    assert dt.datetime.fromisoformat(standing["drill"]["next_due"]) == due

    with postgres18.database(practice.name):
        postgres18.execute(SHOP, practice.name)
        newest = back_up(postgres18, practice.name, practice.jobs.home, (practice.taken.identity, practice.taken.signer))
    status, said, told = practice.run()
    assert (status, said) == (0, f"the drill of {practice.name} passed")
    assert told[0] == "a drill is due: its newest backup is of PostgreSQL 18, and its last good drill was of 15"
    assert [report["postgresql"].partition(".")[0] for report in practice.found()] == ["15", "18"]
    assert practice.run()[1].startswith("no drill is due")

    # One that is not good is tried again with every look, though the one before it is young.
    (dump,) = newest.folder.glob("database.dump*")
    dump.write_bytes(dump.read_bytes()[:-1])
    practice.write(max_age="1s")
    assert practice.run()[0] != 0
    practice.write()
    status, said, told = practice.run()
    assert status != 0
    assert "was not good" in told[0]
    assert [report["verdict"] for report in practice.found()] == ["passed", "passed", "failed", "failed"]


@pytest.mark.needs("netns", "postgresql:18")
def test_before_an_upgrade_the_dump_is_tried_on_the_next_version_and_that_is_no_drill_that_was_due(practice: Practice) -> None:
    practice.write(max_age=None, server_major=18)
    status, said, _told = practice.run()
    (report,) = practice.found("upgrades")
    assert (status, report["verdict"]) == (0, "passed"), (said, report["checks"])
    assert (report["postgresql"].partition(".")[0], report["server_version"].partition(".")[0]) == ("18", "15")
    assert any("does not count as the drill that was due" in warning for warning in report["warnings"])
    checks = {check["name"]: check for check in report["checks"]}
    assert "only names were compared" in checks["schema"]["detail"]
    assert "300 rows" in checks["row counts"]["found"]
    assert practice.found() == []
    practice.write(server_major=14, max_age=None)
    assert practice.run()[0] != 0
    assert "server_major is 14, and backup" in practice.found("upgrades")[-1]["reason"]


@pytest.mark.needs("netns")
def test_two_jobs_at_the_same_hour_drill_one_after_the_other(practice: Practice) -> None:
    practice.write()
    practice.work_dir.mkdir(mode=0o711)
    descriptor = os.open(practice.work_dir, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with practice.jobs.start("run", "drill-shop") as waiting:
        eventually(lambda: any("wait for the drill" in line for line in practice.lines()), "the job waits for its turn")
        status = practice.jobs.status()["drill-shop"]
        assert (status["running"], status["doing"]) == (True, f"wait for the drill that goes on in {practice.work_dir}")
        os.close(descriptor)
        waiting.communicate(timeout=300)
    assert waiting.returncode == 0
    assert [report["verdict"] for report in practice.found()] == ["passed"]


def test_a_report_on_another_version_is_no_report_on_a_drill(practice: Practice) -> None:
    ref = practice.taken.ref
    assert layout.parse_report_key(layout.report_key(ref, now(), upgrade=True)) is None


def test_status_tells_of_the_drill_and_not_only_of_the_look(practice: Practice) -> None:
    practice.write()
    plan = DrillPlan.from_options(practice.options(max_age="30d"))
    at = now() - dt.timedelta(days=32)
    old = a_report(
        name=practice.name, backup_id=practice.taken.backup_id, started_at=at, finished_at=at, postgresql="15.1", server_version="15.1"
    )
    assert deliver(plan, old)[0] == []
    status = practice.jobs.lifeboat("status")
    assert status.returncode == 1
    assert f"last good drill on {at:%Y-%m-%d}, one is due now" in status.stdout
    assert "overdue: the last good drill is 32 days old, and one every 30 days was" in status.stdout
    assert all(len(line) <= 80 for line in status.stdout.splitlines())
