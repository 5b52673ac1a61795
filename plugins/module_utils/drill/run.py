# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill from its options to its report, whatever happens on the way.

plan → guards → target → fetch and open → restore → checks → teardown (always) → report (always). Nothing that is
expected to go wrong leaves this file as an error without a report.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import PASSED
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.deliver import deliver, deliver_waiting
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.frame import Frame
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.pending import look, turn
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.pitr_story import PitrStory
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.pitr_terms import PITR
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan, work_dir_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.prepare import rehearse
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.reap import reap_all
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.story import Story
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DrillNotPassed
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import (
    DrillReport,
    Isolation,
    Teardown,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.verdict import Objective, derive_verdict, judge_objective
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import VERSION, host_name, now

__all__ = ["drill", "run"]


def run(given: Mapping[str, Any], check_mode: bool = False, progress: Callable[[str], None] = lambda message: None) -> dict[str, Any]:
    """From options to a result, for the module and the command: a drill, or with `reap` what killed drills left.

    With `max_age` it drills when that is due, and else only says when it will be (`due`). Raises `DrillNotPassed` with the
    report in its `result`, `ConfigurationError` before anything runs.
    """
    if options.boolean(given, "reap", "restore_drill", False):
        return reap_all(work_dir_of(given), check_mode)
    plan = DrillPlan.from_options(given)
    asked: dict[str, Any] = {}
    notes: list[str] = []
    waiting = [] if check_mode else deliver_waiting(plan)
    if plan.max_age_seconds is not None:
        due, notes = look(plan, plan.max_age_seconds)
        asked["due"] = due.to_document()
        if not due.due and waiting:
            said = f"no drill is due, but the report of an earlier one could not be stored yet: {'; '.join(waiting)}"
            raise DrillNotPassed(said, f"{plan.kind} {plan.name!r} of system {plan.system!r}", result={"changed": False, **asked})
        if not due.due:
            return {"changed": False, **asked, "warnings": notes}
        progress(f"a drill is due: {due.reason}")
    if check_mode:
        return {"changed": True, "rehearsal": rehearse(plan), **asked, "warnings": notes}
    with turn(plan.work_dir, progress) if asked else contextlib.nullcontext():
        report = drill(plan, progress)
    faults, files = deliver(plan, report)
    warnings = [*notes, *report.warnings]
    result = {"changed": True, "report": report.to_document(), "report_files": files, **asked, "warnings": warnings}
    if report.verdict != PASSED:
        raise DrillNotPassed(f"the drill's verdict is {report.verdict}: {report.reason}", _which(report), result=result)
    if plan.enforce_objective and not report.good:
        raise DrillNotPassed(f"the objective was not met: {report.objective.reason}", _which(report), result=result)
    if faults:
        raise DrillNotPassed(f"the drill passed, but its report could not be stored: {'; '.join(faults)}", _which(report), result=result)
    return result


def drill(plan: DrillPlan, progress: Callable[[str], None] = lambda message: None) -> DrillReport:
    """Run one drill to its end and report on it; whatever it was stopped by, nothing of it is left.

    Start it from the main thread: the throwaway server dies with the thread that started it.
    """
    started_at = now()
    story: Frame = (PitrStory if plan.mode == PITR else Story)(plan, progress)
    try:
        story.tell()
    finally:
        teardown = story.tear_down()
    return _report(plan, story, started_at, teardown)


def _report(plan: DrillPlan, story: Frame, started_at: dt.datetime, teardown: Teardown) -> DrillReport:
    verdict = derive_verdict(story.findings)
    failure_at = plan.failure_at or started_at
    found = story.found
    rpo_seconds, rpo_note = story.rpo(failure_at)
    if verdict.verdict != PASSED:
        rpo_note = rpo_note or "measured to the snapshot of a backup that did not pass"
    watch = story.watch
    verified_seconds = watch.verified_seconds if verdict.verdict == PASSED else None
    return DrillReport(
        system=plan.system,
        kind=plan.kind,
        name=plan.name,
        backup_id=found.manifest.backup_id if found is not None else "",
        repository=found.repository.name if found is not None else "",
        verdict=verdict.verdict,
        reason=verdict.reason,
        objective=_objective(plan, verdict.verdict, rpo_seconds, verified_seconds),
        service_ready_seconds=watch.service_ready_seconds,
        verified_seconds=verified_seconds,
        rpo_seconds=rpo_seconds,
        rpo_note=rpo_note,
        phases=tuple(watch.phases),
        checks=tuple(story.checks),
        isolation=story.isolation or Isolation(False, "none", "no server was started"),
        settings=story.settings,
        snapshot_at=story.state_at,
        failure_at=failure_at,
        started_at=started_at,
        finished_at=now(),
        teardown=teardown,
        host=host_name(),
        lifeboat_version=VERSION,
        waived=tuple(sorted(plan.waive)),
        warnings=tuple(story.warnings),
        recovery=story.recovery,
        server_version=found.manifest.server_version if found is not None else "",
        postgresql=story.postgresql,
    )


def _objective(plan: DrillPlan, verdict: str, rpo_seconds: float | None, verified_seconds: float | None) -> Objective:
    """Whether the promise was kept: a backup that did not pass keeps none, however young it is."""
    return judge_objective(plan.rpo_seconds, plan.rto_seconds, rpo_seconds if verdict == PASSED else None, verified_seconds)


def _which(report: DrillReport) -> str:
    backup = report.backup_id or "no backup"
    return f"{backup} of {report.kind} {report.name!r} of system {report.system!r}"
