# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A prune that is killed at any step leaves whole backups and remains that nobody takes for one, and the next run finishes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support import kill_prunes
from support.prunes import directory, fill, fill_bases, put_wal
from support.shelf import Shelf
from support.store_fixtures import Bucket


def tries(options: dict[str, Any], tmp_path: Path, *words: str) -> list[dict[str, Any]]:
    file = tmp_path / "options.json"
    file.write_text(json.dumps(options))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    argv = [sys.executable, kill_prunes.__file__, str(file), *words]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["ended"] for one in found] == [-9] * (len(found) - 1) + [0], done.stderr
    return found


def files_of(manifest: Manifest) -> set[str]:
    volumes = {layout.artifact_key(manifest.ref, volume.name) for artifact in manifest.artifacts for volume in artifact.volumes}
    return volumes | {layout.manifest_key(manifest.ref)}


def assert_whole_or_none(keys: Sequence[str], made: Sequence[Manifest], staying: Sequence[Manifest]) -> None:
    seen = set(keys)
    for manifest in made:
        if layout.manifest_key(manifest.ref) in seen:
            assert files_of(manifest) <= seen, f"{manifest.backup_id} looks like a backup and is not whole"
    for manifest in staying:
        assert files_of(manifest) <= seen, f"{manifest.backup_id} was to stay"


def options(here: dict[str, Any], tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {
        "system": "shop", "repositories": {"here": here}, "max_remove": "100%", "orphan_age": "1h", "cache_dir": "",
        "state_dir": str(tmp_path / "state"), "lock_dir": str(tmp_path / "locks"), **more,
    }  # fmt: skip


def test_killed_at_every_step_in_a_directory_it_leaves_whole_backups_and_is_finished_by_the_next_run(tmp_path: Path) -> None:
    here = directory(tmp_path / "here", retention={"keep": 1})
    shelf = Shelf({"here": here})
    made = fill(shelf, 2)
    bases = fill_bases(shelf, [None, 0, None], segments=[100, 110, 120])
    wal = put_wal(shelf, [99, 100, 119, 120])
    staying = [made[0], bases[2]]
    (tmp_path / "work").mkdir()
    found = tries(options(here, tmp_path), tmp_path, "copies", str(tmp_path / "work"))
    assert len(found) > 20
    for one in found:
        assert_whole_or_none(one["keys"], [*made, *bases], staying)
        seen = set(one["keys"])
        assert not seen & {layout.manifest_key(bases[0].ref)} or wal[100] in seen, "a base backup lost its log"
        assert layout.manifest_key(bases[1].ref) not in seen or layout.manifest_key(bases[0].ref) in seen, "an increment lost its base"
    whole = set().union(*(files_of(manifest) for manifest in staying), {wal[120], wal["history"]})
    assert set(found[-1]["keys"]) == whole
    for one in {tuple(one["keys"]): one for one in found[:-1]}.values():
        run({**one["options"], "accept": ["orphans"]})
        with open_repository("here", one["options"]["repositories"]["here"]) as repository:
            assert {info.key for info in repository.list()} == whole
    shelf.close()


@pytest.mark.usefixtures("no_ambient_aws")
def test_killed_after_each_removal_in_a_bucket_with_versions_it_goes_on_until_nothing_is_left(
    versity_bucket: Bucket, tmp_path: Path
) -> None:
    here = {**versity_bucket.spec(max_threads=1), "retention": {"keep": 1}}
    shelf = Shelf({"here": here})
    made = fill(shelf, 3)
    found = tries(options(here, tmp_path, accept=["dates", "orphans"]), tmp_path, "on")
    assert len(found) == 11, "two backups of five objects, and a run that finds nothing to do"
    for one in found:
        assert_whole_or_none(one["keys"], made, made[:1])
    assert set(found[-1]["keys"]) == files_of(made[0])
    versions = {version.key for version in shelf.repositories["here"].everything("")}
    assert versions == files_of(made[0]), "and no older version of what went"
    shelf.close()
