# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role and the playbook `keys`: shipped at once, predicted before, nothing to do the second time; then by the host's own job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.hosts import Host, a_host
from support.playbooks import Play
from support.vaults import Escrow, written

pytestmark = pytest.mark.needs("program:age", "program:zstd")


@dataclass(frozen=True)
class Site:
    host: Host
    escrow: Escrow

    def play(self, playbook: str, *arguments: str, **variables: Any) -> Play:
        options = self.escrow.options()
        described = {
            "lifeboat_keys": options["keys"],
            "lifeboat_key_repositories": options["key_repositories"],
            "lifeboat_repositories": options["repositories"],
            "lifeboat_encryption": options["encryption"],
            "lifeboat_keys_state_dir": options["state_dir"],
            "lifeboat_lock_dir": options["lock_dir"],
            "lifeboat_keys_become_user": "",
        }
        return self.host.play(playbook, *arguments, **{**described, **variables})

    def playbook(self, *roles: str) -> str:
        """A stranger's playbook over these roles."""
        file = self.host.home / "stranger.yml"
        listed = ", ".join(f"{{role: lifeboat.postgres.{role}}}" for role in roles)
        file.write_text(f"[{{hosts: databases, gather_facts: false, roles: [{listed}]}}]")
        return str(file)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with a_host() as host:
        yield Site(host, Escrow(tmp_path))


def test_keys_are_shipped_when_they_changed_and_check_and_diff_tell_before(site: Site) -> None:
    escrow = site.escrow
    rehearsal = site.play("keys", "--check", "--diff")
    assert (rehearsal.status, rehearsal.recap("db1")["changed"], escrow.objects()) == (0, 1, {}), rehearsal.output
    assert "+master-key (a fingerprint that the first run makes)" in rehearsal.output
    first = site.play("keys")
    assert (first.status, first.recap("db1")["changed"]) == (0, 1), first.output
    again = site.play("keys", "-vvv")
    assert (again.status, again.recap("db1")["changed"]) == (0, 0), again.output
    assert escrow.master.read_bytes().hex() not in again.output


def test_the_host_ships_a_changed_key_by_its_own_job(site: Site) -> None:
    escrow = site.escrow
    scheduled = site.play(site.playbook("host", "keys"), lifeboat_schedule_jobs=True)
    assert scheduled.status == 0, scheduled.output
    assert set(site.host.cron_lines()) == {"keys"}
    assert len(escrow.manifests()) == 1
    assert site.host.run_as_cron("keys") == 0, site.host.files()
    assert len(escrow.manifests()) == 1, "nothing changed"
    new = written(escrow.master, os.urandom(32)).read_bytes()
    assert site.host.run_as_cron("keys") == 0
    assert escrow.opened(escrow.manifests()[-1]) == {"": new}
    written(escrow.master, b"changeme")
    assert site.host.run_as_cron("keys") == 6, "a refused key is a failed job"
    told = b"".join(content for name, (_mode, content) in site.host.files().items() if name.startswith(("log", "state")))
    assert b"a default or an example that everybody knows" in told
    assert not [form for form in (b"changeme", new, new.hex().encode()) if form in told]
