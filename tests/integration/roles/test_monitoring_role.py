# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role monitoring on a host of its own: it looks by a clock, writes metrics and alerts, and fails when something is late."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support.hosts import Host, a_host
from support.logical import posix
from support.playbooks import Play
from support.shelf import Shelf


@dataclass(frozen=True)
class Watched:
    host: Host
    shelf: Shelf

    def play(self, *arguments: str, **variables: Any) -> Play:
        described = {
            "lifeboat_repositories": {"offsite": self.shelf.specs["offsite"]},
            "lifeboat_objective": "baseline",
            "lifeboat_monitor_user": self.host.user,
            "lifeboat_textfile": str(self.host.home / "lifeboat.prom"),
            "lifeboat_alert_rules": str(self.host.home / "lifeboat.rules.yml"),
            **variables,
        }
        return self.host.play("role:monitoring", *arguments, **described)

    def backup(self, hours_ago: float, name: str = "shop") -> None:
        self.shelf.backup(at=dt.datetime.now(dt.timezone.utc) - dt.timedelta(hours=hours_ago), into=("offsite",), name=name)


@pytest.fixture
def watched() -> Iterator[Watched]:
    with a_host() as host:
        shelf = Shelf({"offsite": posix(host.home / "offsite")})
        yield Watched(host, shelf)
        shelf.close()


def test_a_host_looks_by_itself_and_a_second_run_changes_nothing(watched: Watched) -> None:
    watched.backup(2)
    assert watched.host.play("role:host").status == 0
    rehearsal = watched.play("--check", "--diff")
    assert rehearsal.status == 0, rehearsal.output
    assert not (watched.host.home / "config" / "shop" / "freshness.json").exists()
    first = watched.play()
    assert first.status == 0, first.output
    assert set(watched.host.cron_lines()) == {"freshness"}
    assert "LifeboatBackupLate" in (watched.host.home / "lifeboat.rules.yml").read_text()
    metrics = watched.host.home / "lifeboat.prom"
    assert 'lifeboat_check_good{system="shop"} 1.0' in metrics.read_text()
    again = watched.play()
    assert (again.status, again.recap("db1")["changed"]) == (0, 0), again.output

    watched.backup(100, name="licences")
    assert watched.host.run_as_cron("freshness") == 19
    assert 'lifeboat_check_good{system="shop"} 0.0' in metrics.read_text()
    late = watched.play()
    assert late.status != 0
    assert "database/licences in offsite: 4.17 days old, and at most 26 h was promised" in late.output


def test_metrics_that_no_collector_reads_are_refused_before_anything_is_written(watched: Watched) -> None:
    wrong = watched.play(lifeboat_textfile="/var/lib/lifeboat.txt")
    assert wrong.status != 0
    assert "has to be a whole path that ends in .prom" in wrong.output
    assert not (watched.host.home / "config").exists()
