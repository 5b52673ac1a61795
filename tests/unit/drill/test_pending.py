# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a drill host knows of its earlier drills, when it may read their reports and when it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.deliver import deliver
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.pending import find_past, look
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DrillNotPassed
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.verdict import Objective
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from support.reports import a_report

NOWHERE = {"here": {"type": "posix", "path": "/nonexistent/lifeboat"}}


def plan(**more: Any) -> DrillPlan:
    return DrillPlan("shop", "shop", NOWHERE, **more)


def unreadable(tmp_path: Path) -> dict[str, Any]:
    """A report repository that gives nothing back, as one does whose credential may only put."""
    (tmp_path / "file").write_text("")
    return {"type": "posix", "path": str(tmp_path / "file")}


def just_now(**fields: Any) -> DrillReport:
    return a_report(started_at=now(), finished_at=now(), postgresql="15.14", server_version="15.14", **fields)


def test_a_directory_of_the_host_remembers_where_the_report_repository_may_only_take(tmp_path: Path) -> None:
    host = plan(report_dir=tmp_path / "kept", report_repository=unreadable(tmp_path))
    assert look(host, 86400)[0].due
    deliver(host, just_now())
    (past,), notes = find_past(host)
    assert (past.good, past.major, notes) == (True, 15, [])


def test_without_such_a_directory_every_look_drills_and_says_why(tmp_path: Path) -> None:
    due, notes = look(plan(report_repository=unreadable(tmp_path)), 86400)
    assert due.due
    assert notes[0].startswith("earlier reports cannot be read: ")


def test_where_the_newest_backup_cannot_be_seen_the_look_says_so_and_goes_by_the_age(tmp_path: Path) -> None:
    host = plan(report_dir=tmp_path)
    deliver(host, just_now())
    due, notes = look(host, 86400)
    assert not due.due
    assert notes[0].startswith("whether the server's major version has changed is not known: ")


def test_a_broken_promise_is_drilled_again_unless_it_was_not_to_be_enforced(tmp_path: Path) -> None:
    missed = Objective(3600, 900, False, "RTO is 1 s over the promised 900 s")
    deliver(plan(report_dir=tmp_path), just_now(objective=missed))
    assert look(plan(report_dir=tmp_path), 86400)[0].due
    assert not look(plan(report_dir=tmp_path, enforce_objective=False), 86400)[0].due


def test_a_drill_on_another_major_version_is_not_remembered_as_one(tmp_path: Path) -> None:
    host = plan(report_dir=tmp_path)
    _faults, files = deliver(host, a_report(started_at=now(), postgresql="18.1", server_version="15.14"))
    assert "/upgrades/" in files[0]
    assert find_past(host) == ([], [])


def test_a_host_is_not_content_while_the_others_do_not_have_the_report(tmp_path: Path) -> None:
    options = {"system": "shop", "name": "shop", "repositories": NOWHERE, "report_dir": str(tmp_path / "kept"), "max_age": "1d"}
    given = {**options, "report_repository": unreadable(tmp_path)}
    deliver(DrillPlan.from_options(given), just_now())
    with pytest.raises(DrillNotPassed, match="no drill is due, but the report of an earlier one could not be stored yet"):
        run(given)
    (tmp_path / "file").unlink()
    (tmp_path / "file").mkdir(mode=0o700)
    assert run(given)["changed"] is False
    assert list((tmp_path / "file").rglob("*.json"))
