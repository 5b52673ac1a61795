# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backups are due: the newest of each period since the newest copy, and never an older period again."""

from __future__ import annotations

import datetime as dt

from ansible_collections.lifeboat.postgres.plugins.module_utils.copies.due import by_asset, due
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import BackupRef, moment_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import Cadence
from hypothesis import given
from hypothesis import strategies as st

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.timezone.utc)
WEEKLY, EACH = Cadence("weekly"), Cadence()


def ref(day: str, time: str = "031500") -> BackupRef:
    return BackupRef("shop", "database", "shop", f"{day}T{time}Z-{int(day + time) % 2**32:08x}")


def chosen(source: list[BackupRef], held: list[BackupRef], cadence: Cadence = WEEKLY) -> list[list[BackupRef]]:
    return [list(period.candidates) for period in due(source, held, cadence, NOW)]


NIGHTS = [ref(f"202611{day:02}") for day in range(1, 22)]
"""From Sunday the 1st to Saturday the 21st."""


def test_a_first_run_copies_the_newest_of_the_newest_period_only() -> None:
    assert chosen(NIGHTS, []) == [list(reversed(NIGHTS[15:]))]
    assert chosen(NIGHTS, [], EACH) == [[NIGHTS[-1]]]


def test_nothing_is_due_while_the_period_has_its_copy() -> None:
    assert chosen(NIGHTS, [NIGHTS[16]]) == []
    assert chosen(NIGHTS, [NIGHTS[-1]], EACH) == []


def test_what_was_missed_is_caught_up_oldest_first() -> None:
    assert [period[0] for period in chosen(NIGHTS, [NIGHTS[0]])] == [NIGHTS[7], NIGHTS[14], NIGHTS[20]]
    assert [period[0] for period in chosen(NIGHTS, [NIGHTS[17]], EACH)] == NIGHTS[18:]


def test_what_was_pruned_at_the_target_does_not_come_back() -> None:
    assert chosen(NIGHTS[:14], [NIGHTS[20]]) == []


def test_a_copy_whose_original_is_gone_still_counts() -> None:
    assert chosen(NIGHTS[19:], [NIGHTS[18]]) == []


def test_a_backup_from_the_future_is_not_copied_and_stands_in_no_ones_way() -> None:
    later = ref("20300101")
    assert chosen([*NIGHTS, later], []) == [list(reversed(NIGHTS[15:]))]
    assert chosen(NIGHTS, [later, NIGHTS[0]], WEEKLY)[-1][0] == NIGHTS[20]


def test_assets_are_told_apart() -> None:
    other = BackupRef("shop", "globals", "shop", NIGHTS[0].backup_id)
    assert by_asset([NIGHTS[0], other, NIGHTS[1]]) == {("database", "shop"): [NIGHTS[1], NIGHTS[0]], ("globals", "shop"): [other]}


moments = st.datetimes(min_value=dt.datetime(2020, 1, 1), max_value=dt.datetime(2026, 11, 21))
refs = st.lists(moments.map(lambda moment: ref(f"{moment:%Y%m%d}", f"{moment:%H%M%S}")), max_size=30, unique=True)
cadences = st.sampled_from([EACH, WEEKLY, *map(Cadence, ("hourly", "daily", "monthly", "yearly")), Cadence("", 86400 * 10)])


@given(refs, refs, cadences)
def test_a_second_run_has_nothing_to_do_and_copies_are_newer_than_what_was_there(
    source: list[BackupRef], held: list[BackupRef], cadence: Cadence
) -> None:
    copies = [period[0] for period in chosen(source, held, cadence)]
    assert chosen(source, [*held, *copies], cadence) == []
    assert copies == sorted(copies)
    if held and copies:
        assert moment_of(copies[0].backup_id) > max(moment_of(ref.backup_id) for ref in held)
    if source and not held:
        assert copies == [max(source)]


@given(refs, refs, cadences, st.integers(0, 5))
def test_a_run_that_ended_early_is_taken_up_where_it_ended(
    source: list[BackupRef], held: list[BackupRef], cadence: Cadence, done: int
) -> None:
    copies = [period[0] for period in chosen(source, held, cadence)]
    assert [period[0] for period in chosen(source, [*held, *copies[:done]], cadence)] == (copies[done:] if held or done else copies)
