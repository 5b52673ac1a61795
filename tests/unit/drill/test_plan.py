# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill's options are read strictly, before anything is touched."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

GIVEN: dict[str, Any] = {
    "system": "shop",
    "name": "shop",
    "repositories": {"here": {"type": "posix", "path": "/var/backups"}, "offsite": {"type": "posix", "path": "/mnt/offsite"}},
    "identity_file": "/etc/identity.txt",
}


def test_the_least_that_is_given_is_enough() -> None:
    plan = DrillPlan.from_options(GIVEN)
    assert (plan.backup_id, plan.work_dir, plan.jobs, plan.waive) == ("latest", Path("/var/tmp/lifeboat"), 0, frozenset())
    assert plan.enforce_objective
    assert plan.worker_count >= 2


def test_one_repository_can_be_chosen_by_its_name() -> None:
    assert list(DrillPlan.from_options({**GIVEN, "repository": "offsite"}).repositories) == ["offsite"]
    assert list(DrillPlan.from_options(GIVEN).repositories) == ["here", "offsite"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T03:15:00Z", dt.datetime(2026, 11, 21, 3, 15, tzinfo=dt.timezone.utc)),
        ("2026-11-21T05:15:00+02:00", dt.datetime(2026, 11, 21, 3, 15, tzinfo=dt.timezone.utc)),
        ("2026-11-21 03:15:00.250+00:00", dt.datetime(2026, 11, 21, 3, 15, 0, 250000, tzinfo=dt.timezone.utc)),
    ],
)
def test_the_moment_of_failure_is_taken_with_its_time_zone(text: str, moment: dt.datetime) -> None:
    assert DrillPlan.from_options({**GIVEN, "failure_at": text}).failure_at == moment


def test_an_objective_is_read_in_seconds() -> None:
    plan = DrillPlan.from_options({**GIVEN, "objective": {"rpo": "24h", "rto": "2h"}})
    assert (plan.rpo_seconds, plan.rto_seconds) == (86400, 7200)


def test_an_age_is_a_duration_or_as_often_as_the_objective_asks() -> None:
    assert DrillPlan.from_options(GIVEN).max_age_seconds is None
    kept = {**GIVEN, "report_dir": "/reports"}
    assert DrillPlan.from_options({**kept, "max_age": "30d"}).max_age_seconds == 30 * 86400
    assert DrillPlan.from_options({**kept, "max_age": "objective"}).max_age_seconds == 31 * 86400
    assert DrillPlan.from_options({**kept, "max_age": "objective", "objective": "strict"}).max_age_seconds == 7 * 86400


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"system": ""}, "system"),
        ({"name": None}, "name is required"),
        ({"repositories": {}}, "repositories is empty"),
        ({"repositories": {"here": {"type": "posx", "path": "/x"}}}, "Did you mean 'posix'"),
        ({"repository": "ofsite"}, "Did you mean 'offsite'"),
        ({"timeout": "soon"}, "timeout: expected a duration"),
        ({"timeout": "0"}, "timeout is 0 seconds, the least is 1"),
        ({"backup_id": "newest"}, "backup_id"),
        ({"failure_at": "2026-11-21T03:15:00"}, "time zone"),
        ({"failure_at": "yesterday"}, "time zone"),
        ({"objective": {"rp0": "24h"}}, "Did you mean 'rpo'"),
        ({"objective": {"rpo": "soon"}}, "duration"),
        ({"waive": ["isolaton"]}, "Did you mean 'isolation'"),
        ({"jobs": -1}, "jobs"),
        ({"checks": [{"gaples": {}}]}, "Did you mean 'gapless'"),
        ({"verify_keys": ["ssh-rsa AAAA"]}, "ssh-ed25519"),
        ({"report_repository": {"type": "posix"}}, "path"),
        ({"max_age": "30d"}, "max_age without reports"),
        ({"max_age": "30d", "report_dir": "/r", "server_major": 18}, "max_age and server_major"),
        ({"max_age": "30d", "report_dir": "/r", "backup_id": "20261121T031500Z-1a2b3c4d"}, "max_age and backup_id"),
        ({"mode": "pitr", "server_major": 18}, "starts on no other"),
    ],
)
def test_a_wrong_option_is_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        DrillPlan.from_options({**GIVEN, **change})
