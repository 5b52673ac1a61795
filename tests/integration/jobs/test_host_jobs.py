# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`host_jobs`: job files, schedules and launchers on a host, and what of them goes when it is no longer asked for."""

from __future__ import annotations

import grp
import pwd
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.host.jobs import run
from support.hosts import Host, a_host

NOWHERE = {"here": {"type": "posix", "path": "/nonexistent"}}
VERIFY = {"system": "shop", "repositories": NOWHERE}


@pytest.fixture
def host() -> Iterator[Host]:
    """A host on which the command is there, in name."""
    with a_host() as found:
        found.program.parent.mkdir(parents=True)
        found.program.write_text("#!/bin/sh\nexec '/usr/bin/own python' -I -c '' \"$@\"\n")
        yield found


def jobs(*names: str, schedule: str = "daily", **more: Any) -> list[dict[str, Any]]:
    return [{"name": name, "kind": "verify", "options": VERIFY, "schedule": schedule, **more} for name in names]


def set_up(host: Host, check: bool = False, **more: Any) -> dict[str, Any]:
    given = {"system": "shop", "part_of": "backup", "user": host.user, "owner": host.user, "directories": host.directories}
    return run({**given, **more}, check)


def test_what_is_predicted_is_done_and_then_nothing_is_left_to_do(host: Host) -> None:
    before = host.files()
    predicted = set_up(host, True, jobs=jobs("one", "two"))
    assert (predicted["changed"], host.files()) == (True, before)
    done = set_up(host, jobs=jobs("one", "two"))
    assert done["diff"] == predicted["diff"]
    assert [job["schedule"] for job in done["jobs"]] == [host.cron_lines()[name].partition(f" {host.user} ")[0] for name in ("one", "two")]
    again = set_up(host, jobs=jobs("one", "two"))
    assert (again["changed"], again["diff"]) == (False, [])


def test_a_promise_says_how_often(host: Host) -> None:
    asked = jobs("looks", schedule="objective")
    weekly, daily, hourly = (
        set_up(host, jobs=asked, objective=promise)["jobs"][0]["schedule"].split() for promise in (None, "strict", {"verify_every": "6h"})
    )
    assert (weekly[4].isdigit(), daily[2:]) == (True, ["*", "*", "*"])
    assert len(hourly[1].split(",")) == 4


def test_jobs_of_other_sets_and_systems_are_left_alone(host: Host) -> None:
    set_up(host, jobs=jobs("one", "two"))
    set_up(host, part_of="keys", jobs=jobs("three"))
    set_up(host, system="crm", jobs=jobs("one"))
    gone = set_up(host, jobs=jobs("two"))
    assert gone["removed"] == ["shop/one"]
    assert {path.name for path in (host.home / "config").glob("*/*.json")} == {"two.json", "three.json", "one.json"}
    assert (host.home / "config" / "crm" / "one.json").exists()
    set_up(host, jobs=[])
    assert {path.name for path in (host.home / "cron").iterdir()} == {"lifeboat-shop-keys", "lifeboat-crm-backup"}


def test_timers_say_utc_and_go_with_their_job(host: Host) -> None:
    set_up(host, jobs=jobs("one", schedule="30 2 13 * 5"), scheduler="systemd")
    units = host.home / "units"
    timer = (units / "lifeboat-shop-one.timer").read_text()
    assert "OnCalendar=*-*-13 02:30:00 UTC\nOnCalendar=Fri *-*-* 02:30:00 UTC\n" in timer
    assert (units / "timers.target.wants" / "lifeboat-shop-one.timer").exists()
    assert f"User={host.user}" in (units / "lifeboat-shop-one.service").read_text()
    assert not list((host.home / "cron").iterdir())
    set_up(host, jobs=jobs("one"), scheduler="none")
    assert [path.name for path in units.rglob("*")] == ["timers.target.wants"]


def test_a_name_that_cron_would_pass_by_is_written_so_that_it_does_not(host: Host) -> None:
    set_up(host, system="shop.example", jobs=[{**jobs("one")[0], "options": {**VERIFY, "system": "shop.example"}}])
    (file,) = (host.home / "cron").iterdir()
    assert "." not in file.name
    assert (host.home / "config" / "shop.example" / "one.json").exists()
    assert set(host.cron_lines()) == {"one"}


def test_a_clock_that_is_not_utc_is_said(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "timezone", -3600)
    result = set_up(host, jobs=jobs("one"))
    assert "cron goes by this host's clock" in result["warnings"][0]
    assert result["jobs"][0]["zone"] == "local"
    assert set_up(host, jobs=jobs("one"), scheduler="systemd")["warnings"] == []


