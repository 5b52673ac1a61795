# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server inside a real podman container that publishes no port: backed up through `exec`, and nothing left behind inside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DatabaseError, LifeboatError
from support.containers import CONTAINERS_CONF, PASSWORD, Container, podman_container
from support.leaks import eventually, leaves_nothing

pytestmark = pytest.mark.needs("root", "postgresql:15", "program:podman", "program:runc", "program:age", "program:zstd")

Asked = Callable[..., dict[str, Any]]

RUN = """
import json, sys
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
print(json.dumps(run(json.load(sys.stdin))))
"""


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    """Its server asks for a password, over its socket, too."""
    with pytest.MonkeyPatch.context() as patch, podman_container("--env", "LOCAL_AUTH=scram-sha-256") as found:
        patch.setenv("CONTAINERS_CONF", str(CONTAINERS_CONF))
        found.psql("CREATE DATABASE shop")
        found.psql("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 1000) n", "shop")
        yield found


@pytest.fixture
def way(container: Container, asked: Asked) -> Asked:
    return lambda **more: asked(**{"exec": container.exec, "login_db": "shop", "login_password": PASSWORD, **more})


def test_a_backup_through_exec_is_whole_and_leaves_nothing(way: Asked, container: Container) -> None:
    with leaves_nothing():
        result = run(way(globals="false"))
    assert result["evidence"]["uncounted"] == 0
    assert result["plain_bytes"] > 30_000
    eventually(
        lambda: container.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lifeboat%'") == "0", "sessions end"
    )
    assert ".lifeboat" not in container.run("sh", "-c", "echo /tmp/.* /dev/shm/.*")


def test_globals_and_all_databases_come_the_same_way(way: Asked) -> None:
    given = way(all_databases=True)
    del given["login_db"]
    result = run(given)
    assert sorted(result["databases"]) == ["shop"]
    assert result["globals"]["backup_id"]


def test_check_mode_looks_inside_and_writes_nothing(way: Asked, tmp_path: Path) -> None:
    assert run(way(), check_mode=True)["changed"]
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_ends_pg_dump_inside(how: signal.Signals, way: Asked, container: Container) -> None:
    given = way(globals="false", system=f"killed{how.value}")
    # A server that thinks that one of its own crashed restarts, and empties its unlogged tables.
    container.psql("DROP TABLE IF EXISTS canary; CREATE UNLOGGED TABLE canary AS SELECT 1")
    process = subprocess.Popen([sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    given["compression_level"] = 19
    container.psql(
        "DROP TABLE IF EXISTS big; CREATE TABLE big AS SELECT md5(n::text) || md5((n+1)::text) AS t FROM generate_series(1, 900000) n",
        "shop",
    )
    process.stdin.write(json.dumps(given).encode())
    process.stdin.close()
    mine = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lifeboat%'"
    inner = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lifeboat inside%'"
    try:
        eventually(lambda: container.psql(inner) == "1", "pg_dump runs inside")
        os.kill(process.pid, how)
        process.wait(120)
        eventually(lambda: container.psql(mine) == "0", "all sessions inside have ended")
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        container.psql("DROP TABLE big", "shop")
    assert container.psql("SELECT count(*) FROM canary") == "1", "the server inside has crashed"


def test_what_an_earlier_run_left_is_ended_by_the_next(way: Asked, container: Container) -> None:
    given = way(globals="false")
    from ansible_collections.lifeboat.postgres.plugins.module_utils.backup import reach
    from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.job import LogicalJob

    name = reach._mark(LogicalJob.from_options(given))
    left = subprocess.Popen(
        [*container.prefix, "env", "PGPASSFILE=/pgpass", f"PGAPPNAME={name} 1", "psql",
         "-U", "postgres", "-h", "/var/run/postgresql", "-c", "SELECT pg_sleep(600)"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=container.environment,
    )  # fmt: skip
    try:
        eventually(
            lambda: container.psql(f"SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '{name}%'") == "1", "it is there"
        )
        run(given)
        left.wait(120)
    finally:
        left.kill()
        left.wait()


def test_the_password_is_in_no_argument_and_no_environment(way: Asked, container: Container) -> None:
    seen: list[bytes] = []

    def look(message: str) -> None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and entry.name != str(os.getpid()):
                for file in ("cmdline", "environ"):
                    try:
                        seen.append((entry / file).read_bytes())
                    except OSError:
                        continue

    run(way(globals="false"), progress=look)
    assert any(b"exec" in text and b"podman" in text for text in seen)
    assert not [text for text in seen if PASSWORD.encode() in text]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"container": "nowhere"}, r"there is no container 'nowhere'.*name in exec"),
        ({"user": "nobody-knows"}, "has no such user"),
        ({"port": 5433}, "no server answers|relay"),
    ],
)
def test_what_is_not_there_is_said_in_one_sentence(change: dict[str, Any], words: str, way: Asked, container: Container) -> None:
    with pytest.raises(LifeboatError, match=words) as caught:
        run(way(exec={**container.exec, **change}))
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_wrong_password_and_a_wrong_directory_are_named(way: Asked) -> None:
    with pytest.raises(DatabaseError, match="refused the login of 'postgres'"):
        run(way(login_password="wrong"))
    with pytest.raises(LifeboatError, match=r"no pg_dump of PostgreSQL 15 in container"):
        run(way(bin_dir="/nowhere"))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"type": "dokcer", "container": "x"}, "type: unknown value 'dokcer'.*'docker'"),
        ({"type": "docker"}, "container is required"),
        ({"type": "docker", "container": "x", "service": "db"}, "service is for type compose"),
        ({"type": "compose", "container": "x"}, "container is not for type compose"),
        ({"type": "compose", "service": "db", "project_dir": "/x"}, "unknown key 'project_dir'.*'project_directory'"),
        ({"type": "podman", "container": "--privileged"}, "cannot begin with a dash"),
    ],
)
def test_wrong_options_are_answered_before_anything_runs(asked: Asked, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        run(asked(login_db="shop", exec=wrong))
    with pytest.raises(ConfigurationError, match="format directory"):
        run(asked(login_db="shop", exec={"type": "docker", "container": "x"}, format="directory"))
