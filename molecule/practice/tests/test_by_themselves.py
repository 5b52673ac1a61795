# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts go on by themselves: cron and timers start the jobs, while nobody can log in from the control node any more."""

from __future__ import annotations

import datetime as dt
import json
import subprocess

from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment
from support.practice import Hosts, stamp_in

PATIENCE_SECONDS = 240.0
"""Jobs come every minute; a busy machine takes its time to run them."""


# Waits until a job has run that began after a moment, and went well; prints what is remembered of it, in any case.
WAIT = """
import json, sys, time
path, since, patience = sys.argv[1], sys.argv[2], float(sys.argv[3])
end, known = time.monotonic() + patience, {}
while time.monotonic() < end:
    try:
        with open(path) as file:
            known = json.load(file)
    except FileNotFoundError:
        pass
    if min(known.get("last_started") or "", known.get("last_success") or "") > since:
        break
    time.sleep(0.2)
print(json.dumps(known))
"""


def wait_for_a_job(hosts: Hosts, name: str, job: str, since: dt.datetime) -> None:
    moment = format_moment(since)
    known = hosts.python(name, WAIT, f"/var/lib/lifeboat/{job}.json", moment, str(PATIENCE_SECONDS))
    assert min(known.get("last_started") or "", known.get("last_success") or "") > moment, f"{job} on {name}: {known}"


def newer(hosts: Hosts, name: str, folder: str, since: dt.datetime) -> list[str]:
    """The manifests, or reports, in a folder whose names say that they began after `since`."""
    return [path for path in hosts.files(name, folder, ".json") if stamp_in(path) >= since.replace(microsecond=0)]


def cron_ran(hosts: Hosts, name: str, user: str, job: str, since: dt.datetime) -> bool:
    said = hosts[name].check_output("journalctl --no-pager --output=cat --identifier=CRON --since=@%s", str(int(since.timestamp())))
    return f"({user}) CMD (/opt/lifeboat/bin/lifeboat run /etc/lifeboat/shop/{job}.json" in said


def test_cron_backs_up_a_host_that_the_control_node_has_lost(hosts: Hosts, control_node_is_gone: dt.datetime) -> None:
    wait_for_a_job(hosts, "db1", "postgres/shop/databases", control_node_is_gone)
    assert newer(hosts, "db1", "/var/backups/lifeboat/shop/manifests/database/shop", control_node_is_gone)
    assert newer(hosts, "store1", "/srv/s3/buckets/shop-backups/shop/manifests/database/shop", control_node_is_gone)
    assert cron_ran(hosts, "db1", "postgres", "databases", control_node_is_gone)


def test_a_timer_backs_up_a_server_in_a_container(hosts: Hosts, control_node_is_gone: dt.datetime) -> None:
    wait_for_a_job(hosts, "db2", "root/tickets/databases", control_node_is_gone)
    assert newer(hosts, "store1", "/srv/s3/buckets/tickets-backups/tickets/manifests/database/tickets", control_node_is_gone)
    shown = hosts["db2"].check_output("systemctl show --property=TriggeredBy,Result lifeboat-tickets-databases.service")
    assert set(shown.split()) == {"TriggeredBy=lifeboat-tickets-databases.timer", "Result=success"}
    assert not hosts["db2"].file("/etc/cron.d/lifeboat-tickets-backup").exists


def test_what_the_hosts_think_of_themselves_is_good(hosts: Hosts) -> None:
    for name in ("db1", "db2", "drill1", "store1"):
        status = hosts[name].run("/opt/lifeboat/bin/lifeboat status")
        assert status.rc == 0, f"{name}: {status.stdout}{status.stderr}"


def test_the_throwaway_server_of_a_drill_is_shut_in_while_it_runs(seen_from_beside: subprocess.Popen[str]) -> None:
    printed, said = seen_from_beside.communicate(timeout=PATIENCE_SECONDS + 60)
    assert seen_from_beside.returncode == 0, said
    seen = json.loads(printed)
    assert seen["own_namespaces"] == ["net", "mnt", "pid", "ipc"]
    assert (seen["interfaces"], seen["routes"], seen["listening"]) == (["lo"], [], [])
    assert seen["user"] != "0"
    assert (seen["capabilities"], seen["no_new_privileges"]) == (0, "1")
    assert seen["visible"] == []
    assert set(seen["root"]) <= {"bin", "dev", "etc", "lib", "lib64", "proc", "sbin", "tmp", "usr", "var"}


def test_cron_drills_and_the_report_arrives(hosts: Hosts, control_node_is_gone: dt.datetime) -> None:
    wait_for_a_job(hosts, "drill1", "root/shop/drill-shop", control_node_is_gone)
    below = "/srv/s3/buckets/shop-reports/shop/reports/database/shop"
    newest = newer(hosts, "store1", below, control_node_is_gone)[-1]
    report = json.loads(hosts["store1"].file(newest).content_string)
    checks = {check["name"]: check["verdict"] for check in report["checks"]}
    assert (report["verdict"], report["host"], report["repository"]) == ("passed", "drill1", "offsite")
    assert set(checks.values()) == {"passed"}, checks
    assert any("protected key master-key" in name for name in checks), checks
    assert any("decrypt" in name or "opens" in name for name in checks), checks
    assert report["isolation"]["isolated"]
    assert report["objective"]["met"] is not False
    assert report["teardown"]["complete"]
    assert report["waived"] == []
    assert cron_ran(hosts, "drill1", "root", "drill-shop", control_node_is_gone)


def test_the_whole_server_was_recovered_too(hosts: Hosts) -> None:
    """By the playbook, from the base backup and the archived log."""
    (path,) = hosts.files("store1", "/srv/s3/buckets/shop-reports/shop/reports/base/cluster", ".json")
    report = json.loads(hosts["store1"].file(path).content_string)
    assert (report["verdict"], report["objective"]["met"]) == ("passed", True)


def test_what_is_not_fresh_would_be_said_from_outside(hosts: Hosts) -> None:
    metrics = hosts["store1"].file("/var/lib/lifeboat/shop.prom").content_string
    assert 'lifeboat_check_good{system="shop"} 1.0' in metrics
    assert 'lifeboat_drill_good{system="shop",kind="base",name="cluster"}' in metrics
