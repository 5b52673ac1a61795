# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""bin/bench logical: a logical backup into S3 and its restore, ours against the way of the guides and against the floor.

In one run, on one machine, against one S3 server on loopback (rclone serve s3), with two databases:

- guides: `pg_dump -Fc` to a file, `gpg --symmetric` (AES-256), `rclone copy`, one after the other; back: `rclone copy`, `gpg`,
  `pg_restore`, one after the other
- floor: `pg_dump -Fc -Z0` into /dev/null; nobody can be faster with pg_dump
- ours: the module's own function with its defaults, evidence included; back: fetched, opened and checked on the way, then
  `pg_restore` as `restore.sh` runs it (in parallel, no commit waited for alone), and all of it flushed at the end

And a run that finds a fresh backup, against an empty module, both by ansible-playbook.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "demo"))

from _databases import fill_pgbench, fill_tpch, fill_wide
from _measure import Bar, Figures, alternate, report, run
from keys import Keys, make_keys
from places import Place, temporary_place
from servers import PORT, ObjectStore, Production, rclone_program

BUCKET = "bench"
TARGET = "restored"
TASKS = 10

BACK_UP = """
import json, sys
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
print(run(json.load(open(sys.argv[1])))["backup_id"])
"""

RESTORE = """
import json, os, subprocess, sys
from pathlib import Path
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.fetch import Fetcher
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import PgRestore
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import opener

job = json.load(open(sys.argv[1]))
with open_repository("offsite", job["repositories"]["offsite"], read_only=True) as repository:
    manifest = Catalogue.load([repository], job["system"], "database", job["login_db"]).newest().manifest
    archive = Fetcher(repository, manifest, opener("age", sys.argv[2])).database(Path.cwd())
restore = PgRestore(manifest.server_version_num // 10000, Path(job["bin_dir"]))
conninfo = f"dbname={sys.argv[3]} options='-c synchronous_commit=off'"
subprocess.run(restore.argv(conninfo, archive, jobs=max(2, os.cpu_count())), check=True)
flush = "SELECT pg_catalog.pg_logical_emit_message(true, 'bench', 'restored')"  # a commit that is waited for, and all before it
subprocess.run([Path(job["bin_dir"], "psql"), "-qXc", flush, "dbname=" + sys.argv[3]], stdout=subprocess.DEVNULL, check=True)
"""

GUIDES_BACK_UP = (
    'set -e; "$1" -Fc -f dump "$2"; gpg --batch --yes --quiet --pinentry-mode loopback --passphrase-file ../passphrase'
    ' --symmetric --cipher-algo AES256 -o dump.gpg dump; "$3" copyto dump.gpg "$4"'
)
GUIDES_RESTORE = (
    'set -e; "$3" copyto "$4" dump.gpg; gpg --batch --yes --quiet --pinentry-mode loopback --passphrase-file ../passphrase'
    ' -o dump -d dump.gpg; "$1" -d "$2" dump'
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bin/bench logical", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each (default 5)")
    parser.add_argument("--scale", type=int, default=60, help="pgbench scale of the first database (60: about 0.9 GB)")
    parser.add_argument("--tpch", type=float, default=1.0, help="TPC-H scale of the first database (1: about 1.3 GB)")
    parser.add_argument("--tables", type=int, default=2000, help="tables of the wide database")
    options = parser.parse_args()
    if shutil.which("gpg") is None:
        print("bin/bench logical: gpg is missing, so the way of the guides cannot be measured: install it first", file=sys.stderr)
        return 2
    with temporary_place(None, keep=False) as place:
        return Bench(place, options).measure()


