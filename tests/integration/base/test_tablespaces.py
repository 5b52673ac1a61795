# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server with tablespaces of its own sends no single stream: staged, said, and nothing stays behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import account_for
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.isolation import clean_environment, confinement_for
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.physical import Room
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import Workspace
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from support.bases import Production, base_manifests, base_of, restored, started
from support.clusters import private_directory
from support.logical import posix


@pytest.fixture
def spread(production: Production) -> Iterator[Production]:
    directory = private_directory("lb-ts")
    production.server.execute(f"CREATE TABLESPACE fast LOCATION '{directory}'")
    production.server.execute("CREATE TABLE away TABLESPACE fast AS SELECT generate_series(1, 3000) AS id")
    yield production
    production.server.execute("DROP TABLE away")
    production.server.execute("DROP TABLESPACE fast")


def test_a_chain_with_a_tablespace_comes_back_with_it_elsewhere(spread: Production, tmp_path: Path) -> None:
    place = posix(tmp_path / "place")
    given = spread.given(repositories={"here": place}, mode="incremental", wal="included", state_dir=str(tmp_path / "state"))
    first = run(given)
    spread.server.execute("INSERT INTO away SELECT generate_series(1, 500)")
    second = run(given)
    assert "staged in" in " ".join(second["warnings"])
    assert [path.name for path in (spread.home / "staging").iterdir()] == [".lock"]
    manifest = base_of(place, second["backup_id"])
    assert [artifact.role for artifact in manifest.artifacts][:3] == ["base", "base", "backup_manifest"]
    chain = [first["backup_id"], second["backup_id"]] if second["parent"] else [second["backup_id"]]
    base = restored(place, chain, spread.keys, spread.server)
    (tablespace,) = base.tablespaces.values()
    assert tablespace.parent.parent == base.data.parent
    assert (base.data / "tablespace_map").read_bytes() == b""
    with started(base.data, spread.server, {}) as session:
        assert session.execute("SELECT count(*) FROM away").fetchone() == (3500,)
        located = session.execute("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'fast'").fetchone()
        assert located == (str(tablespace),)


def test_a_disk_without_room_is_named_before_anything_is_taken(spread: Production) -> None:
    before = base_manifests(spread.spec)
    with pytest.raises(ConfigurationError, match=r"the backup cannot be staged: staging needs .* on the disk of /proc/nowhere"):
        run(spread.given(staging_dir="/proc/nowhere"))
    assert base_manifests(spread.spec) == before


@pytest.mark.needs("netns", "root")
def test_a_chain_with_a_tablespace_is_put_together_inside_the_confinement_of_a_drill(spread: Production, tmp_path: Path) -> None:
    place = posix(tmp_path / "place")
    given = spread.given(repositories={"here": place}, mode="incremental", wal="included", state_dir=str(tmp_path / "state"))
    results = [run(given) for _number in range(2)]
    chain = [result["backup_id"] for result in results if result["parent"]]
    chain = [results[0]["backup_id"], *chain] if chain else [results[1]["backup_id"]]
    user = account_for("")
    parent = private_directory("lb-drill")
    parent.chmod(0o755)
    workspace = Workspace.create(parent / "w", user)
    try:
        confinement = confinement_for(user, workspace.mount_point, spread.server.bin_dir)
        assert confinement.isolated
        inside = Room(workspace.path, workspace.data, user, confinement.command, clean_environment())
        base = restored(place, chain, spread.keys, spread.server, inside)
        assert sorted(path.name for path in workspace.path.iterdir()) == ["data", "drill.json", "fetched", "root", "s", "spaces"]
        assert {path.stat().st_uid for path in base.writable} == {user.uid}
        assert not [path for path in base.data.rglob("*") if path.lstat().st_uid != user.uid]
    finally:
        workspace.close()
