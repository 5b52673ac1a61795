# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles and tablespaces as a backup of their own: what it holds, when it is due, what a drill makes of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import BackupGuardError, ConfigurationError, DatabaseError
from support.clusters import Server, private_directory
from support.drills import BackedUp
from support.keys import KeyPair, ssh_pair
from support.logical import Identity, folder_of, manifest_of, manifests_in, new_identity, opened, options, posix

pytestmark = pytest.mark.needs("program:age", "program:zstd")

ROLES = r"""
CREATE ROLE clerks; CREATE ROLE "anna ""x""; DROP" LOGIN PASSWORD 'secret of anna' CONNECTION LIMIT 7 VALID UNTIL '2040-01-01';
CREATE ROLE auditor CREATEDB CREATEROLE BYPASSRLS; GRANT clerks TO "anna ""x""; DROP" WITH ADMIN OPTION; GRANT pg_read_all_data TO auditor;
ALTER ROLE auditor SET work_mem = '9MB'; ALTER ROLE auditor SET search_path = app, public;
COMMENT ON ROLE auditor IS E'line\n\\! id\nbreak';
CREATE TABLE orders (id int); ALTER TABLE orders OWNER TO clerks; INSERT INTO orders VALUES (1);
"""
GENTLE = "-c statement_timeout=0 -c default_transaction_read_only=off"
HARSH = "ALTER ROLE postgres SET statement_timeout = '100ms'; ALTER ROLE postgres SET default_transaction_read_only = on"


@dataclass(frozen=True)
class Shop:
    """A database on a server of its own, whose roles nobody else touches."""

    server: Server
    name: str
    directory: Path
    identity: Identity
    signer: KeyPair

    def options(self, **more: Any) -> dict[str, Any]:
        places = {"here": posix(self.directory / "repository")}
        given = options(self.server, self.name, places, self.identity, self.directory / "locks")
        return {**given, "signing_key": self.signer.path, "globals": True, **more}

    def back_up(self, **more: Any) -> dict[str, Any]:
        return run(self.options(**more))

    def drill(self, work_dir: Path, backup_id: str, **more: Any) -> dict[str, Any]:
        taken = BackedUp(self.server, self.name, backup_id, self.directory / "repository", self.identity, self.signer)
        return taken.drill(work_dir, backup_id=backup_id, **more)

    def globals_manifest(self, result: dict[str, Any]) -> Any:
        return manifest_of(posix(self.directory / "repository"), result["globals"]["backup_id"], "globals", kind="globals")