class Bench:
    """One production server, one store, two databases."""

    def __init__(self, place: Place, options: argparse.Namespace) -> None:
        self.place = place
        self.options = options
        self.production = Production(place)
        self.store = ObjectStore(place.directory("store"), place.root / "store.credentials")
        self.keys: Keys = make_keys(place.directory("keys"))
        self.runs = place.directory("runs")
        (self.runs / "passphrase").write_text("correct horse battery staple\n")
        (self.runs / "passphrase").chmod(0o600)
        (self.runs / "gnupg").mkdir(mode=0o700)

    def measure(self) -> int:
        results: dict[str, dict[str, Figures]] = {}
        bars: list[Bar] = []
        try:
            self.production.start()
            (self.store.folder / BUCKET).mkdir()
            self.store.start()
            for title, name, fill in (
                (f"pgbench {self.options.scale} and TPC-H {self.options.tpch:g}", "shop", self._fill_shop),
                (f"wide, {self.options.tables} tables", "wide", self._fill_wide),
            ):
                print(f"filling {title}", flush=True)
                fill(name)
                results[title] = self._alternate(guides=self._guides, floor=self._floor, ours=self._ours, name=name)
                bars += backup_bars(title, results[title])
                results[f"{title}: restore"] = self._alternate(guides=self._guides_restore, ours=self._ours_restore, name=name)
                bars += restore_bars(f"{title}: restore", results[f"{title}: restore"])
            title = f"nothing to do, {TASKS} tasks"
            results[title] = self._alternate(none=self._play, empty=self._play, ours=self._play, name="")
            bars += [fresh_bar(title, results[title])]
        finally:
            self.store.stop()
            self.production.stop()
        return report("logical", self.options.runs, results, bars, self.options.json)

    def _alternate(self, name: str, **ways: Callable[[str, str], Figures]) -> dict[str, Figures]:
        commands = {way: functools.partial(function, name, way) for way, function in ways.items()}
        return alternate(commands, self.options.runs, lambda text: print("  " + text, flush=True))

    def _fill_shop(self, name: str) -> None:
        self._create(name)
        fill_pgbench(self.place.bin_dir, name, self.options.scale, self._environment())
        directory = self.place.directory("tpch")
        with self.production.connect(name) as connection:
            fill_tpch(connection, self.options.tpch, directory)

    def _fill_wide(self, name: str) -> None:
        self._create(name)
        with self.production.connect(name) as connection:
            fill_wide(connection, self.options.tables)

    def _create(self, name: str) -> None:
        with self.production.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {name}")
            connection.execute("CHECKPOINT")

    # --- the ways ---------------------------------------------------------------------------------------------------

    def _guides(self, name: str, _way: str) -> Figures:
        return self._shell(GUIDES_BACK_UP, self._program("pg_dump"), name, rclone_program(), self._remote(name))

    def _guides_restore(self, name: str, _way: str) -> Figures:
        self._create(TARGET)
        return self._shell(GUIDES_RESTORE, self._program("pg_restore"), TARGET, rclone_program(), self._remote(name))

    def _floor(self, name: str, _way: str) -> Figures:
        return self._shell('exec "$1" -Fc -Z0 "$2" > /dev/null', self._program("pg_dump"), name)

    def _ours(self, name: str, _way: str) -> Figures:
        return self._run([sys.executable, "-c", BACK_UP, str(self._job(name))])

    def _ours_restore(self, name: str, _way: str) -> Figures:
        self._create(TARGET)
        identity = str(self.keys.identity_file)
        return self._run([sys.executable, "-c", RESTORE, str(self._job(name)), identity, TARGET])

    def _play(self, _name: str, way: str) -> Figures:
        """A play of so many tasks: none at all, an empty module, or ours with a backup that is young enough."""
        empty: dict[str, Any] = {"ansible.builtin.ping": {}}
        ours = {"lifeboat.postgres.pg_logical_backup": {**self._options("shop"), "max_age": "7d"}}
        tasks = {"none": [], "empty": [empty] * TASKS, "ours": [ours] * TASKS}[way]
        playbook = self.runs / f"{way}.json"
        playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local", str(playbook)]
        return self._run([*argv, "-e", f"ansible_python_interpreter={sys.executable}"])

    # --- what they need ----------------------------------------------------------------------------------------------

    def _program(self, name: str) -> str:
        return str(self.place.bin_dir / name)

    def _shell(self, script: str, *arguments: str) -> Figures:
        return self._run(["sh", "-c", script, "bench", *arguments])

    def _run(self, argv: list[str]) -> Figures:
        """In an empty directory of its own: what lies there was staged."""
        directory = self.runs / "run"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        servers = {"(server)": self.production.process, "(store)": self.store.process}
        pids = {name: process.pid for name, process in servers.items() if process is not None}
        return run(argv, directory, self._environment(), pids)

    def _remote(self, name: str) -> str:
        return f":s3,provider=Rclone,env_auth=true,endpoint='{self.store.endpoint}':{BUCKET}/guides/{name}.gpg"

    def _environment(self) -> dict[str, str]:
        lines = self.store.credentials_file.read_text().splitlines()
        pairs = dict(line.split(" = ", 1) for line in lines if " = " in line)
        return {
            **os.environ,
            "PGHOST": str(self.production.socket_dir),
            "PGPORT": str(PORT),
            "PGUSER": "postgres",
            "PGPASSWORD": self.production.passwords["postgres"],
            "GNUPGHOME": str(self.runs / "gnupg"),
            "RCLONE_CONFIG": os.devnull,
            **{name.upper(): value for name, value in pairs.items()},
        }

    def _job(self, name: str) -> Path:
        described = self.runs / "job.json"
        described.write_text(json.dumps(self._options(name)))
        return described

    def _options(self, name: str) -> dict[str, Any]:
        return {
            "system": "bench",
            "login_db": name,
            "login_unix_socket": str(self.production.socket_dir),
            "login_port": PORT,
            "login_user": "postgres",
            "bin_dir": str(self.place.bin_dir),
            "lock_dir": str(self.runs / "locks"),
            "staging_dir": str(self.runs / "run" / "staging"),
            "globals": False,
            "encryption": {"method": "age", "recipients": list(self.keys.recipients)},
            "repositories": {
                "offsite": {
                    "type": "s3",
                    "endpoint": self.store.endpoint,
                    "bucket": BUCKET,
                    "path_style": True,
                    "region": "us-east-1",
                    "credentials_file": str(self.store.credentials_file),
                }
            },
        }


def backup_bars(title: str, by: Mapping[str, Figures]) -> list[Bar]:
    """What is promised of a backup. What the directory format stages is no bar: it is what it stages for."""
    ours, guides, floor = by["ours"], by["guides"], by["floor"]
    bars = [
        Bar(f"{title}: ours / guides, wall", ours.wall_seconds / guides.wall_seconds, 0.50),
        Bar(f"{title}: ours / floor, wall", ours.wall_seconds / floor.wall_seconds, 1.35),
        Bar(f"{title}: memory of ours / 200 MB", ours.memory_bytes / 200e6, 1.0),
    ]
    if not title.startswith("wide"):
        bars.append(Bar(f"{title}: bytes staged by ours", float(ours.staged_bytes), 0.0))
    return bars


def restore_bars(title: str, by: Mapping[str, Figures]) -> list[Bar]:
    return [Bar(f"{title}: ours / guides, wall", by["ours"].wall_seconds / by["guides"].wall_seconds, 0.70)]


def fresh_bar(title: str, by: Mapping[str, Figures]) -> Bar:
    """A task's own time: less what a play without tasks takes."""
    start = by["none"].wall_seconds
    return Bar(f"{title}: ours / empty, wall", (by["ours"].wall_seconds - start) / (by["empty"].wall_seconds - start), 2.5)


if __name__ == "__main__":
    sys.exit(main())
