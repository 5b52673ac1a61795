# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""bin/bench logical: a logical backup into S3, ours against the way of the guides and against the floor.

In one run, on one machine, against one S3 server on loopback (rclone serve s3):

- guides: `pg_dump -Fc` to a file, `gpg --symmetric` (AES-256), `rclone copy`, one after the other
- floor: `pg_dump -Fc -Z0` into /dev/null; nobody can be faster with pg_dump
- ours: the module's own function, evidence included
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "demo"))

from _measure import Bar, Figures, alternate, report, run
from keys import Keys, make_keys
from places import Place, temporary_place
from servers import PORT, ObjectStore, Production, rclone_program

BUCKET = "bench"
OURS = """
import json, sys
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.run import run
print(run(json.load(open(sys.argv[1])))["backup_id"])
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="bin/bench logical", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each (default 5)")
    parser.add_argument("--scale", type=int, default=60, help="pgbench scale of the first database (60: about 0.9 GB)")
    parser.add_argument("--tables", type=int, default=2000, help="tables of the wide database")
    options = parser.parse_args()
    for tool in ("gpg",):
        if shutil.which(tool) is None:
            print(f"bin/bench logical: {tool} is missing, so the way of the guides cannot be measured: install it first", file=sys.stderr)
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

    def measure(self) -> int:
        results: dict[str, dict[str, Figures]] = {}
        try:
            self.production.start()
            (self.store.folder / BUCKET).mkdir()
            self.store.start()
            for title, name, fill in (
                (f"pgbench, scale {self.options.scale}", "pgbench", self._fill_pgbench),
                (f"wide, {self.options.tables} tables", "wide", self._fill_wide),
            ):
                print(f"filling {title}", flush=True)
                fill(name)
                ways: dict[str, Callable[[], Figures]] = {
                    "guides": functools.partial(self._guides, name),
                    "floor": functools.partial(self._floor, name),
                    "ours": functools.partial(self._ours, name),
                }
                results[title] = alternate(ways, self.options.runs, lambda text: print("  " + text, flush=True))
        finally:
            self.store.stop()
            self.production.stop()
        return report("logical", self.options.runs, results, bars_of(results), self.options.json)

    def _fill_pgbench(self, name: str) -> None:
        self._create(name)
        argv = [str(self.place.bin_dir / "pgbench"), "-i", "-q", "-s", str(self.options.scale), name]
        subprocess.run(argv, check=True, capture_output=True, env=self._environment())

    def _fill_wide(self, name: str) -> None:
        self._create(name)
        with self.production.connect(name) as connection:
            for number in range(self.options.tables):
                connection.execute(
                    f"CREATE TABLE t{number} AS SELECT n AS id, md5(n::text) AS a, repeat(md5((n * {number})::text), 4) AS b"
                    f" FROM generate_series(1, 2000) n"
                )
                connection.execute(f"ALTER TABLE t{number} ADD PRIMARY KEY (id)")

    def _create(self, name: str) -> None:
        with self.production.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name}")

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PGHOST": str(self.production.socket_dir),
            "PGPORT": str(PORT),
            "PGUSER": "postgres",
            "PGPASSWORD": self.production.passwords["postgres"],
        }

    def _guides(self, name: str) -> Figures:
        directory = self._directory()
        passphrase = directory.parent / "passphrase"
        passphrase.write_text("correct horse battery staple\n")
        passphrase.chmod(0o600)
        remote = f":s3,provider=Rclone,env_auth=true,endpoint='{self.store.endpoint}':{BUCKET}/guides/"
        script = (
            'set -e; "$1" -Fc -f dump "$2"; gpg --batch --yes --quiet --pinentry-mode loopback --passphrase-file ../passphrase'
            ' --symmetric --cipher-algo AES256 -o dump.gpg dump; "$3" copy dump.gpg "$4"'
        )
        home = directory.parent / "gnupg"
        home.mkdir(mode=0o700, exist_ok=True)
        environment = {**self._environment(), **self._store_environment(), "GNUPGHOME": str(home), "RCLONE_CONFIG": os.devnull}
        argv = ["sh", "-c", script, "guides", str(self.place.bin_dir / "pg_dump"), name, rclone_program(), remote]
        return run(argv, directory, environment)

    def _floor(self, name: str) -> Figures:
        script = 'exec "$1" -Fc -Z0 "$2" > /dev/null'
        argv = ["sh", "-c", script, "floor", str(self.place.bin_dir / "pg_dump"), name]
        return run(argv, self._directory(), self._environment())

    def _ours(self, name: str) -> Figures:
        directory = self._directory()
        job: dict[str, Any] = {
            "system": "bench",
            "login_db": name,
            "login_unix_socket": str(self.production.socket_dir),
            "login_port": PORT,
            "login_user": "postgres",
            "bin_dir": str(self.place.bin_dir),
            "lock_dir": str(directory.parent / "locks"),
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
        described = directory.parent / "job.json"
        described.write_text(json.dumps(job))
        return run([sys.executable, "-c", OURS, str(described)], directory, self._environment())

    def _store_environment(self) -> dict[str, str]:
        lines = self.store.credentials_file.read_text().splitlines()
        pairs = dict(line.split(" = ", 1) for line in lines if " = " in line)
        return {name.upper(): value for name, value in pairs.items()}

    def _directory(self) -> Path:
        """An empty directory for one run: what lies there was staged."""
        directory = self.runs / "run"
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir()
        return directory


def bars_of(results: dict[str, dict[str, Figures]]) -> list[Bar]:
    """What is promised of every database."""
    bars = []
    for title, by in results.items():
        ours, guides, floor = by["ours"], by["guides"], by["floor"]
        bars += [
            Bar(f"{title}: ours / guides, wall", ours.wall_seconds / guides.wall_seconds, 0.50),
            Bar(f"{title}: ours / floor, wall", ours.wall_seconds / floor.wall_seconds, 1.35),
            Bar(f"{title}: memory of ours / 200 MB", ours.memory_bytes / 200e6, 1.0),
            Bar(f"{title}: bytes staged by ours", float(ours.staged_bytes), 0.0),
        ]
    return bars


if __name__ == "__main__":
    sys.exit(main())
