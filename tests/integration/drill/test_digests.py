# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole drill compares the contents of tables, and says how much of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.digest_coverage import read_part
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import manifest_key, new_backup_id
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.signature import sign
from support.clusters import Server
from support.damage import manifest_of
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


def test_digests_that_go_in_turn_are_covered_by_several_backups_or_the_report_says_what_is_missing(
    postgres18: Server, work_dir: Path, tmp_path: Path
) -> None:
    with postgres18.database() as name:
        postgres18.execute("CREATE TABLE orders AS SELECT n AS id, md5(n::text) AS note FROM generate_series(1, 500) n", name)
        backup = back_up(postgres18, name, tmp_path, digests={"tables": "all", "rotate_days": 2})
    manifest = manifest_of(backup)
    today, of = read_part(manifest.digested)
    assert of == 2
    report = backup.drill(work_dir)
    assert content(report)["verdict"] == "passed"
    assert [warning for warning in report["warnings"] if f"no backup holds digests of part {3 - today} of 2" in warning]

    # Yesterday's backup, which had the other turn.
    yesterday = manifest.snapshot_at - dt.timedelta(days=1)
    older = dataclasses.replace(
        manifest, backup_id=new_backup_id(yesterday), snapshot_at=yesterday, digested=f"{3 - today}/2", signature=""
    )
    older = dataclasses.replace(older, signature=sign(older.signed_bytes(), backup.signer.path))
    (backup.repository / manifest_key(older.ref)).write_bytes(older.to_bytes())
    report = backup.drill(work_dir)
    assert not [warning for warning in report["warnings"] if "in turn" in warning]
    assert content(report)["detail"] == f"every table was digested since {yesterday:%Y-%m-%d %H:%M} UTC"
