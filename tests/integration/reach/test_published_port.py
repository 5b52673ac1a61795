# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server inside a container whose port can be reached: its programs run inside, sessions go over the port, through the role too."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DatabaseError, MissingTool
from support.containers import CONTAINERS_CONF, PASSWORD, Container, podman_container
from support.leaks import leaves_nothing
from support.logical import new_identity, posix
from support.playbooks import play
from support.ports import free_port

pytestmark = pytest.mark.needs("root", "postgresql:15", "program:podman", "program:runc", "program:age", "program:zstd")

Asked = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    """Without anything inside that could relay a session; on the host's own network, where no bridge can be made."""
    port = free_port()
    options = ("--env", "LOCAL_AUTH=scram-sha-256", "--env", f"PGPORT={port}")
    with pytest.MonkeyPatch.context() as patch, podman_container(*options, network="host") as found:
        patch.setenv("CONTAINERS_CONF", str(CONTAINERS_CONF))
        found.psql("CREATE DATABASE shop")
        found.psql("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 1000) n", "shop")
        found.run("sh", "-c", 'rm -f "$(command -v perl)"')
        found.exec["port"] = port
        yield found


@pytest.fixture
def way(container: Container, asked: Asked) -> Asked:
    def build(**more: Any) -> dict[str, Any]:
        place = {"login_host": "127.0.0.1", "login_port": container.exec["port"], "login_password": PASSWORD}
        return asked(**{"exec": container.exec, "login_db": "shop", **place, **more})

    return build


def test_without_the_port_the_sentence_says_to_publish_it(way: Asked) -> None:
    with pytest.raises(MissingTool, match=r"none of perl, python3 and socat.*Publish the server's port"):
        run(way(login_host="", login_port=5432))


def test_a_backup_over_the_port_is_whole_and_globals_come_too(way: Asked) -> None:
    with leaves_nothing():
        result = run(way())
    assert (result["evidence"]["tables"], result["evidence"]["uncounted"]) == (1, 0)
    assert result["globals"]["backup_id"]


def test_a_port_at_which_nobody_answers_is_named(way: Asked) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(DatabaseError, match=r"no server answers|refused"):
            run(way(login_port=taken.getsockname()[1]))


def test_the_role_backs_up_a_container(container: Container, tmp_path: Path) -> None:
    identity = new_identity(tmp_path / "identity")
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "lifeboat_system": "shop",
        "lifeboat_databases": [{"name": "shop"}],
        "lifeboat_repositories": {"here": posix(tmp_path / "here")},
        "lifeboat_encryption": {"recipients": [identity.recipient]},
        "lifeboat_exec": container.exec,
        "lifeboat_login_host": "127.0.0.1",
        "lifeboat_login_port": container.exec["port"],
        "lifeboat_login_password": PASSWORD,
        "lifeboat_backup_become_user": "",
        "lifeboat_lock_dir": str(tmp_path / "locks"),
    }
    done = play("backup", {"all": {"vars": variables, "children": {"databases": {"hosts": {"db1": {}}}}}}, tmp_path, "-v")
    assert done.status == 0, done.output
    assert done.recap("db1")["changed"] == 1
    assert PASSWORD not in done.output
    (manifest,) = (tmp_path / "here").rglob("manifests/database/*/*.json")
    assert json.loads(manifest.read_text())["server_version"].startswith("15")


def test_a_container_that_was_stopped_is_one_sentence(way: Asked, container: Container) -> None:
    name = str(container.exec["container"])
    podman = {"env": container.environment, "capture_output": True, "check": True}
    subprocess.run(["podman", "stop", "--time", "10", name], **podman)  # type: ignore[call-overload]
    try:
        with pytest.raises(DatabaseError, match=rf"container '{name}' does not run .*Start it") as caught:
            run(way())
        assert "\n" not in str(caught.value)
    finally:
        subprocess.run(["podman", "start", name], **podman)  # type: ignore[call-overload]
    container.wait()
    assert run(way(globals="false"))["backup_id"], "and it works again when it runs again"
