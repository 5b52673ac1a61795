# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A logical backup of a real database: what it holds, what a second run does, and what is refused."""

from __future__ import annotations

import json
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.lock import host_lock
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    ConfigurationError,
    DatabaseError,
    EvidenceError,
    Locked,
    MissingTool,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.advisory import advisory_lock
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import open_connection
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from support.backups import check_complete
from support.clusters import Server
from support.leaks import eventually, open_files
from support.logical import Identity, folder_of, manifest_of, manifests_in, opened, options, posix
from support.parts import server_directory

pytestmark = pytest.mark.needs("program:age", "program:zstd")
Given = Callable[..., dict[str, Any]]


def counted(evidence: dict[str, Any]) -> dict[str, int]:
    """Rows by name of the table, as the evidence tells them."""
    return {f"{table['schema']}.{table['name']}": table["rows"] for table in evidence["tables"]}


def test_a_backup_holds_the_database_and_its_evidence(
    given: Given, places: dict[str, Any], identity: Identity, shop: str, postgres: Server, tmp_path: Path
) -> None:
    files, threads = open_files(), set(threading.enumerate())
    result = run(given())
    assert open_files() == files
    eventually(lambda: set(threading.enumerate()) == threads, "every thread of the run has ended")
    assert result["changed"] is True
    manifest = manifest_of(places["here"], result["backup_id"], shop)
    dump = opened(tmp_path / "here", manifest, "dump", identity)
    assert dump.startswith(b"PGDMP")
    assert len(dump) == result["plain_bytes"] == manifest.plain_bytes
    listing = subprocess.run([postgres.bin_dir / "pg_restore", "--list"], input=dump, capture_output=True, check=True).stdout
    assert b"TABLE DATA public orders" in listing
    evidence = json.loads(opened(tmp_path / "here", manifest, "evidence", identity))
    assert {"public.orders": 20000}.items() <= counted(evidence).items()
    assert manifest.server_version_num // 10000 == postgres.major
    assert manifest.system_identifier


def test_it_is_the_same_in_every_repository_and_readable_by_its_owner_only(
    given: Given, places: dict[str, Any], shop: str, tmp_path: Path
) -> None:
    result = run(given(volume_size="64KiB"))
    here, offsite = (manifest_of(places[name], result["backup_id"], shop) for name in ("here", "offsite"))
    assert here == offsite
    assert len(here.artifact("dump").volumes) > 3
    for root in (tmp_path / "here", tmp_path / "offsite"):
        folder = folder_of(root, here)
        assert {path.name for path in folder.iterdir()} == {volume.name for item in here.artifacts for volume in item.volumes}
        for path in root.rglob("*"):
            assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert all(place["complete"] and place["bytes_per_second"] > 0 for place in result["repositories"].values())
    assert set(result["repositories"]) == {"here", "offsite"}


def test_the_databases_own_disk_as_the_only_place_is_said(given: Given, places: dict[str, Any]) -> None:
    said = "it lies on the disk of the database only ('here', 'offsite'): one broken disk takes both; add a repository elsewhere"
    assert said in run(given())["warnings"]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        elsewhere = {**places, "offsite": posix(Path(memory) / "offsite")}
        assert not [warning for warning in run(given(repositories=elsewhere))["warnings"] if "one broken disk" in warning]


def test_a_young_backup_makes_another_one_needless(given: Given, places: dict[str, Any]) -> None:
    first = run(given(max_age="1h"))
    second = run(given(max_age="1h"))
    assert (first["changed"], second["changed"]) == (True, False)
    assert second["backup_id"] == first["backup_id"]
    assert 0 <= second["age_seconds"] < 3600
    assert len(manifests_in(places["here"])) == 1
    assert run(given(max_age="0s"))["changed"] is True


def test_a_young_backup_that_one_repository_lacks_is_not_enough(given: Given, places: dict[str, Any], tmp_path: Path) -> None:
    run(given(max_age="1h"))
    more = {**places, "third": posix(tmp_path / "third")}
    assert run(given(max_age="1h", repositories=more))["changed"] is True
    assert len(manifests_in(more["third"])) == 1


def test_check_mode_predicts_and_writes_nothing(given: Given, tmp_path: Path) -> None:
    assert run(given(max_age="1h"), check_mode=True)["changed"] is True
    assert list((tmp_path / "here").iterdir()) == []
    assert not (tmp_path / "locks").exists()
    run(given(max_age="1h"))
    assert run(given(max_age="1h"), check_mode=True)["changed"] is False


def test_check_mode_says_what_the_run_would_say(given: Given) -> None:
    with pytest.raises(DatabaseError, match="there is no database"):
        run(given(login_db="nowhere"), check_mode=True)


def test_a_second_run_on_this_host_is_told_who_is_at_work(given: Given, shop: str, tmp_path: Path) -> None:
    with host_lock("shop", "database", shop, tmp_path / "locks"), pytest.raises(Locked, match=r"process \d+ on .* since "):
        run(given())


def test_who_needs_no_backup_is_not_kept_by_one_that_is_under_way(given: Given, shop: str, tmp_path: Path) -> None:
    first = run(given(max_age="1h"))
    locks = tmp_path / "locks"
    with host_lock("shop", "database", shop, locks), host_lock("shop", "globals", "globals", locks):
        second = run(given(max_age="1h"))
    assert (second["changed"], second["backup_id"]) == (False, first["backup_id"])
    with host_lock("shop", "database", shop, locks), pytest.raises(Locked):
        run(given(max_age="0s"))


