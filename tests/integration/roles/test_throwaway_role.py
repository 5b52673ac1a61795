# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `throwaway`: a host is made for a drill by hooks, and destroyed whatever happens; a reaper is scheduled."""

from __future__ import annotations

import json
import os
import pwd
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.playbooks import Play, play

pytestmark = pytest.mark.needs("netns")

# A host of the cheapest kind: a directory that is there while it exists, and this very machine behind it.
MAKE = """#!/bin/sh
set -eu
mkdir -p "{hosts}/$1"
echo '{{"ansible_connection": "local", "ansible_python_interpreter": "{python}", "ansible_host": "made"}}'
"""
DESTROY = """#!/bin/sh
if [ -e "{hosts}/stuck" ]; then echo "the cloud does not answer" >&2; exit 1; fi
echo "$1" >> "{hosts}/../destroyed"
rm -rf "{hosts}/$1"
"""
MAKE_TASKS = """
- name: Make it
  ansible.builtin.file:
    path: "{hosts}/{{{{ throwaway_name }}}}"
    state: directory
    mode: "0700"

- name: Know it
  ansible.builtin.add_host:
    name: "{{{{ throwaway_name }}}}"
    ansible_connection: local
    ansible_python_interpreter: "{python}"
"""
DESTROY_TASKS = """
- name: Destroy it
  ansible.builtin.file:
    path: "{hosts}/{{{{ throwaway_name }}}}"
    state: absent
"""


class Cloud:
    """Where hosts are made, and the records of them."""

    def __init__(self, system: Any, home: Path) -> None:
        self.system, self.home = system, home
        self.hosts, self.records = home / "hosts", home / "records"
        self.hosts.mkdir()
        for name, text in (("make", MAKE), ("destroy", DESTROY), ("make.yml", MAKE_TASKS), ("destroy.yml", DESTROY_TASKS)):
            path = home / name
            path.write_text(text.format(hosts=self.hosts, python=sys.executable))
            path.chmod(0o755)

    def run(self, *arguments: str, **variables: Any) -> Play:
        hooks = {"create_command": [str(self.home / "make")], "destroy_command": [str(self.home / "destroy")]}
        own = {
            "lifeboat_throwaway_host": hooks,
            "lifeboat_throwaway_record_dir": str(self.records),
            "lifeboat_host_become_user": "",
            "lifeboat_report_dir": str(self.home / "reports"),
            **variables,
        }
        return play("throwaway", self.system.inventory({"databases": ["db1"], "drill": ["drill1"]}, **own), self.home, *arguments)

    def nothing_left(self) -> bool:
        return not list(self.hosts.iterdir()) and not list(self.records.glob("*")) and self.system.nothing_left()

    def leave(self, name: str, age_seconds: float) -> Path:
        """What a killed run leaves: a host and its record."""
        (self.hosts / name).mkdir()
        self.records.mkdir(exist_ok=True)
        record = self.records / f"{name}.json"
        record.write_text(json.dumps({"schema": 1, "name": name, "system": "shop"}))
        os.utime(record, (time.time() - age_seconds,) * 2)
        return record


@pytest.fixture
def cloud(backed_up: Any, tmp_path: Path) -> Cloud:
    return Cloud(backed_up, tmp_path)


def test_a_host_is_made_drilled_on_and_destroyed_and_so_is_an_earlier_ones(cloud: Cloud) -> None:
    old, young = cloud.leave("lifeboat-drill-old", 26 * 3600), cloud.leave("lifeboat-drill-young", 3600)
    foreseen = cloud.run("--check")
    assert foreseen.status == 0, foreseen.output
    assert old.exists()
    run = cloud.run()
    assert run.status == 0, run.output
    assert {report["verdict"] for report in run.stats["lifeboat_drills"].values()} == {"passed"}
    assert not old.exists()
    assert young.exists(), "its run may still be at work"
    assert [path.name for path in cloud.hosts.iterdir()] == ["lifeboat-drill-young"]
    destroyed = (cloud.home / "destroyed").read_text().split()
    assert destroyed[0] == "lifeboat-drill-old"
    assert len(destroyed) == 2
    assert f"drill1 -> {destroyed[1]}" in run.output, "the drill ran there"


def test_hooks_of_tasks_and_a_drill_that_does_not_pass(cloud: Cloud) -> None:
    hooks = {"create_tasks": str(cloud.home / "make.yml"), "destroy_tasks": str(cloud.home / "destroy.yml")}
    wrong = [{"sql": {"query": "SELECT 1", "expect": 2}}]
    run = cloud.run(lifeboat_throwaway_host=hooks, lifeboat_checks=wrong, lifeboat_databases=[{"name": cloud.system.databases[0]}])
    assert run.status != 0
    assert "1 of 1 drills of system shop did not pass" in run.output
    assert cloud.nothing_left()


def test_a_host_that_cannot_be_destroyed_is_red_and_stays_on_record_until_it_can(cloud: Cloud) -> None:
    (cloud.hosts / "stuck").touch()
    few = {"lifeboat_databases": [{"name": cloud.system.databases[0]}]}
    run = cloud.run(**few)
    assert run.status != 0
    assert "the cloud does not answer" in run.output
    (record,) = cloud.records.iterdir()
    assert (cloud.hosts / record.stem).is_dir()
    (cloud.hosts / "stuck").unlink()
    run = cloud.run("-e", "lifeboat_throwaway_drill=false", "-e", "lifeboat_throwaway_stale_after=0s", **few)
    assert run.status == 0, run.output
    assert cloud.nothing_left()


@pytest.mark.parametrize(
    ("hooks", "words"),
    [
        ({"create_command": ["make"]}, "a host that nothing destroys is never made"),
        ({"create_command": ["make"], "create_tasks": "/x.yml", "destroy_command": ["x"]}, "one of each two"),
    ],
)
def test_half_of_the_hooks_is_refused_before_anything_is_made(hooks: dict[str, Any], words: str, cloud: Cloud) -> None:
    run = cloud.run(lifeboat_throwaway_host=hooks)
    assert run.status != 0
    assert words in " ".join(run.output.split())
    assert cloud.nothing_left()


def test_the_reaper_is_scheduled_and_changes_nothing_the_second_time(cloud: Cloud) -> None:
    home = cloud.home / "host"
    places = {word: str(home / word) for word in ("runtime", "config", "state", "log", "run", "cron", "units", "tmpfiles")}
    for word in ("config", "state", "log", "run", "cron", "tmpfiles"):
        Path(places[word]).mkdir(mode=0o755, parents=True)
    command = Path(places["runtime"]) / "bin" / "lifeboat"  # looked for, and not run here
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    me = pwd.getpwuid(os.geteuid()).pw_name
    scheduled = {
        "lifeboat_schedule_jobs": True, "lifeboat_directories": places, "lifeboat_host_owner": me, "lifeboat_throwaway_host": {},
        "lifeboat_drill_become_user": "" if os.geteuid() else "root", "lifeboat_scheduler": "none",
    }  # fmt: skip
    first = cloud.run(**scheduled)
    assert first.status == 0, first.output
    job = json.loads((home / "config" / "shop" / "reap.json").read_text())
    assert (job["kind"], job["part_of"], job["options"]) == ("reap", "throwaway", {"work_dir": str(cloud.system.work_dir)})
    assert job["schedule"].endswith("* * * *")
    again = cloud.run(**scheduled)
    assert again.status == 0, again.output
    assert again.recap("drill1")["changed"] == 0
