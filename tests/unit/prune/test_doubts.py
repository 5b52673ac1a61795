# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A listing or a clock that cannot be believed is doubted, by its word; a healthy one never is."""

from __future__ import annotations

import datetime as dt

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.doubts import (
    WORDS,
    Listed,
    Seen,
    clock_doubts,
    dates_differ,
    is_stale,
    listing_doubts,
    too_many,
)
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.timezone.utc)
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


def listed(ago: dt.timedelta, *, asset: str = "database/shop", stored: dt.timedelta | None = None, number: int = 0) -> Listed:
    moment = NOW - ago
    return Listed(asset, f"{moment:%Y%m%dT%H%M%SZ}-{number:08x}", moment, NOW - (ago if stored is None else stored))


def nightly(days: int) -> list[Listed]:
    return [listed(day * DAY) for day in range(days)]


def words(found: list[Listed], seen: Seen | None = None, broken: tuple[str, ...] = ()) -> list[str]:
    return [doubt.word for doubt in listing_doubts(found, broken, NOW, seen, len(found))]


@given(st.integers(1, 200), st.sampled_from([HOUR, 6 * HOUR, DAY, 7 * DAY]))
@settings(deadline=None, max_examples=50)
def test_a_steady_history_is_never_doubted(count: int, every: dt.timedelta) -> None:
    found = [listed(number * every) for number in range(count)]
    assert words(found, Seen(NOW - DAY, {"database/shop": (max(1, count // 2), found[0].backup_id)})) == []
    assert clock_doubts(NOW, NOW, NOW, Seen(NOW - DAY)) == []
    assert is_stale(found, NOW, None) == ""


def test_weeks_without_a_backup_are_no_doubt_by_themselves() -> None:
    found = [listed(40 * DAY + number * DAY) for number in range(30)]
    assert words(found, Seen(NOW - 30 * DAY, {"database/shop": (30, found[0].backup_id)})) == []


def test_a_flood_in_the_newest_day_is_doubted() -> None:
    flood = [listed(dt.timedelta(minutes=number), number=number) for number in range(300)]
    assert words([*flood, *nightly(30)]) == ["flood"]


def test_a_flood_that_is_dated_back_is_seen_by_when_it_was_stored() -> None:
    flood = [listed(number * HOUR, stored=dt.timedelta(minutes=1), number=number) for number in range(300)]
    assert words([*flood, *nightly(30)]) == ["flood"]
    assert [dates_differ(one) != "" for one in flood] == [number > 48 for number in range(300)]


def test_hourly_dumps_that_begin_after_nightly_ones_are_no_flood() -> None:
    assert words([*[listed(number * HOUR, number=number) for number in range(23)], *nightly(30)[1:]]) == []


@pytest.mark.parametrize("stored", [None, -2 * HOUR])
def test_a_date_in_the_future_is_doubted_and_one_after_it_was_stored_too(stored: dt.timedelta | None) -> None:
    assert words([*nightly(5), listed(-2 * HOUR, stored=stored)]) == ["future"]
    before_stored = Listed("database/shop", "20261121T110000Z-00000009", NOW - HOUR, NOW - 5 * HOUR)
    assert words([*nightly(5), before_stored]) == ["future"]


def test_manifests_that_are_none_are_named() -> None:
    assert words(nightly(5), broken=("shop/manifests/x: it is not JSON",)) == ["broken"]


def test_most_of_an_asset_gone_is_doubted_and_a_few_are_not() -> None:
    found = nightly(40)
    seen = Seen(NOW - DAY, {"database/shop": (40, found[0].backup_id)})
    assert words(found[:21], seen) == []
    assert words(found[:19], seen) == ["vanished"]
    assert words([], seen) == ["vanished"]
    other = [listed(DAY, asset="database/other")]
    assert words([*found, *other], Seen(NOW - DAY, {"base/cluster": (3, found[0].backup_id)})) == ["vanished"]


def test_new_backups_do_not_stand_for_those_that_are_gone() -> None:
    seen = Seen(NOW - 10 * DAY, {"database/shop": (10, f"{NOW - 10 * DAY:%Y%m%dT%H%M%SZ}-00000000")})
    assert words(nightly(10), seen) == ["vanished"]


@pytest.mark.parametrize(
    ("store", "newest", "last", "said"),
    [
        (NOW + DAY, None, None, "are 24 h apart"),
        (NOW - HOUR, None, None, "are 60 min apart"),
        (None, NOW + DAY, None, "stored 24 h ahead"),
        (NOW, NOW, NOW + DAY, "ran 24 h ahead"),
    ],
)
def test_a_clock_that_cannot_be_right_is_doubted_and_never_accepted(
    store: dt.datetime | None, newest: dt.datetime | None, last: dt.datetime | None, said: str
) -> None:
    doubts = clock_doubts(NOW, store, newest, Seen(last) if last is not None else None)
    assert said in doubts[0].sentence
    assert doubts[0].word not in WORDS


def test_silence_stops_the_ages_only_where_no_store_tells_the_time() -> None:
    silent = [listed(40 * DAY + number * DAY) for number in range(30)]
    assert "nothing came for 40 days" in is_stale(silent, NOW, None)
    assert is_stale(silent, NOW, NOW) == ""
    assert is_stale([listed(9 * DAY + number * 7 * DAY) for number in range(5)], NOW, None) == "", "a weekly one may be late"


@pytest.mark.parametrize(
    ("removed", "limit", "share", "doubted"), [(5, 0.5, True, False), (6, 0.5, True, True), (3, 2, False, True), (0, 0, False, False)]
)
def test_more_than_allowed_at_once_is_doubted(removed: int, limit: float, share: bool, doubted: bool) -> None:
    assert (too_many("database/shop", 10, removed, limit, share) is not None) == doubted
