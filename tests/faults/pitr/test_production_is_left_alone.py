# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Law 3 for a recovery: a base backup carries production's own settings, roles and code, and none of it acts or gets anywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import Account
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.control import furnish
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.run import run as run_drill
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DrillNotPassed
from support.parts import require
from support.pitr import Production
from support.s3proxy import Reply, S3Proxy
from support.store_fixtures import Bucket

from .conftest import Shop

OWN_HBA = "SELECT setting NOT LIKE current_setting('data_directory') || '%' FROM pg_settings WHERE name = 'hba_file'"
EMPTY = ("shared_preload_libraries", "primary_conninfo", "listen_addresses")


def test_settings_that_production_made_by_alter_system_do_not_act(shop: Shop, work_dir: Path) -> None:
    assert "of production" in (shop.production.server.data / "postgresql.auto.conf").read_text()
    settings = {**dict.fromkeys(EMPTY, ""), "archive_mode": "off"}
    checks: list[dict[str, Any]] = [
        {"sql": {"query": f"SELECT current_setting('{name}')", "expect": value}} for name, value in settings.items()
    ]
    checks += [
        {"sql": {"query": "SELECT count(*) FROM pg_file_settings", "expect": 0}},
        {"sql": {"query": "SELECT count(*) FROM pg_hba_file_rules WHERE 'replication' = ANY (database)", "expect": 0}},
        {"sql": {"query": OWN_HBA, "expect": True}},
        # Nothing of production's own limits is lower: its log could not be replayed.
        {"sql": {"query": "SELECT current_setting('max_connections')::int", "expect": 133}},
    ]
    report = shop.production.drill(work_dir, checks=checks)
    assert report["verdict"] == "passed", report["reason"]
    assert report["isolation"]["isolated"]


def test_signal_files_and_settings_are_taken_away_and_links_are_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "of somebody else"
    kept.write_text("kept")
    data = tmp_path / "data"
    data.mkdir()
    for name in ("standby.signal", "recovery.conf", "postmaster.pid"):
        (data / name).write_text("x")
    (data / "postgresql.auto.conf").symlink_to(kept)
    (data / "recovery.signal").symlink_to(kept)
    notes = furnish(data, Account("me", os.geteuid(), os.getegid()))
    assert sorted(os.listdir(data)) == ["postgresql.auto.conf", "recovery.signal"]
    assert [(data / name).read_bytes() for name in os.listdir(data)] == [b"", b""]
    assert kept.read_text() == "kept"
    assert any("standby.signal" in note for note in notes)


