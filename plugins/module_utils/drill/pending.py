# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look whether a drill is due: what earlier drills left of themselves, and which server the newest backup is of."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import PASSED
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.due import Due, Past, judge_due
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill_history import past_reports
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport, major_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now

__all__ = ["find_past", "look", "reports_of", "turn"]


def look(plan: DrillPlan, max_age_seconds: float) -> tuple[Due, list[str]]:
    """Whether it is due, and what the operator should know about the look. The repositories are asked only when nothing else decides."""
    past, notes = find_past(plan)
    found = judge_due(max_age_seconds, past, now())
    if found.due:
        return found, notes
    try:
        major = _newest_major(plan)
    except LifeboatError as error:
        return found, [*notes, f"whether the server's major version has changed is not known: {error}"]
    return judge_due(max_age_seconds, past, now(), major), notes


def find_past(plan: DrillPlan) -> tuple[list[Past], list[str]]:
    """The last drills of this asset, as far as this host can read of them; a report repository need only take."""
    notes: list[str] = []
    reports = reports_of(plan, notes)
    return [
        Past(report.started_at, report.good if plan.enforce_objective else report.verdict == PASSED, major_of(report.postgresql))
        for report in reports
    ], notes


def reports_of(plan: DrillPlan, notes: list[str] | None = None) -> list[DrillReport]:
    """Reports on earlier drills of the same asset, from both places, in any order; what cannot be read is noted, and left out."""
    places: list[Mapping[str, Any]] = []
    if plan.report_repository is not None:
        places.append(plan.report_repository)
    if plan.report_dir is not None and _is_dir(plan.report_dir):
        places.append({"type": "posix", "path": str(plan.report_dir)})
    found: list[DrillReport] = []
    for place in places:
        try:
            with open_repository("report", place, read_only=True) as repository:
                found += past_reports(repository, plan.system, plan.kind, plan.name)
        except LifeboatError as error:
            # A credential that may only put is as it should be, where a directory of this host remembers.
            if notes is not None and (plan.report_dir is None or place is not plan.report_repository):
                notes.append(f"earlier reports cannot be read: {error}")
    return found


@contextlib.contextmanager
def turn(work_dir: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """One after the other: of two at once each would measure the other one's load, and neither know how much room the other takes.

    A drill that a clock starts waits for the others of the same directory; the lock is the kernel's, and goes with the process.
    """
    try:
        descriptor = os.open(work_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # there is no drill yet, or the drill itself will say what is wrong with the directory
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"wait for the drill that goes on in {work_dir}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _newest_major(plan: DrillPlan) -> int:
    """The major version of the newest backup's server, or 0 where there is none. Raises `LifeboatError`."""
    with contextlib.ExitStack() as stack:
        repositories = [stack.enter_context(open_repository(name, spec, read_only=True)) for name, spec in plan.repositories.items()]
        newest = Catalogue.load(repositories, plan.system, plan.kind, plan.name, plan.verify_keys).newest()
        return 0 if newest is None else major_of(newest.summary.server_version)


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
