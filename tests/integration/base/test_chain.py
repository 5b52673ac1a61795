# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Incremental backups: what they build on, when a full one is taken instead, and a chain as one unit."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError, ManifestError
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import manifest_key
from support.bases import Production, base_of, restored, started
from support.leaks import eventually
from support.logical import folder_of, posix

Given = Callable[..., dict[str, Any]]


@pytest.fixture
def given(production18: Production, tmp_path: Path) -> Iterator[Given]:
    """Incremental backups into a repository of the test's own, with their log."""
    place, state = posix(tmp_path / "place"), tmp_path / "state"

    def options(**more: Any) -> dict[str, Any]:
        usual = {"repositories": {"here": place}, "state_dir": str(state), "mode": "incremental", "wal": "included"}
        return production18.given(**{**usual, **more})

    yield options
    production18.server.execute("DROP TABLE IF EXISTS orders")


def change(production: Production, rows: int) -> None:
    production.server.execute("CREATE TABLE IF NOT EXISTS orders (id int)")
    production.server.execute(f"INSERT INTO orders SELECT generate_series(1, {rows})")


def place_of(given: Given) -> dict[str, Any]:
    spec: dict[str, Any] = given()["repositories"]["here"]
    return spec


def warnings_of(result: dict[str, Any]) -> str:
    return "; ".join(result["warnings"])


def test_a_chain_of_three_is_put_together_and_a_server_comes_up_from_it(production18: Production, given: Given) -> None:
    results = []
    for rows in (1000, 200, 30):
        change(production18, rows)
        results.append(run(given()))
    assert [result["parent"] for result in results] == ["", results[0]["backup_id"], results[1]["backup_id"]]
    assert "this host keeps no manifest" in warnings_of(results[0])
    assert results[2]["size_bytes"] < results[0]["size_bytes"] / 3
    base = restored(place_of(given), [result["backup_id"] for result in results], production18.keys, production18.server)
    assert sorted(path.name for path in base.data.parent.iterdir()) == ["data"]
    with started(base.data, production18.server, {}) as session:
        assert session.execute("SELECT count(*) FROM orders").fetchone() == (1230,)


def test_the_kept_manifest_is_the_last_one_and_nobody_elses_to_read(production18: Production, given: Given, tmp_path: Path) -> None:
    run(given())
    last = run(given())["backup_id"]
    kept = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert [path.name for path in kept] == [f"{last}.manifest"]
    assert stat.S_IMODE(kept[0].stat().st_mode) == 0o600


def forget_summaries(production: Production, after: str) -> None:
    """What the server looks up for an incremental backup: without it, it refuses before it sends anything."""
    production.server.execute("CHECKPOINT")
    with production.server.connect() as session:
        query = "SELECT count(*) > 0 FROM pg_available_wal_summaries() WHERE end_lsn >= %s::pg_lsn"
        eventually(lambda: session.execute(query, (after,)).fetchone() == (True,), "the server has summed up its log")
    for path in (production.server.data / "pg_wal" / "summaries").iterdir():
        path.unlink()


@pytest.mark.parametrize("lost", ["state", "parent", "old", "summaries"])
def test_a_full_backup_is_taken_and_the_reason_said(production18: Production, given: Given, tmp_path: Path, lost: str) -> None:
    first = run(given())
    more: dict[str, Any] = {}
    if lost == "state":
        shutil.rmtree(tmp_path / "state")
    elif lost == "parent":
        (tmp_path / "place" / manifest_key(base_of(place_of(given), first["backup_id"]).ref)).unlink()
    elif lost == "old":
        more = {"full_after": "0s"}
    else:
        forget_summaries(production18, first["wal"]["stop_lsn"])
    result = run(given(**more))
    assert result["parent"] == ""
    why = {
        "state": "keeps no manifest",
        "parent": "is not whole in every",
        "old": "is 0 hours old",
        "summaries": "cannot tell what changed",
    }
    assert f"a full backup was taken: {'the server ' if lost == 'summaries' else ''}" in warnings_of(result)
    assert why[lost] in warnings_of(result)


def test_postgresql_15_takes_full_ones_and_says_so(production15: Production, tmp_path: Path) -> None:
    place = posix(tmp_path / "place")
    result = run(production15.given(repositories={"here": place}, mode="incremental", wal="included"))
    assert "PostgreSQL 15 makes no incremental ones" in warnings_of(result)


def test_links_that_do_not_follow_each_other_are_refused(production18: Production, given: Given) -> None:
    results = [run(given()) for _number in range(3)]
    ids = [result["backup_id"] for result in results]
    for wrong in (ids[1:], [ids[0], ids[2]], ids[::-1], []):
        with pytest.raises(ManifestError):
            restored(place_of(given), wrong, production18.keys, production18.server)


def test_a_link_whose_files_are_not_what_the_server_wrote_is_refused(production18: Production, given: Given, tmp_path: Path) -> None:
    result = run(given())
    manifest = base_of(place_of(given), result["backup_id"])
    sealed = folder_of(tmp_path / "place", manifest) / "base.tar.zst.age"
    data = bytearray(sealed.read_bytes())
    data[len(data) // 2] ^= 1
    sealed.chmod(0o600)
    sealed.write_bytes(data)
    with pytest.raises(IntegrityError, match="another SHA-256 digest"):
        restored(place_of(given), [result["backup_id"]], production18.keys, production18.server)
