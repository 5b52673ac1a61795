# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole drill compares the contents of tables, and says how much of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.clusters import Server
from support.drills import back_up

pytestmark = pytest.mark.needs("program:age", "program:zstd")


def content(report: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(check for check in report["checks"] if check["name"] == "content digests")
    return found


def test_a_drill_says_how_much_was_digested_and_passes(postgres18: Server, work_dir: Path, tmp_path: Path) -> None:
    with postgres18.database() as name:
        postgres18.execute("CREATE TABLE orders AS SELECT n AS id, md5(n::text) AS note FROM generate_series(1, 500) n", name)
        backup = back_up(postgres18, name, tmp_path, digests={"tables": "all"})
    report = backup.drill(work_dir)
    assert content(report)["verdict"] == "passed"
    assert content(report)["expected"] == "1 of 1 tables digested"
    # Where it lies, nothing keeps it from being destroyed by whoever may write there: law 5 wants that said in every report.
    assert [warning for warning in report["warnings"] if "repository 'copy'" in warning and "law 5 does not hold" in warning]
