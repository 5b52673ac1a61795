# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill whose server is in a podman container: it proves as much, has as little, and leaves nothing, also when it is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill import image
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.run import run as run_drill
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import drills_in
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, DrillNotPassed, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres import programs
from support.clusters import Server
from support.containers import CONTAINERS_CONF, podman_image
from support.drills import BackedUp, back_up, drill_at
from support.jobs import Jobs
from support.leaks import eventually
from support.leaks import programs as programs_of
from support.pitr import Production

pytestmark = pytest.mark.needs("root", "netns", "postgresql:15", "program:podman", "program:runc", "program:age", "program:zstd")

CHECKS: list[dict[str, Any]] = [
    {"gapless": {"table": "invoices", "column": "number"}},
    # A program of this host, beside a server that is in a container.
    {"command": {"argv": ["sh", "-c", 'test -S "$PGHOST/.s.PGSQL.$PGPORT" && test ! -e /etc/hostname']}},
]
SLOW = {"sql": {"name": "slow", "query": "SELECT pg_sleep(3600) IS NULL", "expect": False, "timeout": "2h"}}


def podman(*argv: str) -> str:
    done = subprocess.run(["podman", *argv], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


def containers_in(work_dir: Path) -> list[str]:
    return podman("ps", "--all", "--quiet", "--filter", f"label=lifeboat-work-dir={work_dir}").split()


@pytest.fixture(scope="module")
def reference() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, podman_image() as name:
        patch.setenv("CONTAINERS_CONF", str(CONTAINERS_CONF))
        yield name


@pytest.fixture(scope="module")
def shop(postgres15: Server, reference: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackedUp]:
    with postgres15.database() as name:
        postgres15.execute("CREATE TABLE invoices (number int PRIMARY KEY); INSERT INTO invoices SELECT generate_series(1, 500)", name)
        postgres15.execute("CREATE EXTENSION hstore", name)
        yield back_up(postgres15, name, tmp_path_factory.mktemp("shop"), checks=CHECKS)


@pytest.fixture
def given(shop: BackedUp, reference: str, work_dir: Path) -> dict[str, Any]:
    """The options of a drill in a container, on a host without any PostgreSQL as far as it goes."""
    return shop.options(work_dir, bin_dir="", jobs=2, checks=CHECKS, throwaway={"type": "container", "image": reference})


@pytest.fixture
def no_programs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str, *_more: object) -> Path:
        raise AssertionError(f"{name} was looked for on this host")

    monkeypatch.setattr(programs, "find_program", find)


@pytest.mark.usefixtures("no_programs_here")
def test_a_healthy_backup_passes_and_the_server_has_nothing_that_it_does_not_need(given: dict[str, Any], work_dir: Path) -> None:
    seen: list[dict[str, Any]] = []

    def look(message: str) -> None:
        if message.startswith("compare"):
            seen.extend(json.loads(podman("inspect", *containers_in(work_dir))))

    report = run_drill(given, progress=look)["report"]
    assert (report["verdict"], {check["verdict"] for check in report["checks"]}) == ("passed", {"passed"})
    assert (report["isolation"]["isolated"], report["isolation"]["how"]) == (True, "podman container")
    assert report["settings"]["archive_mode"] == "off"
    (server,) = seen
    (drill_id,) = {server["Config"]["Labels"]["lifeboat-drill"]}
    assert drill_id.startswith("drill-")
    host = server["HostConfig"]
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["Privileged"]) == ("none", True, False)
    assert server["EffectiveCaps"] in (None, [])
    assert not host["PortBindings"]
    assert {mount["Source"].split("/")[3] for mount in server["Mounts"]} == {work_dir.name}, "nothing of the host but the drill's own"
    assert report["teardown"]["detail"].startswith("No container, no process")
    assert containers_in(work_dir) == []
    assert [path.name for path in work_dir.iterdir()] == [".lock"]


@pytest.mark.usefixtures("no_programs_here")
def test_check_mode_looks_into_the_image_and_leaves_nothing(given: dict[str, Any], work_dir: Path) -> None:
    rehearsal = run_drill(given, check_mode=True)["rehearsal"]
    assert rehearsal["postgresql"].startswith("15.")
    assert rehearsal["isolated"] is True
    assert containers_in(work_dir) == []
    assert not work_dir.exists()


@pytest.mark.parametrize("network", ["host", "bridge"])
def test_a_container_that_has_a_network_is_refused(
    network: str, shop: BackedUp, given: dict[str, Any], work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "NETWORK", network)
    report = shop.drill(**{**given, "work_dir": work_dir})
    assert report["verdict"] == "unverified"
    assert "would have a way out of this machine" in report["reason"]
    assert "still reaches" in report["reason"]
    assert report["isolation"]["isolated"] is False
    assert not report["checks"] or {check["name"] for check in report["checks"]} == {"signature"}, "nothing was restored"
    assert containers_in(work_dir) == []


def test_an_image_of_another_major_version_is_refused_and_says_what_it_holds(
    postgres18: Server, reference: str, work_dir: Path, tmp_path: Path
) -> None:
    with postgres18.database() as name:
        newer = back_up(postgres18, name, tmp_path)
    report = newer.drill(work_dir, bin_dir="", throwaway={"type": "container", "image": reference})
    assert report["verdict"] == "unverified"
    assert "has no postgres of PostgreSQL 18, the backup's own major version (it holds postgres (PostgreSQL) 15." in report["reason"]
    assert not work_dir.exists()