WAYS = {
    "socket": "SELECT dblink_exec('host=@SOCKET@ port=@PORT@ user=postgres dbname=postgres', 'CREATE TABLE IF NOT EXISTS loot ()')",
    "loopback": "SELECT dblink_exec('host=127.0.0.1 port=@PORT@ user=postgres dbname=postgres', 'CREATE TABLE IF NOT EXISTS loot ()')",
    "file": "SELECT pg_read_file('@DATA@/PG_VERSION')",
    "pipe": "COPY (SELECT 1) TO PROGRAM 'echo 0 00000001000000000000000A > @FEED@/ask'",
    "write": "COPY (SELECT 1) TO PROGRAM 'touch @FEED@/wal/loot'",
}
TRAP = """
CREATE EXTENSION dblink;
CREATE FUNCTION try_all() RETURNS TABLE (way text, said text) LANGUAGE plpgsql AS $trap$
DECLARE pair text[];
BEGIN
    FOREACH pair SLICE 1 IN ARRAY ARRAY[@WAYS@] LOOP
        way := pair[1];
        BEGIN
            EXECUTE replace(pair[2], '@FEED@', regexp_replace(current_setting('data_directory'), 'data$', 'fetched/feed'));
            said := 'SUCCEEDED';
        EXCEPTION WHEN OTHERS THEN said := SQLERRM;
        END;
        RETURN NEXT;
    END LOOP;
END $trap$;
"""
AT_LOGIN = """
CREATE FUNCTION at_login() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    IF current_setting('data_directory') LIKE '%/drill-%' THEN PERFORM pg_sleep(3600); END IF; END $$;
CREATE EVENT TRIGGER at_login ON login EXECUTE FUNCTION at_login();
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """Production with code that tries every way out once it is asked, and a template1 that waits for ever at a login."""
    require("postgresql:18", "program:age", "program:zstd")
    production = Production(18, tmp_path_factory.mktemp("keys"))
    server = production.server
    known = {"@SOCKET@": str(server.socket_dir), "@PORT@": str(server.port), "@DATA@": str(server.data)}
    ways = ", ".join(f"ARRAY['{name}', '{statement.replace(chr(39), chr(39) * 2)}']" for name, statement in WAYS.items())
    statements = TRAP.replace("@WAYS@", ways)
    for word, value in known.items():
        statements = statements.replace(word, value)
    try:
        production.query("CREATE DATABASE trap")
        production.archive()
        server.execute(statements, "trap")
        server.execute(AT_LOGIN, "template1")  # through which the drill comes in
        production.back_up()
        production.query("CREATE TABLE later ()")
        production.archive()
        yield production
    finally:
        production.stop()


def test_code_of_the_recovered_cluster_gets_nowhere(hostile: Production, work_dir: Path) -> None:
    # The checks may not write, so the trap's programs are refused by the transaction as well; what counts is what is seen outside.
    checks = [{"sql": {"query": f"SELECT said FROM try_all() WHERE way = '{way}'", "expect": "nothing"}} for way in WAYS]
    report = hostile.drill(work_dir, checks=checks, database="trap", timeout="20m")
    found = {check["name"].rpartition("way = ")[2].strip("'"): check["found"] for check in report["checks"] if "try_all" in check["name"]}
    assert set(found) == set(WAYS), report["reason"]
    assert "SUCCEEDED" not in {found["socket"], found["loopback"], found["file"], found["write"]}, found
    assert hostile.query("SELECT to_regclass('loot')") is None


def test_a_superuser_of_another_name_is_asked_for(shop: Shop, work_dir: Path) -> None:
    report = shop.production.drill(work_dir, superuser="somebody else")
    assert report["verdict"] == "unverified"
    assert "lets the drill not in" in report["reason"]
    assert "name the role that made production's cluster as superuser" in report["reason"]


def in_s3(production: Production, bucket: Bucket) -> dict[str, Any]:
    """The repository once more, in a bucket."""
    client = bucket.store.client()
    for path in production.place.root.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            client.put_object(Bucket=bucket.name, Key=str(path.relative_to(production.place.root)), Body=path.read_bytes())
    return bucket.spec()


@pytest.mark.usefixtures("no_ambient_aws")
def test_a_credential_that_can_write_refuses_the_drill(shop: Shop, rclone_bucket: Bucket, work_dir: Path) -> None:
    spec = in_s3(shop.production, rclone_bucket)
    report = shop.production.drill(work_dir, repositories={"here": spec})
    assert (report["verdict"], report["checks"]) == ("unverified", [])
    assert "can write where backups rest" in report["reason"]


@pytest.mark.usefixtures("no_ambient_aws")
def test_a_store_that_fails_midway_is_no_end_of_the_log(shop: Shop, rclone_bucket: Bucket, work_dir: Path) -> None:
    spec = in_s3(shop.production, rclone_bucket)
    before = set(rclone_bucket.keys())
    with S3Proxy(rclone_bucket.store.endpoint) as proxy:
        given = shop.production.options(work_dir, repositories={"here": {**spec, "endpoint": proxy.endpoint}})

        def told(message: str) -> None:
            if message.startswith("replay up to"):
                proxy.on("GetObject", Reply(403, "AccessDenied"), skip=2)

        with pytest.raises(DrillNotPassed) as failure:
            run_drill({**given, "waive": ["same_host", "writable_credential"]}, progress=told)
    report = failure.value.result["report"]
    # Nothing is known about the log that could not be had: it is no verdict on the backup.
    assert report["verdict"] == "unverified"
    assert "repository 'here'" in report["reason"], report["reason"]
    assert report["service_ready_seconds"] is None
    assert set(rclone_bucket.keys()) == before
