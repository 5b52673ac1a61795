# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Durations, and what they make of RTO and RPO."""

from __future__ import annotations

import datetime as dt

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.measure import Stopwatch, measured_rpo

FAILURE = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.timezone.utc)


def test_the_rpo_is_what_lies_between_the_snapshot_and_the_failure() -> None:
    assert measured_rpo(FAILURE - dt.timedelta(hours=9), FAILURE) == (32400.0, "")


def test_a_backup_from_after_the_failure_has_no_rpo() -> None:
    seconds, note = measured_rpo(FAILURE + dt.timedelta(seconds=90), FAILURE)
    assert seconds is None
    assert "90 s after the moment of failure" in note


def test_phases_are_told_and_timed_in_their_order_also_when_one_fails() -> None:
    told: list[str] = []
    watch = Stopwatch(told.append)
    with watch.phase("choose"):
        pass
    with pytest.raises(RuntimeError), watch.phase("fetch", "fetch 3 MiB"):
        raise RuntimeError
    assert told == ["choose", "fetch 3 MiB"]
    assert [phase.name for phase in watch.phases] == ["choose", "fetch"]
    assert all(phase.seconds >= 0 for phase in watch.phases)


def test_the_rto_runs_from_the_empty_target() -> None:
    watch = Stopwatch()
    watch.begin_recovery()
    watch.service_ready()
    watch.verified()
    assert watch.service_ready_seconds is not None
    assert watch.verified_seconds is not None
    assert 0 <= watch.service_ready_seconds <= watch.verified_seconds


def test_without_a_target_there_is_no_rto() -> None:
    watch = Stopwatch()
    watch.service_ready()
    assert watch.service_ready_seconds is None
