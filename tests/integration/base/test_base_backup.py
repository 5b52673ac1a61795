# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A base backup of a server that archives: it exists with its log, and a server comes up from both."""

from __future__ import annotations

import stat
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    ArchiveError,
    BackupGuardError,
    ConfigurationError,
    DatabaseError,
    WalConflict,
)
from support.bases import Production, base_manifests, base_of, restored, started
from support.leaks import leaves_nothing
from support.logical import opened, posix
from support.modules import run_module


def test_a_backup_exists_only_with_its_log_and_a_server_comes_up_from_both(production: Production) -> None:
    server = production.server
    server.execute("CREATE TABLE IF NOT EXISTS orders AS SELECT generate_series(1, 5000) AS id")
    with leaves_nothing():
        result = run(production.given())
    manifest = base_of(production.spec, result["backup_id"])
    assert manifest.wal is not None
    # By the moment it exists, every segment that it needs lies in the archive.
    assert {manifest.wal.first, manifest.wal.last} <= set(production.place.names())
    assert not manifest.wal.included
    assert manifest.format == "tar"
    assert manifest.system_identifier
    server.execute("INSERT INTO orders SELECT generate_series(5001, 6000)")
    server.wait_archived(server.switch())
    base = restored(production.spec, [result["backup_id"]], production.keys, server)
    assert stat.S_IMODE(base.data.stat().st_mode) == 0o700
    (base.data / "recovery.signal").touch()
    archive = base.data.parent / "plain"
    archive.mkdir(mode=0o755)
    for name in production.place.names():
        if len(name) == 24:
            (archive / name).write_bytes(production.place.opened(name, production.keys))
            (archive / name).chmod(0o644)
    with started(base.data, server, {"restore_command": f"cp {archive}/%f %p", "recovery_target_action": "promote"}) as session:
        assert session.execute("SELECT count(*) FROM orders").fetchone() == (6000,)


def test_what_is_stored_is_sealed_and_holds_the_servers_own_manifest(production18: Production) -> None:
    result = run(production18.given(label="before the move"))
    manifest = base_of(production18.spec, result["backup_id"])
    tar = opened(production18.place.root, manifest, "base", production18.keys)
    assert len(tar) == manifest.plain_bytes
    with tarfile.open(fileobj=BytesIO(tar)) as archive:
        label, inner = archive.extractfile("backup_label"), archive.extractfile("backup_manifest")
        assert label is not None
        assert inner is not None
        said = label.read().decode()
        assert "LABEL: before the move\n" in said
        assert manifest.wal is not None
        assert f"START WAL LOCATION: {manifest.wal.start_lsn} (file {manifest.wal.first})" in said
        assert opened(production18.place.root, manifest, "backup_manifest", production18.keys) == inner.read()


def test_with_its_log_included_it_needs_no_archive(production: Production, tmp_path: Path) -> None:
    place = posix(tmp_path / "alone")
    result = run(production.given(repositories={"here": place}, wal="included", max_rate="512MiB"))
    assert result["wal"]["included"]
    base = restored(place, [result["backup_id"]], production.keys, production.server)
    with started(base.data, production.server, {}) as session:
        assert session.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)


def test_a_young_backup_makes_another_one_needless_and_check_mode_takes_none(production18: Production) -> None:
    run(production18.given(wal="included"))
    before = base_manifests(production18.spec)
    assert run(production18.given(max_age="1h"))["changed"] is False
    rehearsed = run(production18.given(), check_mode=True)
    assert rehearsed["changed"] is True
    assert base_manifests(production18.spec) == before


def test_the_module_says_what_it_took(production18: Production, tmp_path: Path) -> None:
    result = run_module("pg_base_backup", production18.given(wal="included"), tmp_path)
    assert not result["failed"], result
    assert base_of(production18.spec, result["backup_id"]).size_bytes == result["size_bytes"]
    assert result["parent"] == ""


def test_an_archive_that_is_not_there_is_refused_before_anything_is_sent(production18: Production, tmp_path: Path) -> None:
    empty = posix(tmp_path / "empty")
    with pytest.raises(ArchiveError, match="there is no WAL archive of system 'shop' yet"):
        run(production18.given(repositories={"here": production18.spec, "empty": empty}))
    assert not list((tmp_path / "empty").rglob("*.age"))


def test_the_archive_of_another_cluster_is_refused(production15: Production, production18: Production) -> None:
    with pytest.raises(WalConflict, match="belongs to cluster"):
        run(production18.given(repositories={"here": production15.spec}))


def test_an_optional_repository_is_not_waited_for(production18: Production, tmp_path: Path) -> None:
    attic = {**posix(tmp_path / "attic"), "optional": True}
    result = run(production18.given(repositories={"here": production18.spec, "attic": attic}))
    assert base_of(attic, result["backup_id"]).repositories == {"here": "", "attic": ""}


@pytest.mark.parametrize(("options", "says"), [("NOREPLICATION", "its role lacks REPLICATION"), ("REPLICATION", "")])
def test_a_login_that_may_not_replicate_is_told_in_one_sentence(production: Production, options: str, says: str) -> None:
    with production.server.role("copier", f"LOGIN {options}"):
        if not says:
            assert run(production.given(login_user="copier", wal="included"))["changed"]
            return
        with pytest.raises(DatabaseError, match=says):
            run(production.given(login_user="copier", wal="included"))


def test_a_size_that_deviates_is_not_kept_unless_it_is_accepted(production18: Production) -> None:
    given = production18.given(name="judged", wal="included")
    with pytest.raises(BackupGuardError, match=r"the backup is not kept: it has .* and max_bytes is 1.0 MiB"):
        run({**given, "limits": {"max_bytes": "1MiB"}})
    for _number in range(3):
        run(given)
    production18.server.execute("CREATE TABLE large AS SELECT repeat(md5(n::text), 20) AS text FROM generate_series(1, 30000) n")
    try:
        with pytest.raises(BackupGuardError, match=r"growth: 0\.1 allows no more than"):
            run({**given, "limits": {"growth": "10%"}})
        assert "deviation accepted" in " ".join(run({**given, "limits": {"growth": "10%"}, "accept_deviation": True})["warnings"])
    finally:
        production18.server.execute("DROP TABLE large")
    assert len([key for key in base_manifests(production18.spec) if "/judged/" in key]) == 4


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"mode": "differential"}, "mode: unknown value 'differential'"),
        ({"max_rate": "1KiB"}, "max_rate is 1024, the least is 32768"),
        ({"max_rate": "2GiB"}, "max_rate is above 1 GiB"),
        ({"label": "two\nlines"}, "label is more than one line"),
        ({"state_dir": "relative"}, "state_dir: expected an absolute path"),
        ({"mode": "incremental", "exec": {"type": "docker", "container": "db"}}, "mode incremental needs pg_basebackup on this host"),
        ({"repositories": {}}, "repositories is empty"),
        ({"repositories": {"attic": {"type": "posix", "path": "/nowhere", "optional": True}}}, "every repository is optional"),
        ({"wal": "none"}, "wal: unknown value 'none'"),
    ],
)
def test_wrong_options_are_answered_before_anything_runs(production18: Production, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        run(production18.given(**wrong))
