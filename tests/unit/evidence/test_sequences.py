# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sequence is at its recorded position or beyond, in its own direction."""

from __future__ import annotations

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.document import SequencePosition
from ansible_collections.lifeboat.postgres.plugins.module_utils.evidence.sequences import Reading, is_behind, lower_bounds
from hypothesis import given
from hypothesis import strategies as st


def at(value: int, called: bool = True, ascending: bool = True) -> SequencePosition:
    return SequencePosition("public.s", value, called, ascending)


@pytest.mark.parametrize(
    ("found", "expected", "behind"),
    [
        (at(1350), at(1300), False),
        (at(1300), at(1300), False),
        (at(1299), at(1300), True),
        (at(1300, False), at(1300), True),
        (at(1300), at(1300, False), False),
        (at(-5, ascending=False), at(-4, ascending=False), False),
        (at(-3, ascending=False), at(-4, ascending=False), True),
        (at(-4, False, ascending=False), at(-4, ascending=False), True),
    ],
)
def test_behind_is_what_would_give_out_a_value_twice(found: SequencePosition, expected: SequencePosition, behind: bool) -> None:
    assert is_behind(found, expected) is behind


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3), st.booleans())
def test_a_dump_between_two_readings_is_never_behind_their_bound(values: list[int], ascending: bool) -> None:
    """Whoever moves a sequence in one direction moves it past the earlier reading."""
    before, dumped, after = (at(value, True, ascending) for value in sorted(values, reverse=not ascending))
    bounds, restless = lower_bounds({"public.s": Reading(before, 1)}, {"public.s": Reading(after, 1)})
    assert restless == ()
    assert not is_behind(dumped, bounds[0])


def test_a_sequence_that_was_restarted_or_dropped_has_no_bound() -> None:
    before = {"a": Reading(at(5), 1), "b": Reading(at(5), 1), "c": Reading(at(5), 1)}
    bounds, restless = lower_bounds(before, {"a": Reading(at(1), 2), "b": Reading(at(4), 1)})
    assert (bounds, restless) == ((at(4),), ("sequence a", "sequence c"))
