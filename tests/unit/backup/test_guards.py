# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which dumps are not kept, by their size and objects."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.guards import ACCEPTED, Figures, Limits, judge, keep_or_raise
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import BackupGuardError, ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest

MOMENT = dt.datetime(2026, 11, 21, 3, 15, tzinfo=dt.timezone.utc)
MIB = 1024 * 1024


def backup(plain_bytes: int, object_count: int = 100, notes: Sequence[str] = ()) -> Manifest:
    return Manifest(
        system="shop",
        kind="database",
        name="shop",
        backup_id="20261121T031500Z-1a2b3c4d",
        started_at=MOMENT,
        snapshot_at=MOMENT,
        finished_at=MOMENT,
        lifeboat_version="0",
        host_name="",
        host_id="",
        server_version="18.6",
        server_version_num=180006,
        client_version="18.6",
        system_identifier="",
        database_bytes=0,
        plain_bytes=plain_bytes,
        compression="zstd",
        encryption="age",
        recipients=(),
        artifacts=(),
        repositories={},
        notes=tuple(notes),
        object_count=object_count,
    )


def refused(limits: Limits, figures: Figures, history: Sequence[Manifest], *, accept: bool = False) -> str:
    """What is said of a dump that is not kept; "" for one that is."""
    try:
        keep_or_raise(judge(limits, figures, history), accept, "shop")
    except BackupGuardError as error:
        return str(error)
    return ""


USUAL = [backup(size * MIB) for size in (10, 11, 9, 10, 12)]


def test_an_honest_tiny_database_is_kept_at_once_and_every_night() -> None:
    tiny = Figures(1506, 0, 0)
    assert not refused(Limits(), tiny, [])
    assert not refused(Limits(), tiny, [backup(1506, 0)] * 7)


@pytest.mark.parametrize("size", [5, 10, 500])
def test_what_is_about_as_large_as_ever_or_larger_is_kept(size: int) -> None:
    assert not refused(Limits(), Figures(size * MIB, 100, 5), USUAL)


def test_half_the_usual_size_is_not_kept_and_everything_is_said() -> None:
    said = refused(Limits(), Figures(4 * MIB, 100, 5), USUAL)
    assert "it has 4.0 MiB before compression" in said
    assert "the median of the last 5 good backups is 10.0 MiB" in said
    assert "shrink: 0.5 allows no less than 5.0 MiB" in said
    assert "Nothing was committed" in said
    assert "accept_deviation: true" in said


def test_half_the_usual_objects_are_not_kept() -> None:
    assert "it has 40 objects in its schema" in refused(Limits(), Figures(10 * MIB, 40, 5), USUAL)


def test_growth_is_judged_only_when_asked_for() -> None:
    assert not refused(Limits(), Figures(1000 * MIB, 100, 5), USUAL)
    said = refused(Limits(growth=2.0), Figures(31 * MIB, 100, 5), USUAL)
    assert "growth: 2 allows no more than 30.0 MiB" in said


def test_one_odd_backup_among_the_last_does_not_move_the_measure() -> None:
    assert not refused(Limits(), Figures(10 * MIB, 100, 5), [backup(900 * MIB), *USUAL])
    assert refused(Limits(), Figures(1 * MIB, 100, 5), [backup(1 * MIB), *USUAL])


@pytest.mark.parametrize("known", [0, 1, 2])
def test_without_enough_history_nothing_is_judged_and_that_is_said(known: int) -> None:
    judgement = judge(Limits(), Figures(1, 100, 5), USUAL[:known])
    assert not judgement.deviations
    assert judgement.words == f"not judged against earlier backups: {known} good one{'' if known == 1 else 's'}, 3 are needed"


def test_only_as_many_backups_as_asked_for_are_looked_at() -> None:
    history = [backup(1 * MIB)] * 3 + [backup(100 * MIB)] * 20
    assert not refused(Limits(last=3), Figures(1 * MIB, 100, 5), history)
    assert refused(Limits(last=10), Figures(1 * MIB, 100, 5), history)
    assert not refused(Limits(last=1), Figures(1 * MIB, 100, 5), history), "one is enough when one was asked for"


def test_a_deviation_that_is_accepted_is_kept_noted_and_the_beginning_of_a_new_history() -> None:
    small = Figures(1 * MIB, 100, 5)
    notes = keep_or_raise(judge(Limits(), small, USUAL), True, "shop")
    assert notes[0].startswith(ACCEPTED)
    after = [backup(1 * MIB, notes=notes), *USUAL]
    assert not refused(Limits(), small, after), "not asked again the next night"
    assert refused(Limits(), Figures(MIB // 10, 100, 5), after), "and judged at once"
    assert not refused(Limits(), small, [backup(1 * MIB), *after])


def test_no_table_where_there_were_some_is_refused_from_the_second_backup_on() -> None:
    said = refused(Limits(), Figures(1506, 3, 0), [backup(5 * MIB, 60)])
    assert "it holds no table at all, and the last good backup" in said
    assert not refused(Limits(), Figures(1506, 3, 0), [backup(1506, 3)]), "there never was one"
    assert not refused(Limits(), Figures(1506, 3, 0), [backup(5 * MIB, 60)], accept=True)


def test_no_table_may_be_a_warning_only() -> None:
    judgement = judge(Limits(zero_tables="warn"), Figures(1506, 3, 0), [backup(5 * MIB, 60)])
    assert keep_or_raise(judgement, False, "shop") == [*judgement.warnings]
    assert "no table at all" in judgement.warnings[0]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(min_bytes=2 * MIB), "it has 1.0 MiB before compression, and min_bytes is 2.0 MiB"),
        (Limits(max_bytes=1000), "max_bytes is 1000 B"),
        (Limits(min_objects=101), "it has 100 objects in its schema, and min_objects is 101 objects"),
        (Limits(max_objects=99), "max_objects is 99 objects"),
    ],
)
def test_a_limit_of_the_operators_holds_without_history_and_cannot_be_accepted_away(limits: Limits, words: str) -> None:
    assert words in refused(limits, Figures(MIB, 100, 5), [])
    assert "change the limits" in refused(limits, Figures(MIB, 100, 5), [], accept=True)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"min_byte": 1}, "unknown key 'min_byte'.*Did you mean 'min_bytes'"),
        ({"min_bytes": "much"}, "min_bytes: expected a size"),
        ({"min_objects": -1}, "min_objects is -1, the least is 0"),
        ({"shrink": "half"}, "shrink: expected a share like 0.5 or 50%"),
        ({"shrink": 1.5}, "shrink is 1.5, the most is 1"),
        ({"growth": True}, "growth: expected a share"),
        ({"last": 0}, "last is 0, the least is 1"),
        ({"zero_tables": "ignore"}, "zero_tables: unknown value 'ignore'"),
        ({"min_bytes": "2MiB", "max_bytes": "1MiB"}, "min_bytes is above max_bytes"),
    ],
)
def test_a_wrong_limit_is_answered_in_one_sentence(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Limits.from_options(given)


def test_limits_are_read_as_people_write_them() -> None:
    limits = Limits.from_options({"min_bytes": "1MiB", "shrink": "30%", "growth": 3, "last": "5"})
    assert (limits.min_bytes, limits.shrink, limits.growth, limits.last) == (MIB, 0.3, 3.0, 5)
    assert Limits.from_options(None) == Limits.from_options({}) == Limits()
