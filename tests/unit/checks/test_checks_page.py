# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example on the page about checks is one that works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.factory import CHECKS, parse

PAGE = (Path(__file__).parents[3] / "docs" / "checks.md").read_text(encoding="utf-8")
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_is_accepted(example: object) -> None:
    assert parse(example["lifeboat_checks"] if isinstance(example, dict) else example)  # type: ignore[arg-type]


def test_each_check_has_an_example() -> None:
    shown = {word for example in EXAMPLES if isinstance(example, list) for item in example for word in item}
    assert shown == set(CHECKS)
