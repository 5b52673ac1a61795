# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The heartbeat on real servers: what it needs, what it leaves, and that it does not grow."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DatabaseError
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import open_connection
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.heartbeat import (
    beat,
    beat_from_options,
    read_beat,
    restore_point_name,
    run_heartbeat,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.server import ask_server
from support.clusters import Server
from support.standbys import PRIMARY, Standby

CLI = "ansible_collections.lifeboat.postgres.plugins.module_utils.cli"
PAGE = Path(__file__).parents[3] / "docs" / "wal-info.md"


def test_a_beat_makes_its_table_once_and_is_read_back(postgres: Server) -> None:
    with postgres.database() as name:
        before = dt.datetime.now(dt.timezone.utc)
        first = run_heartbeat(postgres.login(name))
        second = run_heartbeat(postgres.login(name))
        assert before <= first.moment < second.moment <= dt.datetime.now(dt.timezone.utc)
        assert first.lsn < second.lsn
        with open_connection(postgres.login(name), application_name="test") as connection:
            assert read_beat(connection) == second
            assert connection.execute("SELECT count(*) FROM lifeboat.heartbeat").fetchone() == (1,)


def test_a_database_without_a_heartbeat_has_no_beat(postgres: Server) -> None:
    with postgres.database() as name, open_connection(postgres.login(name), application_name="test") as connection:
        assert read_beat(connection) is None


def test_hundreds_of_beats_stay_on_a_few_pages(postgres18: Server) -> None:
    with postgres18.database() as name, open_connection(postgres18.login(name), application_name="test") as connection:
        for _time in range(500):
            beat(connection)
        size = connection.execute("SELECT pg_catalog.pg_relation_size('lifeboat.heartbeat')").fetchone()
        assert size is not None
        assert size[0] <= 5 * 8192


def test_the_rights_on_the_page_are_enough_and_no_more_is_needed(postgres: Server) -> None:
    block = PAGE.read_text(encoding="utf-8").partition("```sql\n")[2].partition("```")[0]
    with postgres.database() as name:
        try:
            with postgres.connect(name) as connection:
                for statement in block.replace("shop", name).split(";"):
                    if statement.strip():
                        connection.execute(statement.encode())
            login = postgres.login(name, "lifeboat_heartbeat")
            assert run_heartbeat(login).moment < run_heartbeat(login).moment
            with postgres.connect(name, "lifeboat_heartbeat") as connection:
                found = connection.execute(
                    "SELECT rolsuper, rolcreatedb, rolreplication FROM pg_roles WHERE rolname = current_user"
                ).fetchone()
            assert found == (False, False, False)
        finally:
            postgres.drop_database(name)
            postgres.execute("DROP ROLE IF EXISTS lifeboat_heartbeat")


def test_a_role_that_may_not_is_told_where_its_rights_are_described(postgres: Server) -> None:
    with postgres.database() as name, postgres.role("nobody_special") as role, pytest.raises(DatabaseError, match=r"wal-info\.md"):
        run_heartbeat(postgres.login(name, role))


def test_a_table_of_that_name_with_another_shape_is_left_alone(postgres: Server) -> None:
    with postgres.database() as name:
        postgres.execute("CREATE SCHEMA lifeboat; CREATE TABLE lifeboat.heartbeat (id int, moment text)", name)
        with pytest.raises(DatabaseError, match="is not the table of the heartbeat"):
            run_heartbeat(postgres.login(name))


def test_a_clock_that_was_set_back_does_not_make_the_last_beat_older(postgres18: Server) -> None:
    with postgres18.database() as name:
        run_heartbeat(postgres18.login(name))
        postgres18.execute("UPDATE lifeboat.heartbeat SET moment = moment + interval '1 hour'", name)
        assert run_heartbeat(postgres18.login(name)).moment > dt.datetime.now(dt.timezone.utc) + dt.timedelta(minutes=59)


def test_a_restore_point_leaves_no_table_and_its_name_says_the_moment(postgres: Server) -> None:
    with postgres.database() as name:
        found = run_heartbeat(postgres.login(name), "restore_point")
        with open_connection(postgres.login(name), application_name="test") as connection:
            assert read_beat(connection) is None
        assert found.lsn.value > 0
        point = restore_point_name(found.moment).encode()
        assert len(point) < 64
        with postgres.connect(name) as connection:
            # The position is the end of its record.
            row = connection.execute("SELECT pg_walfile_name(%s::pg_lsn)", (str(found.lsn),)).fetchone()
        assert row is not None
        assert point in (postgres.data / "pg_wal" / row[0]).read_bytes()


def test_a_standby_is_asked_how_far_it_is_and_takes_no_beat() -> None:
    with Server(18, PRIMARY) as primary, Standby(primary) as standby:
        found = ask_server(standby.login())
        assert (found.standby, found.timeline) == (True, 1)
        assert found.lsn <= ask_server(primary.login()).lsn
        with pytest.raises(DatabaseError, match="is a standby"):
            run_heartbeat(standby.login())


def test_the_command_beats_once_by_its_job_file(postgres18: Server, tmp_path: Path) -> None:
    with postgres18.database() as name:
        login = {"login_unix_socket": str(postgres18.socket_dir), "login_port": postgres18.port, "login_db": name}
        (tmp_path / "job.json").write_text(json.dumps(login))
        argv = [sys.executable, "-m", CLI, "wal", "heartbeat", "-c", str(tmp_path / "job.json")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, cwd="/")
        assert (done.returncode, done.stderr) == (0, "")
        with open_connection(postgres18.login(name), application_name="test") as connection:
            found = read_beat(connection)
        assert found is not None
        assert done.stdout == f"{found.moment:%Y-%m-%d %H:%M:%S.%f} UTC at {found.lsn}\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"heartbeat": {"method": "tabel"}}, "Did you mean 'table'"),
        ({"heartbeat": {"metod": "table"}}, "unknown key 'metod'"),
        ({"login_dbb": "shop"}, "unknown key 'login_dbb'"),
        ({}, "login_db is required"),
    ],
)
def test_wrong_options_are_answered_before_anything_runs(given: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        beat_from_options(given)
    assert message in str(caught.value)
