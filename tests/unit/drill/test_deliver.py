# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report is delivered in four forms, and its page knows the drills before it, as far as they can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.deliver import deliver, deliver_waiting
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from support.reports import a_history, a_report


def plan(**more: Any) -> DrillPlan:
    return DrillPlan("shop", "shop", {}, **more)


def test_the_page_draws_the_drills_before_it_from_wherever_they_lie(tmp_path: Path) -> None:
    directory, repository = tmp_path / "directory", tmp_path / "repository"
    repository.mkdir(mode=0o700)
    older, newer = a_history(4)[:2], a_history(4)[2:]
    for report in older:
        assert deliver(plan(report_dir=directory), report)[0] == []
    for report in newer:
        assert deliver(plan(report_repository={"type": "posix", "path": str(repository)}), report)[0] == []
    both = plan(report_dir=directory, report_repository={"type": "posix", "path": str(repository)})
    faults, files = deliver(both, a_report())
    assert faults == []
    assert [Path(file).suffix for file in files] == [".json", ".md", ".html", ".xml"]
    page = Path(files[2]).read_text()
    assert "of 5 drills good" in page
    assert page == next(repository.rglob("*20261121T040000Z-*.html")).read_text()


def test_reports_that_cannot_be_read_cost_the_page_its_history_and_nothing_else(tmp_path: Path) -> None:
    for report in a_history(3):
        deliver(plan(report_dir=tmp_path / "reports"), report)
    for number, file in enumerate(sorted((tmp_path / "reports").rglob("*.json"))):
        file.write_bytes([b"", json.dumps({"schema": 99}).encode(), b"\xff"][number])
    (tmp_path / "file").write_text("")
    unusable = {"type": "posix", "path": str(tmp_path / "file")}
    faults, files = deliver(plan(report_dir=tmp_path / "reports", report_repository=unusable), a_report())
    assert len(faults) == 1
    assert "History" not in Path(files[2]).read_text()


def test_what_the_repository_did_not_take_is_brought_by_the_next_look(tmp_path: Path) -> None:
    place = tmp_path / "repository"
    place.write_text("in the way")
    both = plan(report_dir=tmp_path / "reports", report_repository={"type": "posix", "path": str(place)})
    faults, files = deliver(both, a_report())
    assert (len(faults), len(files)) == (1, 4)
    assert len(deliver_waiting(both)) == 1
    place.unlink()
    place.mkdir(mode=0o700)
    half = place / Path(files[0]).relative_to(tmp_path / "reports")
    half.parent.mkdir(parents=True)
    half.write_bytes(Path(files[0]).read_bytes())
    assert deliver_waiting(both) == []
    kept = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert kept == {str(Path(file).relative_to(tmp_path / "reports")): Path(file).read_bytes() for file in files}
    assert sorted(str(path) for path in (tmp_path / "reports").rglob("*") if path.is_file()) == sorted(files)


def test_another_databases_drills_are_not_its_history(tmp_path: Path) -> None:
    for report in a_history(3, name="licences"):
        deliver(plan(report_dir=tmp_path), report)
    assert "History" not in Path(deliver(plan(report_dir=tmp_path), a_report())[1][2]).read_text()
