# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is easily forgotten in a dump comes back, and a drill would notice if it did not: each through a real drill."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill import logical
from support.clusters import Server
from support.drills import BackedUp, back_up
from support.logical import manifest_of, opened, options

pytestmark = pytest.mark.needs("program:age", "program:zstd", "root")  # root: to install an extension

CARRIED = """
CREATE TABLE orders (id int PRIMARY KEY, kind text); INSERT INTO orders SELECT n, 'k' || n % 7 FROM generate_series(1, 3000) n;
CREATE TABLE notes (id int PRIMARY KEY); INSERT INTO notes VALUES (1);
SELECT lo_from_bytea(71001, 'mine'), lo_from_bytea(71002, 'the archivist''s'), lo_create(71003);
ALTER LARGE OBJECT 71002 OWNER TO archivist; GRANT SELECT ON LARGE OBJECT 71003 TO archivist WITH GRANT OPTION;
CREATE PUBLICATION outward FOR TABLE orders WITH (publish = 'insert'); ALTER PUBLICATION outward OWNER TO postgres;
CREATE SUBSCRIPTION "in'ward" CONNECTION 'host=/nowhere dbname=x password=secret' PUBLICATION far, away
    WITH (connect = false, slot_name = 'the_slot', synchronous_commit = 'remote_apply', binary = true);
COMMENT ON SUBSCRIPTION "in'ward" IS 'from far away';
"""
EXTENSION = """
CREATE TABLE lifeboat_rates (name text PRIMARY KEY, value int, own boolean DEFAULT true);
INSERT INTO lifeboat_rates VALUES ('shipped', 1, false);
SELECT pg_catalog.pg_extension_config_dump('lifeboat_rates', 'WHERE own');
"""


EXTENSION_NAME = f"lifeboat_rates_{os.getpid()}"
"""Of this process: what others of the machine install, and remove again, beside it is theirs."""


@contextmanager
def with_extension(server: Server) -> Iterator[None]:
    """An extension that keeps configuration, among those of the server."""
    with server.connect() as connection:
        row = connection.execute("SELECT setting FROM pg_config WHERE name = 'SHAREDIR'").fetchone()
    assert row is not None
    directory = Path(row[0], "extension")
    control, script = directory / f"{EXTENSION_NAME}.control", directory / f"{EXTENSION_NAME}--1.0.sql"
    for path, text in ((script, EXTENSION), (control, "default_version = '1.0'\nrelocatable = true\n")):
        path.write_text(text)
        path.chmod(0o644)
    try:
        yield
    finally:
        control.unlink()
        script.unlink()


@pytest.fixture(scope="module", params=[15, 18], ids=["pg15", "pg18"])
def taken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackedUp]:
    with Server(request.param) as server, server.role("archivist", "NOLOGIN"), with_extension(server):
        with server.database("carrier", extra="CONNECTION LIMIT 33") as name:
            server.execute(CARRIED, name)
            server.execute(f"CREATE EXTENSION {EXTENSION_NAME}; INSERT INTO lifeboat_rates VALUES ('ours', 2), ('too', 3)", name)
            server.execute(f"ALTER DATABASE {name} SET work_mem = '7MB'; COMMENT ON DATABASE {name} IS 'carries'", name)
            server.execute(f"ALTER ROLE archivist IN DATABASE {name} SET search_path = a, b; ANALYZE orders", name)
            server.execute(f"GRANT CONNECT ON DATABASE {name} TO archivist", name)
            yield back_up(server, name, tmp_path_factory.mktemp("carrier"), statistics=True, globals=True)
            server.execute('ALTER SUBSCRIPTION "in\'ward" SET (slot_name = NONE); DROP SUBSCRIPTION "in\'ward"', name)


def verdicts(report: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["verdict"] for check in report["checks"]}


