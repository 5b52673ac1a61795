# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""bin/bench fleet: what a run of site.yml costs that finds nothing to do, over 1, 10 and 50 hosts.

The hosts are directories of this machine before one PostgreSQL server, set up before anything is measured. The alternative is a play
over the same hosts with as many tasks as ours ran, which do nothing (`ansible.builtin.ping`). And how the time falls with more forks.

What the catalogue of a large fleet costs: bin/bench catalogue, prune and wal_names.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "demo"))

from _measure import Bar, Figures, alternate, report, run
from keys import Keys, make_keys
from places import Place, temporary_place
from servers import PORT, Production

HOSTS = (1, 10, 50)
FORKS = (5, 10, 25)
FORKED = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="bin/bench fleet", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--runs", type=int, default=2, help="counted runs of each (default 2)")
    parser.add_argument("--hosts", type=int, nargs="+", default=list(HOSTS), help="sizes of the fleet (default 1 10 50)")
    options = parser.parse_args()
    results: dict[str, Mapping[str, Figures]] = {}
    bars: list[Bar] = []
    with temporary_place(None, keep=False) as place:
        fleet = Fleet(place, max(options.hosts))
        fleet.start()
        try:
            for number in options.hosts:
                title = f"{number} hosts, nothing to do"
                ways = {"empty": functools.partial(fleet.play_empty, number), "site": functools.partial(fleet.play_site, number)}
                found = alternate(ways, options.runs, _say)
                results[title] = found
                bars.append(Bar(f"{title}: site / as many empty tasks, wall", _ratio(found, "site", "empty"), 1.5))
            if FORKED in options.hosts:
                forked = {f"{forks} forks": functools.partial(fleet.play_site, FORKED, forks) for forks in FORKS}
                results[f"{FORKED} hosts by forks"] = alternate(forked, options.runs, _say)
        finally:
            fleet.stop()
    return report("fleet", options.runs, results, bars, options.json)


def _say(text: str) -> None:
    print("  " + text, flush=True)


def _ratio(found: Mapping[str, Figures], one: str, other: str) -> float:
    return found[one].wall_seconds / found[other].wall_seconds


class Fleet:
    """So many hosts in directories of their own, before one server, and set up once."""

    def __init__(self, place: Place, hosts: int) -> None:
        self.place = place
        self.hosts = hosts
        self.production = Production(place)
        self.keys: Keys = make_keys(place.directory("keys"))
        self.tasks = 0
        self.log = place.root / "play.log"

    def start(self) -> None:
        self.production.start()
        password = self.place.root / "password"
        password.write_text(self.production.passwords["postgres"])
        password.chmod(0o600)
        for number in range(self.hosts):
            for name in ("repository", "cron", "units", "tmpfiles"):
                self._home(number).joinpath(name).mkdir(parents=True)
        print(f"setting up {self.hosts} hosts", flush=True)
        self._play(self.hosts, "lifeboat.postgres.site", 10)
        _ok, changed = self._recap()
        if not changed:
            raise SystemExit("the first run changed nothing: it was not the fleet that was set up")

    def stop(self) -> None:
        self.production.stop()

    def play_site(self, hosts: int, forks: int = 5) -> Figures:
        figures = self._play(hosts, "lifeboat.postgres.site", forks)
        self.tasks, changed = self._recap()
        if changed:
            raise SystemExit(f"a second run changed {changed} things:\n{self.log.read_text()}")
        return figures

    def play_empty(self, hosts: int, forks: int = 5) -> Figures:
        """As many tasks as the play of ours ran on each host; those that it skipped are not counted."""
        if not self.tasks:
            self.play_site(1)
        playbook = self.place.root / "empty.json"
        tasks: list[dict[str, Any]] = [{"ansible.builtin.ping": {}}] * self.tasks
        playbook.write_text(json.dumps([{"hosts": "databases", "gather_facts": False, "tasks": tasks}]))
        return self._play(hosts, str(playbook), forks)

    def _home(self, number: int) -> Path:
        return self.place.root / "fleet" / f"db{number}"

    def _play(self, hosts: int, playbook: str, forks: int) -> Figures:
        inventory = self.place.root / "inventory.json"
        inventory.write_text(json.dumps({"databases": {"hosts": {f"db{number}": self._variables(number) for number in range(hosts)}}}))
        program = str(Path(sys.executable).parent / "ansible-playbook")
        argv = ["sh", "-c", 'exec "$@" >"$0"', str(self.log), program, "-i", str(inventory), "-f", str(forks), playbook]
        directory = self.place.root / "run"
        directory.mkdir(exist_ok=True)
        try:
            return run(argv, directory, {**os.environ, "ANSIBLE_NOCOLOR": "1"})
        except SystemExit:
            print(self.log.read_text()[-4000:], file=sys.stderr)
            raise

    def _recap(self) -> tuple[int, int]:
        """The most tasks that any host ran, and how many changes all of them made."""
        recap = self.log.read_text().rpartition("PLAY RECAP")[2]
        counts = [(int(ok), int(changed)) for ok, changed in re.findall(r"ok=(\d+)\s+changed=(\d+)", recap)]
        return max(ok for ok, _changed in counts), sum(changed for _ok, changed in counts)

    def _variables(self, number: int) -> dict[str, Any]:
        home = self._home(number)
        names: Sequence[str] = ("runtime", "config", "state", "log", "run", "cron", "units", "tmpfiles")
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "lifeboat_system": f"shop{number}",
            "lifeboat_databases": [{"name": "postgres"}],
            "lifeboat_repositories": {"here": {"type": "posix", "path": str(home / "repository")}},
            "lifeboat_encryption": {"recipients": self.keys.recipients},
            "lifeboat_backup_max_age": "7d",
            "lifeboat_backup_become_user": "",
            "lifeboat_host_become_user": "",
            "lifeboat_host_owner": user,
            "lifeboat_host_packages": False,
            "lifeboat_host_python": sys.executable,
            "lifeboat_job_user": user,
            "lifeboat_directories": {name: str(home / name) for name in names},
            "lifeboat_bin_dir": str(self.place.bin_dir),
            "lifeboat_login_unix_socket": str(self.production.socket_dir),
            "lifeboat_login_port": PORT,
            "lifeboat_login_password_file": str(self.place.root / "password"),
            "lifeboat_lock_dir": str(home / "locks"),
        }


if __name__ == "__main__":
    sys.exit(main())
