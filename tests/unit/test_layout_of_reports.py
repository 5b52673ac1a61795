# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where drill reports lie, and figures as people say them."""

from __future__ import annotations

import datetime as dt
import doctest

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout, words
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import UnsafeName
from hypothesis import given
from hypothesis import strategies as st

MOMENT = dt.datetime(2026, 11, 21, 4, 0, tzinfo=dt.timezone.utc)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@given(names, names, st.booleans())
def test_a_reports_key_says_which_backup_was_drilled_and_when(system: str, name: str, found: bool) -> None:
    ref = layout.BackupRef(system, "database", name, layout.new_backup_id(MOMENT) if found else "")
    key = layout.report_key(ref, MOMENT)
    assert layout.check_key(key) == key
    assert key.startswith(layout.reports_prefix(system, "database", name))
    assert layout.parse_report_key(key) == (ref, MOMENT)


def test_a_reports_key_is_as_documented() -> None:
    ref = layout.BackupRef("shop", "database", "shop", "20261121T031500Z-1a2b3c4d")
    local = MOMENT.astimezone(dt.timezone(dt.timedelta(hours=9)))
    assert layout.report_key(ref, local) == "shop/reports/database/shop/20261121T040000Z-20261121T031500Z-1a2b3c4d.json"


@pytest.mark.parametrize(
    "key",
    [
        "shop/reports/database/shop/20261121T040000Z-x.json",
        "shop/reports/tea/shop/20261121T040000Z-no-backup.json",
        "shop/reports/database/shop/20261121T040000Z-no-backup.md",
        "shop/manifests/database/shop/20261121T040000Z-no-backup.json",
        "shop/reports/database/20261121T040000Z-no-backup.json",
        "shop/reports/database/%FF/20261121T040000Z-no-backup.json",
    ],
)
def test_a_key_of_another_shape_is_no_report(key: str) -> None:
    assert layout.parse_report_key(key) is None


def test_an_id_of_another_shape_makes_no_key() -> None:
    with pytest.raises(UnsafeName):
        layout.report_key(layout.BackupRef("shop", "database", "shop", "../x"), MOMENT)


def test_figures_are_said_as_the_examples_promise() -> None:
    assert doctest.testmod(words).failed == 0
    assert words.duration(-90) == "-90 s"
    assert words.duration(0) == "0 s"