def test_all_of_it_comes_back(taken: BackedUp, work_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    real = logical.log_in

    def look(target: Any, database: str) -> None:
        real(target, database)
        with logical.session(target, database, "test") as conn:
            for name, query in QUESTIONS.items():
                seen[name] = conn.execute(query.encode()).fetchall()

    monkeypatch.setattr(logical, "log_in", look)
    report = taken.drill(work_dir)
    assert report["verdict"] == "passed", report["reason"]
    assert verdicts(report)[f"query configuration of extension {EXTENSION_NAME}, public.lifeboat_rates"] == "passed"
    with taken.server.connect(taken.name) as production:
        production.execute("SET search_path = pg_catalog")
        expected = {name: production.execute(query.encode()).fetchall() for name, query in QUESTIONS.items()}
    assert seen == expected
    carried = any("carried production's statistics" in warning for warning in report["warnings"])
    assert carried is (taken.server.major >= 18)


QUESTIONS = {
    "large objects": "SELECT oid, pg_get_userbyid(lomowner), lomacl::text, lo_get(oid) FROM pg_largeobject_metadata ORDER BY oid",
    "publications": "SELECT p.pubname, pubinsert, pubdelete, prrelid::regclass::text FROM pg_publication p"
    " JOIN pg_publication_rel ON prpubid = p.oid",
    "subscriptions": "SELECT subname, subconninfo, subslotname, subpublications, subenabled FROM pg_subscription",
    "extension": "SELECT * FROM public.lifeboat_rates ORDER BY name",
    "database": "SELECT datconnlimit, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()",
    "settings": "SELECT coalesce(r.rolname, ''), setconfig FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = setrole"
    " WHERE setdatabase > 0 ORDER BY 1",
}

LOST = {
    "publication": "DROP PUBLICATION outward",
    "subscription": 'ALTER SUBSCRIPTION "in\'ward" SET (slot_name = NONE)',
    "large objects": "ALTER LARGE OBJECT 71002 OWNER TO postgres",
    "configuration": "DELETE FROM public.lifeboat_rates WHERE name = 'ours'",
    "database settings": "ALTER ROLE archivist IN DATABASE carrier RESET search_path",
}


@pytest.mark.parametrize(("taken", "what"), [(15, "large objects"), *((18, what) for what in LOST)], indirect=["taken"])
def test_a_drill_notices_what_did_not_come_back(taken: BackedUp, work_dir: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = logical.log_in

    def lose(target: Any, database: str) -> None:
        with logical.session(target, database, "test") as conn:
            conn.execute(LOST[what].encode())
        real(target, database)

    monkeypatch.setattr(logical, "log_in", lose)
    report = taken.drill(work_dir)
    assert report["verdict"] == "failed"
    wrong = next(check for check in report["checks"] if check["verdict"] == "failed")
    assert what.split()[0] in f"{wrong['name']} {wrong['detail']}"


def test_a_login_without_the_rights_is_told_that_subscriptions_are_left_out(taken: BackedUp, tmp_path: Path) -> None:
    places = {"here": {"type": "posix", "path": str(tmp_path)}}
    with taken.server.role("reader", "LOGIN IN ROLE pg_read_all_data, archivist"):
        taken.server.execute("GRANT SELECT ON LARGE OBJECT 71001 TO reader; GRANT SELECT ON LARGE OBJECT 71003 TO reader", taken.name)
        given = options(taken.server, taken.name, places, taken.identity, tmp_path / "locks", login_user="reader")
        result = run(given)
        assert any("1 subscription not in the dump" in warning for warning in result["warnings"])
        manifest = manifest_of(places["here"], result["backup_id"], taken.name)
        dump = opened(tmp_path, manifest, "dump", taken.identity)
        listing = subprocess.run([taken.server.bin_dir / "pg_restore", "--list"], input=dump, capture_output=True, check=True).stdout
        assert b"SUBSCRIPTION - " not in listing
        taken.server.execute("REVOKE ALL ON LARGE OBJECT 71001 FROM reader; REVOKE ALL ON LARGE OBJECT 71003 FROM reader", taken.name)


@pytest.mark.parametrize("asked", [True, False])
def test_statistics_are_asked_for_by_name_either_way(taken: BackedUp, tmp_path: Path, asked: bool) -> None:
    places = {"here": {"type": "posix", "path": str(tmp_path)}}
    result = run(options(taken.server, taken.name, places, taken.identity, tmp_path / "locks", statistics=asked))
    dump = opened(tmp_path, manifest_of(places["here"], result["backup_id"], taken.name), "dump", taken.identity)
    assert (b"pg_restore_attribute_stats" in dump) is (asked and taken.server.major >= 18)
    assert any("statistics are not in the dump" in warning for warning in result["warnings"]) is (asked and taken.server.major < 18)
