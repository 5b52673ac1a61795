# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What drills said about backups, read from a report repository."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Union

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment

__all__ = ["Drilled", "last_drills", "past_reports"]

READERS = 8
HISTORY = 60
"""Drills that a page draws: five years of monthly ones."""


@dataclass(frozen=True)
class Drilled:
    """The last drill of a backup: its verdict, whether the objective was met (None: not said), when it began, and whether it was
    good: passed, with every promise kept.
    """

    verdict: str
    objective_met: bool | None
    at: dt.datetime
    good: bool = False

    def to_document(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "objective_met": self.objective_met, "at": format_moment(self.at), "good": self.good}


def last_drills(
    repository: Repository, system: str, refs: Collection[BackupRef], kind: str | None = None, name: str | None = None
) -> tuple[dict[BackupRef, Drilled], list[tuple[str, str]]]:
    """The last drill of each of these backups that had one, and the reports that cannot be read: key and reason.

    One listing, and one small read per drilled backup. Raises `RepositoryError` when the repository cannot be listed.
    """
    newest: dict[BackupRef, tuple[dt.datetime, str]] = {}
    for info in repository.list(layout.reports_prefix(system, kind, name)):
        parsed = layout.parse_report_key(info.key)
        if parsed is not None and parsed[0] in refs:
            ref, started_at = parsed
            newest[ref] = max(newest.get(ref, (started_at, info.key)), (started_at, info.key))
    keys = {ref: key for ref, (_started_at, key) in newest.items()}
    drills: dict[BackupRef, Drilled] = {}
    unreadable: list[tuple[str, str]] = []
    with ThreadPoolExecutor(max_workers=READERS) as pool:
        for (ref, key), answer in zip(keys.items(), pool.map(lambda key: _read(repository, key), keys.values())):
            if isinstance(answer, Drilled):
                drills[ref] = answer
            else:
                unreadable.append((key, answer))
    return drills, unreadable


def past_reports(repository: Repository, system: str, kind: str, name: str, limit: int = HISTORY) -> list[DrillReport]:
    """The newest so many reports on drills of one asset, oldest first; those that cannot be read are left out.

    One listing, and one small read each. Raises `RepositoryError` when the repository cannot be listed.
    """
    found = []
    for info in repository.list(layout.reports_prefix(system, kind, name)):
        parsed = layout.parse_report_key(info.key)
        if parsed is not None:
            found.append((parsed[1], info.key))
    with ThreadPoolExecutor(max_workers=READERS) as pool:
        answers = pool.map(lambda entry: _report(repository, entry[1]), sorted(found)[-limit:])
    return [answer for answer in answers if isinstance(answer, DrillReport)]


def _read(repository: Repository, key: str) -> Union[Drilled, str]:
    report = _report(repository, key)
    if isinstance(report, str):
        return report
    return Drilled(report.verdict, report.objective.met, report.started_at, report.good)


def _report(repository: Repository, key: str) -> Union[DrillReport, str]:
    try:
        return DrillReport.from_bytes(repository.read(key))
    except LifeboatError as error:
        return str(error)
