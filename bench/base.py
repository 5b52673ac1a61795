# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""bin/bench base: a base backup of a server of 2 to 3 GB and its restore, ours against the guides' way, pgBackRest and the floor.

In one run, on one machine, with one server that holds TPC-H's and pgbench's tables; into a directory, and into one S3 server on
loopback (rclone serve s3, over TLS, because pgBackRest wants it). zstd at level 3 and sealed where the other can do both:

- guides: `pg_basebackup -Ft -z` into a directory, then `rclone copy`; neither sealed nor at the same level, which is what they say
- pgBackRest: a full backup with two processes, zstd and AES, without waiting for its archive
- floor: `pg_basebackup -Ft` into /dev/null; nobody can be faster with pg_basebackup
- ours: the module's own function with its defaults, zstd and age, its log included

Restore: pgBackRest with two processes; ours as a drill does it, fetched, opened, unpacked, and compared by pg_verifybackup.
What is missing on this machine is said, and its bars count as missed.
"""

from __future__ import annotations

import argparse
import functools
import json
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "demo"))

from _archiving import PORT, Archiving
from _databases import fill_pgbench, fill_tpch
from _measure import Bar, Figures, alternate, report, run
from keys import Keys, make_keys
from places import Place, temporary_place
from servers import rclone_program
from support.stores import ACCESS_KEY, BUCKET, SECRET_KEY, Store, rclone_s3
from wal import LEVEL, MISSING, say, server_programs

BACK_UP = """
import json, sys
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_run import run
print(run(json.load(open(sys.argv[1])))["backup_id"])
"""

RESTORE = """
import json, os, pwd, sys
from pathlib import Path
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import Account
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.fetch import Fetcher
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.physical import BasePrograms, Room, restore_base
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import opener