@pytest.mark.parametrize("chosen", ["auto", "podman"])
def test_an_image_that_is_not_there_is_not_pulled(given: dict[str, Any], chosen: str) -> None:
    missing = {"type": "container", "engine": chosen, "image": "localhost/lb-nowhere:1"}
    with pytest.raises(MissingTool, match=r"image localhost/lb-nowhere:1 is not on this host, and a drill pulls nothing.* podman pull"):
        run_drill({**given, "throwaway": missing}, check_mode=True)


def test_a_missing_engine_is_named(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_more, **_named: None)
    with pytest.raises(MissingTool, match="there is neither podman nor docker on this host"):
        run_drill(given, check_mode=True)
    with pytest.raises(MissingTool, match="there is no program docker on this host"):
        run_drill({**given, "throwaway": {**given["throwaway"], "engine": "docker"}}, check_mode=True)


def test_an_engine_elsewhere_is_refused(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "docker").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2376")
    with pytest.raises(ConfigurationError, match="the Docker daemon is on another host"):
        run_drill({**given, "throwaway": {**given["throwaway"], "engine": "docker"}}, check_mode=True)


def test_checks_do_not_start_programs_where_nothing_isolates_them(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.drill import isolation, target

    def bare(account: Any, *_more: object) -> isolation.Confinement:
        return isolation.Bare(account, "nothing isolates here")

    monkeypatch.setattr(target, "confinement_for", bare)
    with pytest.raises(DrillNotPassed) as caught:
        run_drill(given)
    report = caught.value.result["report"]
    verdicts = {check["name"].partition(" ")[0]: check["verdict"] for check in report["checks"]}
    assert (report["verdict"], verdicts["command"], verdicts["gapless"]) == ("unverified", "unverified", "passed")


def test_a_killed_drill_is_cleaned_up_by_the_reaper(given: dict[str, Any], work_dir: Path, tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs")
    jobs.write("reap", "reap", {"work_dir": str(work_dir)})
    with drill_at({**given, "checks": [SLOW]}, "compare") as process:
        (running,) = containers_in(work_dir)
        assert jobs.lifeboat("reap").returncode == 0
        assert containers_in(work_dir) == [running], "a running drill stays"
        # What would have ended the container with the drill dies first, as when a host kills all at once.
        for client in programs_of("podman", process.pid):
            os.kill(client, signal.SIGKILL)
        process.kill()
        process.wait()
    assert containers_in(work_dir) == [running]
    (left,) = drills_in(work_dir)
    foreseen = jobs.lifeboat("reap", "--dry-run", "--json")
    assert [(item["drill_id"], item["state"]) for item in json.loads(foreseen.stdout)["reaped"]] == [(left.name, "reaped")]
    assert left.exists()
    # In the environment of a clock, which knows nothing of the variables that podman was found by.
    done = jobs.lifeboat("reap", PATH="/nonexistent", CONTAINERS_CONF="")
    assert done.returncode == 0, done.stderr
    assert jobs.state("reap")["changed"] is True
    assert containers_in(work_dir) == []
    assert drills_in(work_dir) == []


def test_the_server_in_its_container_dies_with_a_killed_drill(given: dict[str, Any], work_dir: Path) -> None:
    with drill_at({**given, "checks": [SLOW]}, "compare") as process:
        process.kill()
        process.wait()
    eventually(lambda: containers_in(work_dir) == [], "the container ended, and was removed, by itself")


def test_a_container_whose_directory_is_gone_is_reaped_and_somebody_elses_is_not(reference: str, work_dir: Path) -> None:
    def start(*labels: str) -> str:
        options = [word for label in labels for word in ("--label", label)]
        return podman("run", "--detach", "--network", "none", *options, "--entrypoint", "sleep", reference, "600").strip()

    work_dir.mkdir(mode=0o711)
    ours = start("lifeboat-drill=drill-20261121T050000Z-1a2b3c4d", f"lifeboat-work-dir={work_dir}")
    elsewhere = start("lifeboat-drill=drill-20261121T050000Z-1a2b3c4e", "lifeboat-work-dir=/nowhere/else")
    theirs = start("owner=somebody")
    try:
        assert run_drill({"reap": True, "work_dir": str(work_dir)}, check_mode=True)["changed"]
        result = run_drill({"reap": True, "work_dir": str(work_dir)})
        assert [(item["drill_id"], item["state"]) for item in result["reaped"]] == [("drill-20261121T050000Z-1a2b3c4d", "reaped")]
        there = podman("ps", "--quiet", "--no-trunc").split()
        assert ours not in there
        assert {elsewhere, theirs} <= set(there)
        assert not run_drill({"reap": True, "work_dir": str(work_dir)})["changed"]
    finally:
        podman("rm", "--force", "--ignore", "--time", "0", ours, elsewhere, theirs)


def test_a_recovery_to_the_latest_state_runs_in_a_container(reference: str, work_dir: Path, tmp_path: Path) -> None:
    production = Production(15, tmp_path)
    try:
        production.query("CREATE TABLE t AS SELECT generate_series(1, 100) AS n")
        production.archive()
        production.back_up()
        production.query("INSERT INTO t VALUES (101)")
        production.archive()
        more = {"must_exist": ["SELECT 1 FROM t WHERE n = 101"]}
        throwaway = {"type": "container", "image": reference}
        report = production.drill(work_dir, bin_dir="", throwaway=throwaway, markers=more, amcheck=True, data_checksums=True)
    finally:
        production.stop()
    assert report["verdict"] == "passed", report["reason"]
    assert report["isolation"]["how"] == "podman container"
    assert containers_in(work_dir) == []


def test_a_work_dir_with_a_colon_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="work_dir has a colon"):
        run_drill({**given, "work_dir": "/tmp/lb:drills"}, check_mode=True)
