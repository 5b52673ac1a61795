# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page about finding backups: its queries work, and its table names every key there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.lifeboat.postgres.plugins.module_utils import expression
from ansible_collections.lifeboat.postgres.plugins.modules import backup_info

PAGE = (Path(__file__).parents[2] / "docs" / "backups.md").read_text(encoding="utf-8")
QUERIES = [yaml.safe_load(line)["query"] for line in PAGE.splitlines() if line.startswith("query: ")]
GOOD: dict[str, Any] = {
    "backup_id": "old", "age_seconds": 3000000, "good": True, "problems": [], "repositories": ["offsite"], "drilled": None,
}  # fmt: skip
BAD: dict[str, Any] = {
    "backup_id": "new", "age_seconds": 3600, "good": False, "problems": ["cut"], "repositories": ["here"], "drilled": {"verdict": "passed"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("query", "found"),
    list(zip(QUERIES, [[BAD], [GOOD], [GOOD], [GOOD], [{"id": "new", "problems": ["cut"]}, {"id": "old", "problems": []}]])),
)
def test_each_query_finds_what_the_page_says(query: str, found: list[Any]) -> None:
    assert expression.search(query, [BAD, GOOD], "") == found


def test_the_page_names_every_key_of_a_backup() -> None:
    documented = set(yaml.safe_load(backup_info.RETURN)["backups"]["contains"])
    table = PAGE.partition("## What an item says")[2].partition("Beside `backups`")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert documented - {"finished_at", "server_version"} == set(re.findall("`([a-z_]+)`", " ".join(rows)))