def test_launchers_name_the_link_and_the_python_of_the_runtime_and_never_become_another_systems(host: Host) -> None:
    wal = {"system": "shop", "repositories": NOWHERE, "encryption": {"method": "none"}}
    set_up(host, part_of="archiving", wal=wal)
    push, fetch = ((host.home / "runtime" / "bin" / name).read_text() for name in ("wal-push", "wal-fetch"))
    assert f"{host.home}/runtime/current/ansible_collections/lifeboat/postgres/plugins/module_utils/wal" in push
    assert f"config={host.home}/config/shop/wal.json" in push
    assert "'/usr/bin/own python' -I" in fetch
    with pytest.raises(ConfigurationError, match=r"wal-push there archives by .*/shop/wal.json.*Name a directory of this system's own"):
        set_up(host, system="crm", part_of="archiving", wal={**wal, "system": "crm"})
    assert not (host.home / "config" / "crm").exists()
    set_up(host, system="crm", part_of="archiving", wal={**wal, "system": "crm"}, launcher_dir=str(host.home / "crm"))
    assert (host.home / "crm" / "wal-push").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"jobs": jobs("one", schedule="0 25 * * *")}, "hour 25 is not between 0 and 23"),
        ({"jobs": jobs("one", schedule="every 0 days")}, "The least is every minute"),
        ({"jobs": jobs("one", "one")}, "two jobs are called 'one'"),
        ({"jobs": jobs("one", kind="verfy")}, "Did you mean 'verify'?"),
        ({"jobs": jobs("one", options={"login_password": "hush"})}, "would be a secret in a job file"),
        ({"jobs": jobs("one", timeout="soon")}, "expected a duration"),
        ({"jobs": jobs("one", on_failure={"command": ["notify"]})}, "is not a whole path"),
        ({"jobs": jobs("one", optoins={})}, "Did you mean 'options'?"),
        ({"secrets": {"../passwd": "hush"}}, "cannot be the name of a secret's file"),
        ({"secrets": {"one.json": "hush"}}, "cannot be the name of a secret's file"),
        ({"secrets": {"vault.key": "hush"}, "secret_users": {"valt.key": "root"}}, "Did you mean 'vault.key'?"),
        (
            {"secrets": {"vault.key": "hush"}, "secret_users": {"vault.key": "nobody-of-this-name"}},
            "there is no user 'nobody-of-this-name'",
        ),
        ({"objective": "standrd"}, "Did you mean 'standard'?"),
        ({"jobs": jobs("one", kind="heartbeat", schedule="objective")}, "Name its schedule"),
        ({"scheduler": "corn"}, "Did you mean 'cron'?"),
        ({"directories": {"confg": "/x"}}, "Did you mean 'config'?"),
        ({"part_of": "Backup!"}, "cannot be the name of a job"),
        ({"wal": {"system": "crm", "repositories": NOWHERE}}, "system is 'crm', that of the jobs 'shop'"),
        ({"wal": {"system": "shop", "repositries": NOWHERE}}, "Did you mean 'repositories'?"),
        ({"user": "nobody-of-this-name"}, "there is no user 'nobody-of-this-name' on this host"),
    ],
)
def test_a_wrong_value_is_one_sentence_and_nothing_is_changed(host: Host, given: dict[str, Any], sentence: str) -> None:
    before = host.files()
    with pytest.raises(ConfigurationError) as caught:
        set_up(host, **given)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)
    assert host.files() == before


@pytest.mark.needs("root")
def test_users_share_the_folder_of_a_system_and_each_reads_what_its_own_jobs_need(host: Host) -> None:
    reader, owner = pwd.getpwnam("nobody"), pwd.getpwuid(0).pw_name
    backup: dict[str, Any] = {
        "part_of": "backup", "user": "nobody", "jobs": jobs("one"), "secrets": {"offsite": "hush", "vault.key": "hush"},
        "secret_users": {"vault.key": owner},
    }  # fmt: skip
    keys: dict[str, Any] = {"part_of": "keys", "user": owner, "jobs": jobs("keys")}
    set_up(host, **backup)
    set_up(host, **keys)
    assert [set_up(host, **given)["changed"] for given in (backup, keys)] == [False, False], "no set undoes what another one wants"
    folder = host.home / "config" / "shop"
    group = grp.getgrgid(reader.pw_gid).gr_name
    found = {path.name: (path.owner(), path.group(), path.stat().st_mode & 0o7777) for path in (folder, *folder.iterdir())}
    assert found == {
        "shop": (owner, owner, 0o755),
        "one.json": (owner, group, 0o640),
        "keys.json": (owner, owner, 0o640),
        "offsite": ("nobody", group, 0o600),
        "vault.key": (owner, owner, 0o600),
    }


def test_without_the_runtime_nothing_is_scheduled(host: Host) -> None:
    host.program.unlink()
    with pytest.raises(MissingTool, match="the runtime is not installed on this host"):
        set_up(host, jobs=jobs("one"))
    assert not host.files()
