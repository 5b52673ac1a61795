# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock goes along with a backup that a longer class keeps: half-way through, never beyond what was promised."""

from __future__ import annotations

import datetime as dt

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.act import lock_wanted

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.timezone.utc)
SPAN = dt.timedelta(days=30)


def days(number: int) -> dt.datetime:
    return NOW + dt.timedelta(days=number)


@pytest.mark.parametrize(
    ("stored", "stays", "wanted"),
    [
        (days(-14), days(300), None),  # more than half of its lock is left
        (days(-15), days(300), days(30)),
        (days(-200), days(300), days(30)),
        (days(-200), days(9), days(9)),  # it may go then
        (days(-200), None, None),  # which class keeps it is not certain yet
    ],
)
def test_it_is_due_half_way_and_never_longer_than_its_class(
    stored: dt.datetime, stays: dt.datetime | None, wanted: dt.datetime | None
) -> None:
    assert lock_wanted(stored, SPAN, stays, NOW) == wanted
