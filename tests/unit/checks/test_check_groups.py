# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups of checks: what an objective asks for is asked, and a group that matches nothing is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.factory import of_groups, parse
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError

CHECKS: list[dict[str, Any]] = [
    {"not_empty": {"tables": ["always"]}},
    {"not_empty": {"tables": ["standard"], "groups": ["standard", "strict"]}},
    {"not_empty": {"tables": ["strict"], "groups": ["strict"]}},
]


@pytest.mark.parametrize(
    ("groups", "names"),
    [
        ([], ["always", "standard", "strict"]),
        (["standard"], ["always", "standard"]),
        (["strict"], ["always", "standard", "strict"]),
        (["standard", "strict"], ["always", "standard", "strict"]),
    ],
)
def test_a_check_of_no_group_is_always_asked(groups: list[str], names: list[str]) -> None:
    assert [check.name for check in of_groups(parse(CHECKS), groups, "here")] == [f"not_empty {name}" for name in names]


@pytest.mark.parametrize(
    ("checks", "group", "said"),
    [
        (CHECKS, "strickt", "no check is of group 'strickt'.*Did you mean 'strict'"),
        (CHECKS, "nightly", "no check is of group 'nightly'.*There are: standard, strict"),
        ([], "strict", "no check is of group 'strict'.*There are: none"),
    ],
)
def test_a_group_that_matches_nothing_is_refused_by_name(checks: list[dict[str, Any]], group: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        of_groups(parse(checks), [group], "restore_drill.check_groups")


def test_a_plan_knows_how_many_checks_it_leaves_out() -> None:
    plan = DrillPlan.from_options(
        {
            "system": "shop",
            "name": "shop",
            "repositories": {"here": {"type": "posix", "path": "/backups"}},
            "identity_file": "/identity",
            "checks": CHECKS,
            "check_groups": ["standard"],
        }
    )
    assert ([check.name for check in plan.checks], plan.checks_left_out) == (["not_empty always", "not_empty standard"], 1)
