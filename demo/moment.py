# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second story: the log is archived, a base backup is taken, orders keep coming, and somebody drops a table.

The drill recovers to the moment before: the last order of then must be there, one placed after the mistake must not. Then
the same with one segment of the log missing or damaged, which must never end in a server that comes up with less data.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import damage
import shop
from cases import MOMENTS, Case
from findings import Findings, judge, report_of
from places import DemoError
from plan import BACKUP_ROLE, SYSTEM, Plan
from playbook import Outcome, run_playbook
from progress import Progress
from traffic import Traffic

if TYPE_CHECKING:
    import psycopg

QUIET_SECONDS = 0.2
_ARCHIVED_SECONDS = 60.0


@dataclass(frozen=True)
class Mistake:
    """`moment` lies after order `before` and before the table was dropped; order `after` was placed later still."""

    moment: str
    before: int
    after: int


def play(plan: Plan, progress: Progress, findings: Findings) -> None:
    """The whole story; raises `DemoError` when it cannot go on."""
    archive = plan.place.directory("archive", 0o700, plan.place.account)
    repositories = {"archive": {"type": "posix", "path": str(archive)}, "offsite": plan.offsite(read_only=False)}
    _archive(plan, progress, repositories)
    _base_backup(plan, progress, repositories)
    with progress.step("mistake", "orders keep coming, then somebody drops a table") as found:
        mistake = _drop_a_table(plan)
        found.append("order_lines is gone; the shop goes on without it")
    for case in MOMENTS:
        _drill(plan, progress, findings, case, archive, mistake)


def _archive(plan: Plan, progress: Progress, repositories: dict[str, Any]) -> None:
    """Archiving into both places, and the proof that a segment arrives."""
    home = plan.place.directory("archiver", 0o700, plan.place.account)
    job = home / "wal.json"
    options = {
        "system": SYSTEM,
        "repositories": repositories,
        "encryption": {"method": "age", "recipients": list(plan.keys.recipients)},
        "run_dir": str(home / "run"),
    }
    job.write_text(json.dumps(options), encoding="utf-8")
    job.chmod(0o644)
    _write_launchers(home, job)
    progress.announce("archive", "every segment of the log, sealed into both places")
    outcome = next(_played(plan, "archive", {"launcher": str(home / "wal-push"), "job_file": str(job)}))
    _require(outcome, "archiving")
    progress.done("archive", "every segment of the log, sealed into both places: proven with one", outcome.seconds)


def _write_launchers(home: Path, job: Path) -> None:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.launchers import write_launchers

    write_launchers(home, job)


def _base_backup(plan: Plan, progress: Progress, repositories: dict[str, Any]) -> None:
    """A base backup of the whole server while it sells."""
    progress.announce("base", "a base backup, while the shop sells")
    variables = {"repositories": repositories, "state_dir": str(plan.place.directory("state"))}
    with Traffic(plan.production):
        outcome = next(_played(plan, "base", variables))
    _require(outcome, "the base backup")
    sizes = f"{outcome.result.get('plain_bytes', 0) / 1e6:.0f} MB, {outcome.result.get('size_bytes', 0) / 1e6:.1f} MB sealed"
    progress.done("base", f"a base backup, while the shop sells: {sizes}", outcome.seconds)


def _drop_a_table(plan: Plan) -> Mistake:
    """Some trade, a last order, the mistake, and an order after it; all of it archived when this returns."""
    for _hour in range(2):
        with Traffic(plan.production) as traffic:
            while traffic.done["orders with invoices"] < 20:
                time.sleep(QUIET_SECONDS)
        _close_segment(plan)
    with plan.production.connect(shop.DATABASE) as connection:
        before = _order(connection)
        # A recovery compares with the moments of commits: one lies between both, and so does the target.
        moment = _one(connection, "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
        connection.execute("DROP TABLE order_lines")
        after = _order(connection)
    _close_segment(plan)
    return Mistake(str(moment), before, after)


def _order(connection: psycopg.Connection[Any]) -> int:
    statement = "INSERT INTO orders (customer_id, status, currency, total_cents) VALUES (1, 'paid', 'EUR', 4990) RETURNING id"
    return int(_one(connection, statement))


def _close_segment(plan: Plan) -> None:
    """What archive_timeout does on a quiet server; returns once the segment is archived."""
    with plan.production.connect("postgres") as connection:
        name = _one(connection, "SELECT pg_walfile_name(pg_create_restore_point('demo'))")
        connection.execute("SELECT pg_switch_wal()")
        deadline = time.monotonic() + _ARCHIVED_SECONDS
        while not _one(connection, f"SELECT coalesce(last_archived_wal, '') >= '{name}' FROM pg_stat_archiver"):
            if time.monotonic() > deadline:
                raise DemoError(f"segment {name} was not archived within {_ARCHIVED_SECONDS:.0f} s: see the server's log")
            time.sleep(0.05)


def _drill(plan: Plan, progress: Progress, findings: Findings, case: Case, archive: Path, mistake: Mistake) -> None:
    """One recovery to the moment before the mistake, from the archive or from a damaged copy of it."""
    place = damage.copy_repository(archive, plan.place.root / "copies" / case.name.replace(" ", "-").replace("'", ""), case.damage)
    progress.announce("drill", case.name)
    item = plan.drill_of(case, {"archive": {"type": "posix", "path": str(place)}}, plan.place.root / "reports" / place.name)
    item |= {
        "mode": "pitr",
        "database": shop.DATABASE,
        "target": {"time": mistake.moment},
        "objective": {"rto": "5m"},
        "markers": {
            "must_exist": ["SELECT count(*) > 100000 FROM order_lines", f"SELECT id FROM orders WHERE id = {mistake.before}"],
            "must_not_exist": [f"SELECT id FROM orders WHERE id = {mistake.after}"],
        },
    }
    outcome = next(run_playbook("drill", plan.drill_variables([item]), plan.place.root / "ansible"))
    judge(case, outcome, progress, findings)
    if case is MOMENTS[0]:
        findings.recovery = report_of(outcome)
        progress.note(f"Order {mistake.before} and order_lines are back; order {mistake.after}, placed after the mistake, is not.")


def _played(plan: Plan, name: str, variables: dict[str, Any]) -> Iterator[Outcome]:
    variables = plan.backup_variables([]) | {"titles": [name], "password_files": _password_files(plan)} | variables
    return run_playbook(name, variables, plan.place.root / "ansible")


def _password_files(plan: Plan) -> dict[str, str]:
    """The superuser's, who sets up archiving, and the backup role's."""
    found = {}
    for role in ("postgres", BACKUP_ROLE):
        path = plan.place.root / "keys" / f"{role}.password"
        path.write_text(plan.production.passwords[role])
        path.chmod(0o600)
        found[role] = str(path)
    return found


def _require(outcome: Outcome, what: str) -> None:
    if not outcome.ok:
        raise DemoError(f"{what} failed: {outcome.message}")


def _one(connection: psycopg.Connection[Any], statement: str) -> Any:
    return connection.execute(statement).fetchone()[0]  # type: ignore[index]