job, identity, target, drop = json.load(open(sys.argv[1])), sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4])
entry = pwd.getpwuid(target.stat().st_uid)
room = Room(target.parent, target, Account(entry.pw_name, entry.pw_uid, entry.pw_gid), lambda argv, _paths: [*drop, *argv], os.environ)
with open_repository("there", job["repositories"]["there"], read_only=True) as repository:
    manifest = Catalogue.load([repository], job["system"], "base").newest().manifest
    fetcher = Fetcher(repository, manifest, opener("age", identity))
    restore_base([fetcher], room, BasePrograms(manifest.server_version_num // 10000, Path(job["bin_dir"])))
"""

GUIDES = 'set -e; "$1" -D backup -Ft -z -X fetch -c fast; "$2" --config /dev/null ${3:+--ca-cert "$3"} copy backup "$4"'


def main() -> int:
    parser = argparse.ArgumentParser(prog="bin/bench base", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--runs", type=int, default=3, help="counted runs of each (default 3)")
    parser.add_argument("--scale", type=int, default=60, help="pgbench scale (60: about 0.9 GB)")
    parser.add_argument("--tpch", type=float, default=1.0, help="TPC-H scale (1: about 1.5 GB)")
    parser.add_argument("--only", default="", help="of posix, s3: only this")
    options = parser.parse_args()
    with temporary_place(None, keep=False) as place, rclone_s3(place.directory("store"), tls=True) as store:
        return Bench(place, options, store).measure()


class Bench:
    """One server, one store, and a directory for each way."""

    def __init__(self, place: Place, options: argparse.Namespace, store: Store) -> None:
        self.place, self.options, self.store = place, options, store
        self.server = Archiving(place, server_programs())
        self.keys: Keys = make_keys(place.directory("keys"))
        self.runs = place.directory("runs", 0o711)
        self._prefixes: dict[str, str] = {}
        self.missing: list[str] = []
        self.bars: list[Bar] = []
        self.results: dict[str, dict[str, Figures]] = {}

    def measure(self) -> int:
        try:
            self.server.start()
            self._fill()
            for kind in [self.options.only] if self.options.only else ["posix", "s3"]:
                self._back_up(kind)
                self._restore(kind)
        finally:
            self.server.stop()
        for sentence in dict.fromkeys(self.missing):
            print(f"\nmissing: {sentence}")
        return report("base", self.options.runs, self.results, self.bars, self.options.json)

    def _fill(self) -> None:
        say(f"filling TPC-H {self.options.tpch:g} and pgbench {self.options.scale}")
        self.server.command("/bin/true")
        with self.server.connect() as connection:
            fill_tpch(connection, self.options.tpch, self.place.directory("tpch"))
        fill_pgbench(self.server.bin_dir, "postgres", self.options.scale, self.server.environment())
        with self.server.connect() as connection:
            connection.execute("CHECKPOINT")
            row = connection.execute("SELECT pg_size_pretty(pg_database_size('postgres'))").fetchone()
            say(f"the database has {row[0] if row else '?'}")

    # --- the ways ----------------------------------------------------------------------------------------------------

    def _back_up(self, kind: str) -> None:
        title = f"base backup, {kind}"
        print(f"\n{title}", flush=True)
        ways: dict[str, Callable[[], Figures]] = {"ours": functools.partial(self._ours, kind), "floor": self._floor}
        if self._has_pgbackrest():
            ways["pgBackRest"] = functools.partial(self._pgbackrest, kind)
        figures = alternate(ways, self.options.runs, say)
        figures["guides"] = self._guides(kind)  # by far the slowest: once is enough to know
        say(f"once: guides {figures['guides'].wall_seconds:.2f} s")
        self.results[title] = figures
        self._bar(f"{title}: ours / guides, wall", figures, "guides", 0.40)
        self._bar(f"{title}: ours / pgBackRest, wall", figures, "pgBackRest", 1.0)

    def _restore(self, kind: str) -> None:
        title = f"restore, {kind}"
        print(f"\n{title}", flush=True)
        ways: dict[str, Callable[[], Figures]] = {"ours": functools.partial(self._ours_back, kind)}
        if self._has_pgbackrest():
            ways["pgBackRest"] = functools.partial(self._pgbackrest_back, kind)
        figures = self.results[title] = alternate(ways, self.options.runs, say)
        self._bar(f"{title}: ours / pgBackRest, wall", figures, "pgBackRest", 0.7)

    def _ours(self, kind: str) -> Figures:
        self._directory("ours")
        self._new_prefix("ours")
        return self._run([sys.executable, "-c", BACK_UP, str(self._job(kind))])

    def _ours_back(self, kind: str) -> Figures:
        target = self._target()
        argv = [sys.executable, "-c", RESTORE, str(self._job(kind)), str(self.keys.identity_file), str(target)]
        return self._run([*argv, json.dumps(self.server.as_account())])

    def _floor(self) -> Figures:
        return self._run(
            ["sh", "-c", 'exec "$1" -D - -Ft -X fetch -c fast > /dev/null', "bench", str(self.server.bin_dir / "pg_basebackup")]
        )

    def _guides(self, kind: str) -> Figures:
        self._new_prefix("guides")
        remote = f":s3,provider=Rclone,env_auth=false,access_key_id={ACCESS_KEY},secret_access_key={SECRET_KEY}"
        target = (
            str(self._directory("guides"))
            if kind == "posix"
            else f"{remote},endpoint='{self.store.endpoint}':{BUCKET}/{self._prefixes['guides']}"
        )
        program = str(self.server.bin_dir / "pg_basebackup")
        return self._run(["sh", "-c", GUIDES, "bench", program, rclone_program(), "" if kind == "posix" else self._ca(), target])

    def _pgbackrest(self, kind: str) -> Figures:
        argv = self._stanza(kind, new=True)
        more = ["--type=full", "--no-archive-check", "--start-fast", "backup"]
        return self._run([*self.server.as_account(), *argv, *more])

    def _pgbackrest_back(self, kind: str) -> Figures:
        argv = [f"--pg1-path={self._target()}", "--type=none", "restore"]
        return self._run([*self.server.as_account(), *self._stanza(kind, new=False), *argv])

    # --- what they need ----------------------------------------------------------------------------------------------

    def _run(self, argv: list[str]) -> Figures:
        """In an empty directory of its own: what lies there was staged."""
        directory = self.runs / "run"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        self.server.own(directory)
        server = self.server.process
        pids = {"(server)": server.pid} if server is not None else {}
        return run(argv, directory, self.server.environment(), {**pids, "(store)": self.store.pid})

    def _target(self) -> Path:
        """An empty data directory of the server's account."""
        shutil.rmtree(self.runs / "target", ignore_errors=True)
        target = self.runs / "target" / "data"
        target.mkdir(parents=True)
        target.parent.chmod(0o711)
        target.chmod(0o700)
        return self.server.own(target)

    def _job(self, kind: str) -> Path:
        s3 = {
            "type": "s3", "endpoint": self.store.endpoint, "bucket": BUCKET, "prefix": self._prefixes["ours"], "path_style": True,
            "region": "us-east-1", "credentials_file": str(self.store.credentials_file()), "ca_file": self._ca(),
        }  # fmt: skip
        path = self.runs / f"job-{kind}.json"
        path.write_text(
            json.dumps(
                {
                    "system": "bench",
                    "login_unix_socket": str(self.server.sockets),
                    "login_port": PORT,
                    "bin_dir": str(self.server.bin_dir),
                    "repositories": {"there": {"type": "posix", "path": str(self.place.root / "ours")} if kind == "posix" else s3},
                    "encryption": {"method": "age", "recipients": list(self.keys.recipients)},
                    "compression_level": LEVEL,
                    "wal": "included",
                    "lock_dir": str(self.runs / "locks"),
                    "state_dir": str(self.runs / "state"),
                }
            )
        )
        return path

    def _stanza(self, kind: str, new: bool) -> list[str]:
        """A repository of pgBackRest's own, when `new` an empty one; the beginning of its command."""
        home = self.place.root / f"pgbackrest-{kind}"
        config = home / "pgbackrest.conf"
        argv = [shutil.which("pgbackrest") or "", f"--config={config}", "--stanza=bench"]
        if not new:
            return argv
        shutil.rmtree(home, ignore_errors=True)
        for name in ("", "repository", "spool", "lock"):
            (home / name).mkdir(mode=0o700)
        self._new_prefix("pgbackrest")
        settings = {
            "repo1-cipher-type": "aes-256-cbc", "repo1-cipher-pass": "correct-horse-battery-staple", "compress-type": "zst",
            "compress-level": str(LEVEL), "process-max": "2", "log-level-file": "off", "log-level-console": "warn",
            "spool-path": f"{home}/spool", "lock-path": f"{home}/lock", "log-path": str(home),
        }  # fmt: skip
        if kind == "posix":
            settings["repo1-path"] = f"{home}/repository"
        else:
            host, _colon, port = self.store.endpoint.removeprefix("https://").partition(":")
            settings |= {
                "repo1-type": "s3", "repo1-path": f"/{self._prefixes['pgbackrest']}", "repo1-s3-bucket": BUCKET, "repo1-s3-endpoint": host,
                "repo1-storage-port": port, "repo1-s3-region": "us-east-1", "repo1-s3-uri-style": "path",
                "repo1-s3-key": ACCESS_KEY, "repo1-s3-key-secret": SECRET_KEY, "repo1-storage-verify-tls": "n",
            }  # fmt: skip
        lines = ["[global]", *(f"{name}={value}" for name, value in settings.items())]
        lines += ["[bench]", f"pg1-path={self.server.data}", f"pg1-socket-path={self.server.sockets}", f"pg1-port={PORT}"]
        config.write_text("\n".join(lines) + "\n")
        self.server.own(home)
        done = subprocess.run([*self.server.as_account(), *argv, "stanza-create"], capture_output=True, text=True, cwd="/")
        if done.returncode:
            raise SystemExit(f"{shlex.join(argv)}: {done.stdout}{done.stderr}")
        return argv

    def _has_pgbackrest(self) -> bool:
        program = shutil.which("pgbackrest")
        if program is None:
            self.missing.append("pgBackRest (package pgbackrest): its bars are missed")
            return False
        said = subprocess.run([program, "version"], capture_output=True, text=True).stdout.split()
        if self.server.major > {"2.45": 15}.get(said[-1] if said else "", 17):
            self.missing.append(f"a pgBackRest for PostgreSQL {self.server.major}: the one here is {said[-1]}; its bars are missed")
            return False
        return True

    def _bar(self, name: str, figures: dict[str, Figures], other: str, limit: float) -> None:
        against = figures.get(other)
        self.bars.append(Bar(name, MISSING if against is None else figures["ours"].wall_seconds / against.wall_seconds, limit))

    def _directory(self, name: str) -> Path:
        """A new one, empty."""
        path = self.place.root / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700)
        return path

    def _new_prefix(self, way: str) -> None:
        """Another folder of the bucket for each run: a store may remember for a moment what was removed behind its back."""
        if way in self._prefixes:
            shutil.rmtree(self.store.directory / BUCKET / self._prefixes[way], ignore_errors=True)
        self._prefixes[way] = f"{way}-{secrets.token_hex(4)}"

    def _ca(self) -> str:
        assert self.store.certificates is not None
        path = self.place.root / "authority.pem"
        shutil.copy(self.store.certificates.ca, path)
        path.chmod(0o644)
        return str(path)


if __name__ == "__main__":
    sys.exit(main())
