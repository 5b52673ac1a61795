# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill report to start from: a healthy drill of a small shop, any field replaced."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import (
    DrillReport,
    Isolation,
    Objective,
    Phase,
    PointInTime,
    Teardown,
)

__all__ = ["a_history", "a_recovery", "a_report"]

STARTED = dt.datetime(2026, 11, 21, 4, 0, tzinfo=dt.timezone.utc)


def a_report(**fields: Any) -> DrillReport:
    """The healthy drill, with these fields instead."""
    return dataclasses.replace(
        DrillReport(
            system="shop",
            kind="database",
            name="shop",
            backup_id="20261121T031500Z-1a2b3c4d",
            repository="offsite",
            verdict="passed",
            reason="All 6 checks passed",
            objective=Objective(rpo_seconds=3600, rto_seconds=900, met=True),
            service_ready_seconds=6.21,
            verified_seconds=9.87,
            rpo_seconds=2700.0,
            rpo_note="",
            phases=(
                Phase("plan", 0.11),
                Phase("guard", 0.34),
                Phase("target", 0.52),
                Phase("fetch", 2.9),
                Phase("restore", 2.34),
                Phase("checks", 3.66),
                Phase("teardown", 0.4),
            ),
            checks=(
                CheckResult("rows", "passed", "171,000 rows in 9 tables", "171,000 rows in 9 tables"),
                CheckResult("sequences", "passed", "7 at least where production's were", "7"),
                CheckResult("schema", "passed", "sha256 9f4e…", "sha256 9f4e…"),
                CheckResult("gapless invoices.number by year", "passed", "no number missing, doubled or empty", "62000 rows, no gap"),
                CheckResult("integer orders.total_cents", "passed", "whole numbers", "total_cents is bigint"),
                CheckResult("decrypt customers.secret", "passed", "every value opens with the protected key", "opened 20000 values"),
            ),
            isolation=Isolation(True, "network, mount and pid namespaces", "no address but its own loopback could be reached"),
            settings={"fsync": "off", "archive_mode": "off", "listen_addresses": ""},
            snapshot_at=STARTED - dt.timedelta(minutes=45),
            failure_at=STARTED,
            started_at=STARTED,
            finished_at=STARTED + dt.timedelta(seconds=10.27),
            teardown=Teardown(True, 0.4, (), "no process and no directory is left"),
            host="drill1",
            lifeboat_version="0.1.0",
        ),
        **fields,
    )


def a_recovery(**fields: Any) -> PointInTime:
    """A recovery to the latest state, which lost a minute and a half."""
    return dataclasses.replace(
        PointInTime(
            target="the latest state",
            chain=("20261120T010000Z-1a2b3c4d", "20261121T010000Z-2b3c4d5e"),
            timeline=1,
            base_lsn="9/2A000120",
            reached_lsn="9/B1FFFFF8",
            stopped="redo done at 9/B1FFFFF8",
            last_commit=STARTED - dt.timedelta(seconds=100),
            heartbeat=STARTED - dt.timedelta(seconds=90),
            first_segment="00000001000000090000002A",
            last_segment="0000000100000009000000B1",
            segments=136,
            window_from=STARTED - dt.timedelta(hours=3),
            window_until=STARTED - dt.timedelta(seconds=75),
            gap_seconds=61.0,
        ),
        **fields,
    )


def a_history(drills: int = 14, **fields: Any) -> list[DrillReport]:
    """Monthly drills before `a_report`, growing slower: one failed, one unverified, one that broke its promise."""
    reports = []
    for months in range(drills, 0, -1):
        began = STARTED - dt.timedelta(days=30 * months)
        measured = {"verified_seconds": 4.0 + 0.4 * (drills - months), "rpo_seconds": 1800.0 + 137 * (months * 7 % 11)}
        objective = Objective(rpo_seconds=3600, rto_seconds=900 if months < 6 else 8, met=True)
        verdict = "passed"
        if months == 7:
            measured, objective = {**measured, "verified_seconds": 9.0}, Objective(3600, 8, False, "RTO is 1 s over the promised 8 s")
        if months in (3, 10):
            verdict = "failed" if months == 3 else "unverified"
            measured["verified_seconds"] = None  # type: ignore[assignment]
            objective = Objective(objective.rpo_seconds, objective.rto_seconds, None, "RTO could not be measured")
        changed = {"started_at": began, "finished_at": began, "verdict": verdict, "objective": objective, **measured, **fields}
        reports.append(a_report(**changed))
    return reports
