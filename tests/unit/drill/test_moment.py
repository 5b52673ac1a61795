# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A target is one thing, said exactly; and what was lost is exact only where it can be."""

from __future__ import annotations

import datetime as dt

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.lost import how_much_was_lost
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.moment import RecoveryTarget
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import PointInTime
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn

NOON = dt.datetime(2026, 11, 21, 12, tzinfo=dt.timezone.utc)


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        (None, {}),
        ({}, {}),
        ({"latest": True, "time": None, "lsn": None}, {}),
        ({"time": "2026-11-21T13:00:00+01:00"}, {"recovery_target_time": "2026-11-21 12:00:00+00:00", "recovery_target_inclusive": "on"}),
        ({"lsn": "16/B374D848", "inclusive": "no"}, {"recovery_target_lsn": "16/B374D848", "recovery_target_inclusive": "off"}),
        ({"name": "before, it's $(x)"}, {"recovery_target_name": "before, it's $(x)", "recovery_target_inclusive": "on"}),
        ({"xid": 4711}, {"recovery_target_xid": "4711", "recovery_target_inclusive": "on"}),
        ({"immediate": True}, {"recovery_target": "immediate"}),
    ],
)
def test_a_target_as_postgresql_hears_it(given: dict[str, object] | None, settings: dict[str, str]) -> None:
    fixed = {"recovery_target_timeline": "3", "recovery_target_action": "pause"}
    assert RecoveryTarget.from_options(given, "target").settings(3) == {**fixed, **settings}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"latest": True, "xid": "1"}, "latest and xid are two targets"),
        ({"latest": False}, "latest: false says nothing"),
        ({"latest": True, "inclusive": False}, "inclusive means nothing with the latest state"),
        ({"evidence": False}, "evidence: false says nothing"),
        ({"evidence": True, "immediate": True}, "evidence and immediate are two targets"),
        ({"immediate": True, "inclusive": False}, "inclusive means nothing with target immediate"),
        ({"name": "x" * 64}, "at most 63 bytes"),
        ({"name": "x", "inclusive": True}, "inclusive means nothing with a restore point"),
        ({"xid": "4711; DROP"}, "is not the number of a transaction"),
        ({"time": "2026-11-21T12:00:00"}, "is not a moment with its time zone"),
        ({"timeline": 0}, "the least is 1"),
    ],
)
def test_what_is_no_target_is_refused(given: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        RecoveryTarget.from_options(given, "target")


def test_where_evidence_was_taken_everything_before_that_position_is_replayed_and_nothing_else() -> None:
    target = RecoveryTarget.at_evidence("shop", Lsn.parse("0/3000110"), 2)
    assert str(target) == "the evidence of database 'shop' at 0/3000110"
    assert (target.settings(2)["recovery_target_lsn"], target.settings(2)["recovery_target_inclusive"]) == ("0/3000110", "off")


def told(**more: object) -> PointInTime:
    return PointInTime("latest", reached_lsn="0/1", **more)  # type: ignore[arg-type]


def test_what_was_lost_is_exact_by_a_heartbeat_and_a_bound_without_one() -> None:
    before = NOON - dt.timedelta(seconds=50)
    seconds, said = how_much_was_lost(told(last_commit=before, heartbeat=before), RecoveryTarget(), before, NOON)
    assert (seconds, said) == (50, "exact, by the heartbeat")
    seconds, said = how_much_was_lost(told(last_commit=before), RecoveryTarget(), before, NOON)
    assert (seconds, said.startswith("a bound, by the last commit")) == (50, True)


def test_the_worst_gap_in_the_archive_is_judged_when_it_is_worse() -> None:
    before = NOON - dt.timedelta(seconds=50)
    seconds, said = how_much_was_lost(told(heartbeat=before, gap_seconds=900.0), RecoveryTarget(), before, NOON)
    assert (seconds, "the state itself lies 50 s behind" in said) == (900, True)


def test_to_the_end_of_a_base_backup_the_loss_is_that_of_a_server_without_an_archive() -> None:
    told_ = told(window_from=NOON - dt.timedelta(hours=2), gap_seconds=9.0, last_commit=NOON)
    assert how_much_was_lost(told_, RecoveryTarget("immediate"), NOON, NOON) == (
        7200,
        "to the end of the base backup itself, as if no log were archived after it",
    )


def test_a_chosen_target_and_a_recovery_that_came_to_nothing_have_no_figure() -> None:
    assert how_much_was_lost(told(), RecoveryTarget("xid", "1"), NOON, NOON)[0] is None
    assert how_much_was_lost(PointInTime("latest"), RecoveryTarget(), None, NOON) == (None, "nothing was recovered")
