# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `drill`: every database gets its drill, every drill its report, and one that did not pass fails the play."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.logical import posix

pytestmark = pytest.mark.needs("netns")


def reports_in(folder: Path) -> dict[str, dict[str, Any]]:
    """The newest report of each database."""
    found = [json.loads(path.read_text()) for path in sorted(folder.rglob("*.json"))]
    return {report["name"]: report for report in found}


def test_healthy_backups_pass_and_hand_their_reports_over(backed_up: Any) -> None:
    rehearsal = backed_up.drill("--check")
    assert rehearsal.status == 0, rehearsal.output
    assert not rehearsal.stats.get("lifeboat_drills")
    assert not (backed_up.home / "reports").exists()
    run = backed_up.drill(lifeboat_objective={"rpo": "1h", "rto": "1h"})
    assert run.status == 0, run.output
    assert set(run.stats["lifeboat_drills"]) == {f"shop/{name}" for name in backed_up.databases}
    for name, report in reports_in(backed_up.home / "reports").items():
        assert run.stats["lifeboat_drills"][f"shop/{name}"] == report
        assert report["verdict"] == "passed"
        assert report["objective"]["met"] is True
    assert backed_up.nothing_left()


def test_a_damaged_backup_fails_the_play_after_the_other_one_had_its_drill(backed_up: Any, tmp_path: Path) -> None:
    shop, licences = backed_up.databases
    copy, reports_folder = tmp_path / "copy", tmp_path / "reports"
    shutil.copytree(backed_up.repository, copy)
    (dump,) = copy.glob(f"shop/database/{shop}/*/database.dump.zst.age")
    damaged = bytearray(dump.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    dump.write_bytes(damaged)
    run = backed_up.drill(lifeboat_repositories={"copy": posix(copy)}, lifeboat_report_dir=str(reports_folder))
    assert run.status != 0
    assert f"1 of 2 drills of system shop did not pass. {shop}: the drill's verdict is failed" in run.output
    reports = reports_in(reports_folder)
    assert {name: report["verdict"] for name, report in reports.items()} == {shop: "failed", licences: "passed"}
    assert run.stats["lifeboat_drills"][f"shop/{shop}"] == reports[shop]
    assert backed_up.nothing_left()


def test_each_database_has_a_drill_of_its_own(backed_up: Any, tmp_path: Path) -> None:
    shop, licences = backed_up.databases
    older = next(path.stem for path in backed_up.manifests if path.parent.name == shop)
    run = backed_up.drill(
        lifeboat_databases=[
            {"name": shop, "drill": {"backup_id": older, "globals": "false", "jobs": 1}, "digests": {"tables": ["all"]}, "max_age": "1h"},
            {"name": licences, "drill": {"failure_at": "2099-01-01T00:00:00Z"}, "objective": {"rpo": "1h"}},
        ],
        lifeboat_report_dir=str(tmp_path / "reports"),
    )
    reports = reports_in(tmp_path / "reports")
    assert run.status != 0, "the other one's promise is not kept"
    assert (reports[shop]["verdict"], reports[shop]["backup_id"]) == ("passed", older)
    assert reports[licences]["objective"]["met"] is False


def test_a_drill_that_could_not_begin_is_handed_over_as_unverified(backed_up: Any) -> None:
    run = backed_up.drill(lifeboat_databases=[{"name": "shop", "objective": {"rpo": "soon"}}])
    assert run.status != 0
    assert "1 of 1 drills of system shop did not pass" in run.output
    assert run.stats["lifeboat_drills"]["shop/shop"]["verdict"] == "unverified"


@pytest.mark.parametrize(
    ("groups", "variables", "sentence"),
    [
        ({"databases": ["db1"], "drill": ["db1"]}, {}, "db1 is a production host: it is in the group databases"),
        ({"drill": ["drill1"]}, {}, "The inventory has no host in the group databases"),
        ({"databases": ["db1"], "drill": ["drill1"]}, {"lifeboat_production_group": "production"}, "no host in the group production"),
        ({"databases": ["localhost"], "drill": ["drill1"]}, {}, "this is the production host 'localhost'"),
    ],
    ids=["in the group", "no group", "another group", "the same machine by another name"],
)
def test_production_is_refused(backed_up: Any, groups: dict[str, list[str]], variables: dict[str, str], sentence: str) -> None:
    run = backed_up.drill(groups=groups, **variables)
    assert run.status != 0
    assert sentence in run.output
    assert backed_up.nothing_left()


def test_an_inventory_without_production_says_so_on_purpose(backed_up: Any) -> None:
    run = backed_up.drill(groups={"drill": ["drill1"]}, lifeboat_production_group="")
    assert run.status == 0, run.output
