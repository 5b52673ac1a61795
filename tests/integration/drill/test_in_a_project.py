# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill under Docker, as a container and as a Compose project of its own beside the project that is production."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.run import run as run_drill
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import drills_in
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, LifeboatError, MissingTool
from support.clusters import Server
from support.containers import IMAGE, Container, compose_project, docker_daemon
from support.drills import BackedUp, back_up, drill_at
from support.leaks import eventually

pytestmark = pytest.mark.needs("root", "netns", "postgresql:15", "compose", "program:age", "program:zstd")

SLOW = {"sql": {"name": "slow", "query": "SELECT pg_sleep(3600) IS NULL", "expect": False, "timeout": "2h"}}


@dataclass(frozen=True)
class Production:
    """A Compose project that runs, and a backup that was taken elsewhere."""

    container: Container
    shop: BackedUp

    @property
    def directory(self) -> str:
        return str(self.container.exec["project_directory"])

    def options(self, work_dir: Path, **more: Any) -> dict[str, Any]:
        return self.shop.options(work_dir, bin_dir="", jobs=2, **more)

    def project(self, **more: Any) -> dict[str, Any]:
        return {"type": "compose", "project_directory": self.directory, "service": "db", **more}


def docker(*argv: str) -> str:
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


def everything() -> dict[str, set[str]]:
    """Containers, volumes and networks of the daemon, which is the tests' own."""
    all_of = {"container": ["--all"], "volume": [], "network": []}
    return {kind: set(docker(kind, "ls", "--quiet", *more).split()) for kind, more in all_of.items()}


@pytest.fixture(scope="module")
def production(postgres15: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    with pytest.MonkeyPatch.context() as patch, docker_daemon() as environment, compose_project(environment) as found:
        patch.setenv("DOCKER_HOST", environment["DOCKER_HOST"])
        with postgres15.database() as name:
            postgres15.execute("CREATE TABLE invoices (number int PRIMARY KEY); INSERT INTO invoices SELECT generate_series(1, 500)", name)
            yield Production(found[0], back_up(postgres15, name, tmp_path_factory.mktemp("shop")))


def test_a_project_of_its_own_passes_beside_productions_and_leaves_nothing(production: Production, work_dir: Path) -> None:
    before = everything()
    seen: list[dict[str, Any]] = []

    def look(message: str) -> None:
        if message.startswith("compare"):
            found = docker("ps", "--quiet", "--filter", f"label=lifeboat-work-dir={work_dir}").split()
            seen.extend(json.loads(docker("inspect", *found)))

    report = run_drill(production.options(work_dir, throwaway=production.project()), progress=look)["report"]
    assert (report["verdict"], report["isolation"]["how"]) == ("passed", "Compose project")
    (server,) = seen
    labels, host = server["Config"]["Labels"], server["HostConfig"]
    assert labels["com.docker.compose.project"] == f"lifeboat-{labels['lifeboat-drill']}".lower()
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"], host["PortBindings"] or {}) == ("none", True, ["ALL"], {})
    assert not [value for value in server["Config"]["Env"] if "APP_KEY" in value], "production's variables stay where they are"
    assert {mount["Type"] for mount in server["Mounts"]} <= {"bind", "tmpfs"}
    assert everything() == before
    assert production.container.psql("SELECT 1") == "1"


def test_a_container_of_docker_passes(production: Production, work_dir: Path) -> None:
    before = everything()
    given = production.options(work_dir, throwaway={"type": "container", "engine": "docker", "image": IMAGE})
    report = run_drill(given)["report"]
    assert (report["verdict"], report["isolation"]["how"]) == ("passed", "docker container")
    assert everything() == before


def test_what_a_killed_drill_leaves_is_reaped(production: Production, work_dir: Path) -> None:
    before = everything()
    with drill_at(production.options(work_dir, checks=[SLOW], throwaway=production.project()), "compare") as process:
        assert everything()["container"] > before["container"]
        process.kill()
        process.wait()
    (left,) = drills_in(work_dir)
    result = run_drill({"reap": True, "work_dir": str(work_dir)})
    assert [(item["drill_id"], item["state"]) for item in result["reaped"]] == [(left.name, "reaped")]
    eventually(lambda: everything() == before, "nothing of it is left")
    assert drills_in(work_dir) == []


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"service": "bd"}, ConfigurationError, r"has no service 'bd'.*There are: db"),
        ({"project_directory": "/nonexistent"}, LifeboatError, "the Compose file cannot be read"),
    ],
)
def test_what_is_not_there_is_said_in_one_sentence(
    change: dict[str, Any], kind: type[LifeboatError], words: str, production: Production, work_dir: Path
) -> None:
    with pytest.raises(kind, match=words) as caught:
        run_drill(production.options(work_dir, throwaway=production.project(**change)), check_mode=True)
    assert "\n" not in str(caught.value)


def test_an_image_that_was_never_built_is_not_built_now(production: Production, work_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("name: other\nservices:\n  db:\n    build: .\n")
    throwaway = {"type": "compose", "files": [str(tmp_path / "compose.yaml")], "service": "db"}
    with pytest.raises(MissingTool, match=r"image other-db of service db is not on this host, and a drill pulls and builds nothing"):
        run_drill(production.options(work_dir, throwaway=throwaway), check_mode=True)
