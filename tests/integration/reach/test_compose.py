# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server in a real Compose project: backed up by `docker compose exec -T` and by `docker exec`, ended inside when we end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError, SealError
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.sources import KeySource
from support.containers import Container, compose_project, docker_daemon
from support.leaks import eventually, leaves_nothing
from support.modules import run_module

pytestmark = pytest.mark.needs("root", "postgresql:15", "compose", "program:age", "program:zstd")

Asked = Callable[..., dict[str, Any]]

RUN = """
import json, sys
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
print(json.dumps(run(json.load(sys.stdin))))
"""


@pytest.fixture(scope="module")
def project() -> Iterator[tuple[Container, Container]]:
    with pytest.MonkeyPatch.context() as patch, docker_daemon() as environment, compose_project(environment) as found:
        patch.setenv("DOCKER_HOST", environment["DOCKER_HOST"])
        found[0].psql("CREATE DATABASE shop")
        found[0].psql("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 300000) n", "shop")
        found[0].psql("CREATE UNLOGGED TABLE canary AS SELECT 1")
        yield found


@pytest.mark.parametrize("way", [0, 1], ids=["docker compose exec", "docker exec"])
def test_a_backup_through_exec_is_whole(way: int, project: tuple[Container, Container], asked: Asked) -> None:
    with leaves_nothing():
        result = run(asked(exec=project[way].exec, login_db="shop"))
    assert (result["evidence"]["tables"], result["evidence"]["uncounted"]) == (1, 0)
    assert result["plain_bytes"] > 10_000_000
    assert result["globals"]["backup_id"]


def test_through_the_module(project: tuple[Container, Container], asked: Asked, tmp_path: Path) -> None:
    result = run_module("pg_logical_backup", asked(exec=project[0].exec, login_db="shop"), tmp_path, check=True)
    assert (result["failed"], result["changed"]) == (False, True), result


def test_a_run_that_is_killed_ends_pg_dump_inside_and_harms_nobody(project: tuple[Container, Container], asked: Asked) -> None:
    inside, quick = project
    quick.psql("CREATE TABLE big AS SELECT md5(n::text) || md5((n + 1)::text) AS t FROM generate_series(1, 900000) n", "shop")
    given = asked(exec=inside.exec, login_db="shop", globals="false", compression_level=19)
    process = subprocess.Popen([sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(json.dumps(given).encode())
    process.stdin.close()
    running = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lifeboat%'"
    try:
        eventually(lambda: quick.psql(running.replace("lifeboat", "lifeboat inside")) == "1", "pg_dump runs inside")
        process.send_signal(signal.SIGKILL)
        process.wait(120)
        eventually(lambda: quick.psql(running) == "0", "all sessions inside have ended")
    finally:
        process.kill()
        process.wait()
        quick.psql("DROP TABLE big", "shop")
    assert quick.psql("SELECT count(*) FROM canary") == "1", "the server inside has crashed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"service": "bd"}, "service 'bd' of the Compose project"),
        ({"project_directory": "/nowhere"}, "there is no Compose file there"),
        ({"type": "docker", "container": "nowhere", "service": None, "project_directory": None}, "there is no container 'nowhere'"),
    ],
)
def test_what_is_not_there_is_said_in_one_sentence(
    change: dict[str, Any], words: str, project: tuple[Container, Container], asked: Asked
) -> None:
    with pytest.raises(DatabaseError, match=words) as caught:
        run(asked(login_db="shop", exec={**project[0].exec, **change}))
    assert "\n" not in str(caught.value)


def test_a_key_in_the_environment_of_a_service_is_what_compose_made_of_its_env_file(project: tuple[Container, Container]) -> None:
    def read(variable: str = "APP_KEY", **origin: Any) -> bytes:
        return KeySource.from_options({"name": "app-key", "variable": variable, **origin}, "test").read().files[0].data

    by_compose, by_docker = (read(exec=way.exec) for way in project)
    assert by_compose == by_docker == 'it\'s "one" \\ of #1, ü and $'.encode()
    assert read(env_file=f"{project[0].exec['project_directory']}/.env") == by_compose
    with pytest.raises(SealError, match="made without a variable APP_KYE"):
        read("APP_KYE", exec=project[0].exec)
    with pytest.raises(DatabaseError, match=r"no service|there is no"):
        read(exec={**project[0].exec, "service": "api"})


def test_a_service_that_was_stopped_is_one_sentence(project: tuple[Container, Container], asked: Asked) -> None:
    compose = project[0].prefix[: project[0].prefix.index("exec")]
    environment = project[0].environment
    subprocess.run([*compose, "stop", "--timeout", "10"], env=environment, capture_output=True, check=True)
    try:
        for way, words in zip(project, (r"service 'db' of the Compose project does not run", r"container '\w+' does not run")):
            with pytest.raises(DatabaseError, match=words) as caught:
                run(asked(login_db="shop", exec=way.exec))
            assert "\n" not in str(caught.value)
    finally:
        subprocess.run([*compose, "start"], env=environment, capture_output=True, check=True)
        project[0].wait()


def test_a_daemon_that_does_not_answer_is_named(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(DatabaseError, match="Docker daemon does not answer"):
        run(asked(login_db="shop", exec={"type": "docker", "container": "db"}))