@pytest.fixture(params=[15, 18], ids=["pg15", "pg18"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with Server(request.param) as server, server.database("shop") as name:
        server.execute(ROLES, name)
        yield Shop(server, name, tmp_path, new_identity(tmp_path / "identity"), ssh_pair(tmp_path / "key"))
        with server.connect(options=GENTLE) as connection:
            connection.execute("ALTER ROLE postgres RESET ALL")


def check(report: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(check for check in report["checks"] if check["name"] == name)
    return found


def test_a_drill_restores_the_roles_as_they_were_and_shows_no_hash(shop: Shop, work_dir: Path) -> None:
    place = private_directory("lb-space")
    with shop.server.connect() as connection:
        connection.execute(f"CREATE TABLESPACE fast OWNER clerks LOCATION '{place}'")
        connection.execute("GRANT CREATE ON TABLESPACE fast TO auditor")
        if shop.server.major >= 15:
            connection.execute("GRANT SET ON PARAMETER log_min_messages TO clerks")
    shop.server.execute(HARSH)  # what would end pg_dumpall here, and the drill's own sessions there
    try:
        result = shop.back_up()
        assert (result["globals"]["passwords"], result["globals"]["roles"]) == (True, 4)
        report = shop.drill(work_dir, result["backup_id"])
        assert report["verdict"] == "passed", report["reason"]
        answer = check(report, "globals")
        assert answer["expected"] == "4 roles, 2 memberships, 2 passwords"
        assert "1 tablespace" in answer["detail"]
        assert [phase["name"] for phase in report["phases"]][:5] == ["choose", "guard", "evidence", "target", "globals"]
        assert not any("SCRAM" in text or "secret of anna" in text for text in (json.dumps(result), json.dumps(report)))
        script = opened(shop.directory / "repository", shop.globals_manifest(result), "dump", shop.identity)
        assert b"SCRAM-SHA-256" in script
    finally:
        with shop.server.connect(options=GENTLE) as connection:
            connection.execute("DROP TABLESPACE fast")


@pytest.mark.parametrize("shop", [18], indirect=True)
def test_a_backup_of_globals_that_lacks_something_fails_the_drill(shop: Shop, work_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shop.server.bin_dir
    programs = shop.directory / "bin"
    programs.mkdir()
    for name in os.listdir(real):
        (programs / name).symlink_to(real / name)
    (programs / "pg_dumpall").unlink()
    # As a hole in pg_dumpall would: a membership and an attribute are lost, and nobody says a word.
    (programs / "pg_dumpall").write_text(
        f"#!/bin/sh\nset -e\n'{real}/pg_dumpall' \"$@\" | sed -e '/^GRANT pg_read_all_data/d' -e 's/ CREATEDB / NOCREATEDB /'\n"
    )
    (programs / "pg_dumpall").chmod(0o755)
    result = shop.back_up(bin_dir=str(programs))
    report = shop.drill(work_dir, result["backup_id"])
    answer = check(report, "globals")
    assert (report["verdict"], answer["verdict"]) == ("failed", "failed")
    assert "membership auditor in pg_read_all_data is missing" in answer["detail"]
    assert "role auditor differs in creates databases" in answer["detail"]


@pytest.mark.parametrize("shop", [18], indirect=True)
def test_the_globals_of_the_same_server_that_are_nearest_are_taken(shop: Shop, work_dir: Path) -> None:
    first = shop.back_up()
    shop.server.execute("DROP ROLE auditor; CREATE ROLE newcomer", shop.name)
    second = shop.back_up()
    report = shop.drill(work_dir, first["backup_id"])
    assert (report["verdict"], check(report, "globals")["expected"]) == ("passed", "4 roles, 2 memberships, 2 passwords")
    report = shop.drill(work_dir, second["backup_id"])
    assert (report["verdict"], check(report, "globals")["expected"]) == ("passed", "4 roles, 1 membership, 2 passwords")


@pytest.mark.parametrize("shop", [18], indirect=True)
def test_without_a_backup_of_globals_a_drill_says_so_and_needs_it_only_when_asked(shop: Shop, work_dir: Path) -> None:
    result = shop.back_up(globals=False)
    assert "globals" not in result
    report = shop.drill(work_dir, result["backup_id"])
    assert report["verdict"] == "passed"
    assert any("no backup of this server's globals" in warning for warning in report["warnings"])
    assert shop.drill(work_dir, result["backup_id"], globals="true")["verdict"] == "unverified"


@pytest.mark.parametrize("shop", [18], indirect=True)
def test_globals_that_were_tampered_with_fail_the_drill(shop: Shop, work_dir: Path) -> None:
    result = shop.back_up()
    folder = folder_of(shop.directory / "repository", shop.globals_manifest(result))
    path = folder / "globals.sql.zst.age"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    report = shop.drill(work_dir, result["backup_id"])
    assert report["verdict"] == "failed"
    assert "could not be fetched and opened" in check(report, "globals")["found"]
    assert check(report, "row counts")["verdict"] == "passed"


@pytest.mark.parametrize("shop", [18], indirect=True)
def test_they_are_taken_once_within_max_age_and_by_themselves_when_asked(shop: Shop) -> None:
    first, second = shop.back_up(max_age="1h"), shop.back_up(max_age="1h")
    assert (first["globals"]["changed"], second["globals"]["changed"], second["changed"]) == (True, False, False)
    assert second["globals"]["backup_id"] == first["globals"]["backup_id"]
    only = shop.back_up(globals="only")
    assert (only["changed"], "backup_id" in only) == (True, False)
    assert run(shop.options(globals="only"), check_mode=True) == {"changed": True, "warnings": [], "globals": {"changed": True}}
    listed = manifests_in(posix(shop.directory / "repository"))
    assert sorted(key.split("/")[2] for key in listed) == ["database", "globals", "globals"]


def test_a_login_that_may_not_read_passwords_gets_the_rest_and_says_so(shop: Shop, work_dir: Path) -> None:
    shop.server.execute("CREATE ROLE reader LOGIN; GRANT clerks TO reader", shop.name)
    result = shop.back_up(login_user="reader")
    assert result["globals"]["passwords"] is False
    assert any("hold no passwords" in warning for warning in result["warnings"])
    script = opened(shop.directory / "repository", shop.globals_manifest(result), "dump", shop.identity)
    assert b"SCRAM" not in script
    report = shop.drill(work_dir, result["backup_id"])
    assert report["verdict"] == "passed", report["reason"]
    assert "passwords are not in the backup" in check(report, "globals")["detail"]


@pytest.mark.parametrize("shop", [18], indirect=True)
def test_a_script_that_ends_early_is_no_backup(shop: Shop) -> None:
    programs = shop.directory / "bin"
    programs.mkdir()
    real = shop.server.bin_dir / "pg_dumpall"
    (programs / "pg_dump").symlink_to(shop.server.bin_dir / "pg_dump")
    (programs / "pg_dumpall").write_text(f"#!/bin/sh\n'{real}' \"$@\" | sed '/^-- PostgreSQL database cluster dump complete/d'\n")
    (programs / "pg_dumpall").chmod(0o755)
    with pytest.raises(BackupGuardError, match="not whole") as caught:
        shop.back_up(bin_dir=str(programs))
    assert caught.value.result["backup_id"], "the database's backup stands"
    assert [key.split("/")[2] for key in manifests_in(posix(shop.directory / "repository"))] == ["database"]


def test_the_script_restores_roles_with_standard_tools(shop: Shop, tmp_path: Path) -> None:
    result = shop.back_up(globals="only")
    folder = tmp_path / "download"
    shutil.copytree(folder_of(shop.directory / "repository", shop.globals_manifest(result)), folder)
    with Server(shop.server.major) as empty:
        environment = {"PATH": f"{empty.bin_dir}:/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", "PGUSER": "postgres"}
        environment.update({"PGHOST": str(empty.socket_dir), "PGPORT": str(empty.port)})
        argv = ["sh", "restore.sh", "--identity", str(shop.identity.file)]
        done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True)
        assert (done.returncode, "errors: 1" in done.stdout) == (0, True), done.stderr
        with empty.connect() as connection:
            question = "SELECT rolconnlimit, rolpassword FROM pg_authid WHERE rolname LIKE 'anna%'"
            with shop.server.connect() as production:
                assert connection.execute(question).fetchone() == production.execute(question).fetchone()
    if shutil.which("shellcheck"):
        assert subprocess.run(["shellcheck", "--shell=sh", "restore.sh"], cwd=folder).returncode == 0


@pytest.mark.parametrize("shop", [18], indirect=True)
def test_a_wrong_word_is_answered_in_one_sentence(shop: Shop) -> None:
    with pytest.raises(ConfigurationError, match=r"globals: unknown value 'onyl'.* Did you mean 'only'"):
        shop.back_up(globals="onyl")
    with pytest.raises(DatabaseError):
        shop.back_up(globals="only", login_db="nowhere")


@pytest.mark.parametrize("shop", [18], indirect=True)
def test_several_databases_share_one_backup_of_globals(shop: Shop) -> None:
    with shop.server.database("licences") as other:
        given = {key: value for key, value in shop.options(databases=[shop.name, other]).items() if key != "login_db"}
        result = run(given)
    assert set(result["databases"]) == {"shop", "licences"}
    assert result["globals"]["changed"] is True
    listed = manifests_in(posix(shop.directory / "repository"))
    assert sorted(key.split("/")[2] for key in listed) == ["database", "database", "globals"]
