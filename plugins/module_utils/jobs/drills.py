# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a drill's job stands: not when it last looked, but when a drill was last good, by the reports on this host."""

from __future__ import annotations

import dataclasses
import datetime as dt
from dataclasses import dataclass
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.jobs.job import JobFile
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

__all__ = ["Standing", "standing_of"]


@dataclass(frozen=True)
class Standing:
    """`words` is a line for people, `problem` what is wrong in a few words, or "". Moments are None where there is none."""

    last_good: dt.datetime | None
    next_due: dt.datetime | None
    words: str
    problem: str

    def to_document(self) -> dict[str, Any]:
        return {
            name: format_moment(value) if isinstance(value, dt.datetime) else value
            for name, value in dataclasses.asdict(self).items()
            if name != "words"
        }


def standing_of(job: JobFile, moment: dt.datetime, made: dt.datetime | None) -> Standing | None:
    """Of a drill's job with an age, by its `report_dir`; None for every other job, and where nobody can tell.

    `made` is when the job file was written: what was never drilled is missed from then on.
    """
    if job.kind != "drill" or not job.options.get("max_age") or not job.options.get("report_dir"):
        return None
    from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.due import judge_due, overdue
    from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.pending import find_past
    from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan

    notes: list[str] = []
    try:
        # Only what lies on this host: to look how jobs stand is quick, and works while a store does not.
        plan = dataclasses.replace(DrillPlan.from_options(job.options), report_repository=None)
        past, notes = find_past(plan)
    except LifeboatError:
        return None
    if plan.max_age_seconds is None or plan.report_dir is None or notes:
        return None
    found = judge_due(plan.max_age_seconds, past, moment)
    since = found.last_good or made
    problem = "" if since is None else overdue(plan.max_age_seconds, since, moment)
    if found.last_good is None:
        return Standing(None, None, "no good drill yet", problem and "overdue: there was no good drill yet")
    due = f"the next is due on {found.next_due:%Y-%m-%d}" if found.next_due else "one is due now"
    return Standing(found.last_good, found.next_due, f"last good drill on {found.last_good:%Y-%m-%d}, {due}", problem)
