# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tables are digested on which day."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.digest_plan import DigestPlan, part_of
from hypothesis import given
from hypothesis import strategies as st

MOMENTS = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(dt.timezone.utc))


@given(st.lists(st.text(), max_size=30), st.integers(1, 40), MOMENTS)
def test_as_many_days_in_a_row_as_there_are_parts_cover_every_table_once(labels: list[str], days: int, first: dt.datetime) -> None:
    plan = DigestPlan(("all",), rotate_days=days)
    for label in labels:
        turns = [day for day in range(days) if plan.is_due(label, first + dt.timedelta(days=day))]
        assert len(turns) == 1


@given(st.text(), st.integers(1, 366))
def test_a_tables_part_depends_on_its_name_alone(label: str, parts: int) -> None:
    assert part_of(label, parts) == part_of(label, parts) < parts


def test_a_part_is_the_same_in_every_version() -> None:
    assert [part_of(label, 7) for label in ("public.orders", "public.lines", "app.events")] == [3, 3, 5]


def test_the_day_is_that_of_utc() -> None:
    plan = DigestPlan(("all",), rotate_days=7)
    late = dt.datetime(2026, 11, 21, 23, 30, tzinfo=dt.timezone.utc)
    assert plan.part(late.astimezone(dt.timezone(dt.timedelta(hours=5)))) == plan.part(late)


@pytest.mark.parametrize(
    ("tables", "exclude", "label", "root", "wanted"),
    [
        ("all", (), "public.orders", "", True),
        ("all", ("public.log*",), "public.logins", "", False),
        ("all", ("log",), "app.log", "", False),
        (("orders",), (), "app.orders", "", True),
        (("app.orders",), (), "public.orders", "", False),
        (("app.*",), (), "app.orders", "", True),
        (("Orders",), (), "app.orders", "", False),
        (("events",), (), "app.events_1", "app.events", True),
        (("app.events_1",), (), "app.events_1", "app.events", True),
        ("all", ("events",), "app.events_1", "app.events", False),
    ],
)
def test_tables_are_chosen_by_name_and_pattern(tables: Any, exclude: tuple[str, ...], label: str, root: str, wanted: bool) -> None:
    plan = DigestPlan.from_options({"tables": tables, "exclude": list(exclude)})
    assert plan is not None
    assert plan.wants(label, root) is wanted


def test_a_name_that_fits_nothing_is_found() -> None:
    plan = DigestPlan(("orders", "odrers", "app.*"))
    assert plan.unmatched(["public.orders", "app.x"]) == ("odrers",)
    assert DigestPlan(("all",)).unmatched([]) == ()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tabels": "all"}, r"unknown key 'tabels'.*Did you mean 'tables'"),
        ({"rotate_days": 7}, "tables is required"),
        ({"tables": []}, "tables is empty.*say: all"),
        ({"tables": ["all", "orders"]}, "says all, and names some besides"),
        ({"tables": [""]}, "name is empty"),
        ({"tables": "all", "rotate_days": 0}, "rotate_days is 0, the least is 1"),
        ({"tables": "all", "budget": "soon"}, "budget: expected a duration"),
        ({"tables": "all", "large_objects": "perhaps"}, "large_objects: expected true or false"),
    ],
)
def test_a_wrong_option_is_answered_in_one_sentence(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        DigestPlan.from_options(given)


def test_nothing_asked_for_is_no_plan() -> None:
    assert DigestPlan.from_options(None) is DigestPlan.from_options({}) is None