def test_a_second_run_from_another_host_is_told_who_is_at_work(given: Given, postgres: Server, shop: str, places: dict[str, Any]) -> None:
    with open_connection(postgres.login(shop), application_name="lifeboat elsewhere") as other:
        with advisory_lock(other, "shop", "database", shop), pytest.raises(Locked, match="lifeboat elsewhere"):
            run(given())
    assert manifests_in(places["here"]) == []
    assert run(given())["changed"] is True


def test_two_runs_at_once_make_one_backup(given: Given, places: dict[str, Any]) -> None:
    outcomes: list[str] = []

    def attempt() -> None:
        try:
            outcomes.append("changed" if run(given(max_age="1h"))["changed"] else "young")
        except Locked:
            outcomes.append("locked")

    threads = [threading.Thread(target=attempt) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("changed") == 1
    assert len(manifests_in(places["here"])) == 1


@pytest.mark.parametrize(
    "name",
    ['it\'s "quoted"', "two words", "$(touch /tmp/pwned)`id`", "-c select", "dbname=postgres host=evil", "Grüße/../..", "a|b%20c", "."],
)
def test_a_hostile_database_name_is_only_a_name(
    postgres: Server, name: str, places: dict[str, Any], identity: Identity, tmp_path: Path
) -> None:
    with postgres.database(name):
        postgres.execute('CREATE TABLE "-t; DROP TABLE x" AS SELECT 1 AS "$(a)"', name)
        result = run(options(postgres, name, places, identity, tmp_path / "locks"))
        manifest = manifest_of(places["here"], result["backup_id"], name)
    assert manifest.name == name
    guide = (folder_of(tmp_path / "here", manifest) / "RESTORE.md").read_text()
    assert guide.isascii()
    assert b"DROP TABLE x" in opened(tmp_path / "here", manifest, "dump", identity)


def test_another_major_version_of_pg_dump_is_refused_by_package(given: Given, postgres: Server) -> None:
    other = server_directory(15 if postgres.major == 18 else 18)
    with pytest.raises(MissingTool, match=f"postgresql-client-{postgres.major}"):
        run(given(bin_dir=str(other)))


def test_row_level_security_makes_it_fail_not_count_less(postgres: Server, given: Given, shop: str, places: dict[str, Any]) -> None:
    postgres.execute("SELECT lo_unlink(oid) FROM pg_largeobject_metadata", shop)  # pg_read_all_data does not reach them
    postgres.execute("ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON orders USING (id < 10)", shop)
    with postgres.role("reader", "LOGIN IN ROLE pg_read_all_data"):
        with pytest.raises(EvidenceError, match=r"public\.orders"):
            run(given(login_user="reader"))
    assert manifests_in(places["here"]) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"repositories": {}}, "repositories is empty"),
        ({"repositories": {"here": {"type": "posix", "pth": "/x"}}}, "Did you mean 'path'?"),
        ({"repositories": {"here": {"type": "posxi", "path": "/x"}}}, "Did you mean 'posix'?"),
        ({"encryption": {"method": "age", "recipients": []}}, "recipient"),
        ({"encryption": {"method": "age", "recipients": ["age1nonsense"]}}, "encryption.recipients, number 1"),
        ({"encryption": {"method": "aeg", "recipients": ["age1x"]}}, "Did you mean 'age'?"),
        ({"max_age": "tomorrow"}, "max_age"),
        ({"volume_size": "1"}, "volume_size"),
        ({"compression_level": 99}, "compression_level"),
        ({"checks": [{"gaples": {"table": "x", "column": "y"}}]}, "Did you mean 'gapless'?"),
        ({"evidence_queries": [{"name": "a", "query": "SELECT 1"}, {"name": "a", "query": "SELECT 2"}]}, "two evidence queries"),
    ],
)
def test_a_wrong_option_is_answered_in_one_sentence_before_anything_runs(given: Given, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        run(given(login_port=1, **wrong))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_named_query_looks_names_up_as_the_application_does(
    given: Given, places: dict[str, Any], postgres: Server, shop: str, identity: Identity, tmp_path: Path
) -> None:
    postgres.execute(f"CREATE SCHEMA erp; ALTER TABLE orders SET SCHEMA erp; ALTER DATABASE {shop} SET search_path = erp, public", shop)
    result = run(given(evidence_queries=[{"name": "turnover", "query": "SELECT sum(total_cents) AS cents FROM orders"}]))
    assert not any("turnover" in warning for warning in result["warnings"])
    manifest = manifest_of(places["here"], result["backup_id"], shop)
    evidence = json.loads(opened(tmp_path / "here", manifest, "evidence", identity))
    assert evidence["queries"]["turnover"]["rows"] == [[str(20000 * 20001 // 2)]]


def test_a_named_query_that_fails_costs_the_evidence_not_the_backup_and_is_said(given: Given, places: dict[str, Any]) -> None:
    result = run(given(evidence_queries=[{"name": "turnover", "query": "SELECT nothing FROM public.nowhere"}]))
    assert any("turnover" in warning and "nowhere" in warning for warning in result["warnings"])
    assert len(manifests_in(places["here"])) == 1


def test_a_complete_backup_lies_behind_each_manifest(given: Given, places: dict[str, Any], shop: str) -> None:
    result = run(given())
    manifest = manifest_of(places["here"], result["backup_id"], shop)
    for name, spec in places.items():
        with open_repository(name, spec, read_only=True) as repository:
            assert check_complete(repository, manifest.ref) == manifest
