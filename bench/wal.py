# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""bin/bench wal: a backlog of 100 segments of real WAL, drained through archive_command; and one segment alone.

In one run, on one machine, with one server whose segments come from loading TPC-H and from pgbench. zstd at level 3 and
sealed where the other can do both; into a directory, and into one S3 server on loopback (rclone serve s3, over TLS,
because pgBackRest wants it):

- pgBackRest one by one, and in parallel (archive-async, two processes): zstd, AES
- rclone copyto, and Barman's barman-cloud-wal-archive: neither compressed nor sealed, S3 only, and no bar is set by them
- ours: the launcher and its worker, two threads: zstd, age

Replay: a copy of the data directory from before the load is recovered through all of it, by `cp` from a plain directory,
and by `wal-fetch`. What is missing on this machine is said, and its bars count as missed.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "demo"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from _archiving import Archiving, adopt_orphans
from _measure import Bar, Figures, alternate, report
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.launchers import FETCH, PUSH, write_launchers
from keys import Keys, make_keys
from places import Place, embedded_programs, temporary_place
from servers import rclone_program
from support.stores import ACCESS_KEY, BUCKET, SECRET_KEY, Store, rclone_s3

LEVEL = 3
MISSING = 99.0
ALONE = 10
SERVERS = "/usr/lib/postgresql/{}/bin"
MAJORS = (18, 17, 16, 15, 14)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bin/bench wal", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--runs", type=int, default=3, help="counted runs of each (default 3)")
    parser.add_argument("--segments", type=int, default=100, help="segments of the backlog (default 100)")
    parser.add_argument("--tpch", type=float, default=0.8, help="TPC-H scale (0.8: about 1 GB of WAL)")
    parser.add_argument("--only", default="", help="of posix, s3, idle, replay: only these, separated by commas")
    options = parser.parse_args()
    adopt_orphans()
    with temporary_place(None, keep=False) as place, rclone_s3(place.directory("store"), tls=True) as store:
        return Bench(place, options, store).measure()


class Bench:
    """One server, one store, and a directory for each way."""

    def __init__(self, place: Place, options: argparse.Namespace, store: Store) -> None:
        self.place, self.options, self.store = place, options, store
        self.server = Archiving(place, server_programs())
        self.keys: Keys = make_keys(place.directory("keys"))
        self.missing: list[str] = []
        self.bars: list[Bar] = []
        self.results: dict[str, dict[str, Figures]] = {}

    def measure(self) -> int:
        wanted = [word for word in self.options.only.split(",") if word] or ["posix", "s3", "idle", "replay"]
        try:
            self.server.start()
            if "replay" in wanted:
                self._keep_the_beginning()
            self.server.fill(self.options.segments, self.options.tpch, say)
            for kind in ("posix", "s3"):
                if kind in wanted:
                    self._drain(kind)
            if "idle" in wanted:
                self._idle()
            if "replay" in wanted:
                self._replay()
        finally:
            self.server.stop()
        for sentence in dict.fromkeys(self.missing):
            print(f"\nmissing: {sentence}")
        return report("wal", self.options.runs, self.results, self.bars, self.options.json)

    # --- a backlog ---------------------------------------------------------------------------------------------------

    def _drain(self, kind: str) -> None:
        title = f"{self.options.segments} segments, {kind}"
        ways: dict[str, Callable[[], Figures]] = {}
        if self._has_pgbackrest():
            ways["pgBackRest one by one"] = functools.partial(self._pgbackrest, kind, False)
            ways["pgBackRest parallel"] = functools.partial(self._pgbackrest, kind, True)
        if kind == "s3":
            ways["rclone copyto"] = self._rclone
            if self._has_barman():
                ways["Barman"] = self._barman
        ways["ours"] = functools.partial(self._ours, kind)
        # The slow ones set no bar: once is enough to know.
        often = {name: way for name, way in ways.items() if name in ("pgBackRest parallel", "ours")}
        print(f"\n{title}", flush=True)
        figures = alternate(often, self.options.runs, say)
        for name, way in ways.items():
            if name not in often:
                figures[name] = way()
                say(f"once: {name} {figures[name].wall_seconds:.2f} s")
        self.results[title] = figures
        self._bar(f"{title}: ours / pgBackRest parallel, wall", figures, "pgBackRest parallel", 0.6)

    def _ours(self, kind: str) -> Figures:
        launchers = self._launchers(kind)
        self._forget_ours(kind)
        return self.server.drain(f"{launchers / PUSH} %p", self.store.pid if kind == "s3" else None)

    def _pgbackrest(self, kind: str, parallel: bool) -> Figures:
        command = self._stanza(kind, parallel)
        return self.server.drain(command, self.store.pid if kind == "s3" else None)

    def _rclone(self) -> Figures:
        self._empty_bucket("rclone")
        remote = f":s3,provider=Rclone,env_auth=false,access_key_id={ACCESS_KEY},secret_access_key={SECRET_KEY}"
        remote += f",endpoint='{self.store.endpoint}':{BUCKET}/rclone"
        words = [rclone_program(), "--config", os.devnull, "--ca-cert", self._ca(), "copyto"]
        return self.server.drain(f"{shlex.join(words)} %p {shlex.quote(remote)}/%f", self.store.pid)

    def _barman(self) -> Figures:
        self._empty_bucket("barman")
        words = [f"AWS_ACCESS_KEY_ID={ACCESS_KEY}", f"AWS_SECRET_ACCESS_KEY={SECRET_KEY}", f"AWS_CA_BUNDLE={self._ca()}"]
        words += [shutil.which("barman-cloud-wal-archive") or "", "--endpoint-url", self.store.endpoint]
        words += [f"s3://{BUCKET}/barman", "bench", "%p"]
        return self.server.drain(f"env {' '.join(words)}", self.store.pid)

    # --- one segment -------------------------------------------------------------------------------------------------

    def _idle(self) -> None:
        title = f"{ALONE} segments one at a time, posix"
        print(f"\n{title}", flush=True)
        launchers = self._launchers("posix")
        self._forget_ours("posix")
        # The first one of a server's life starts the worker: not the usual one.
        first, *ours = self.server.idle(f"{launchers / PUSH} %p", 2 + 2 * self.options.runs)
        say(f"ours, the first of a server's life: {first * 1000:.0f} ms, then {statistics.median(ours) * 1000:.0f} ms")
        taken = {"ours": ours}
        if self._has_pgbackrest():
            _first, *theirs = self.server.idle(self._stanza("posix", False), 2 + 2 * self.options.runs)
            taken["pgBackRest"] = theirs
            say(f"pgBackRest: {statistics.median(theirs) * 1000:.0f} ms")
        self.results[title] = {name: Figures(ALONE * statistics.median(values), 0.0, 0, 0) for name, values in taken.items()}
        self._bar(f"{title}: ours / pgBackRest, wall", self.results[title], "pgBackRest", 1.5)

    # --- replay ------------------------------------------------------------------------------------------------------

    def _keep_the_beginning(self) -> None:
        """A base backup from before the load, taken with the server stopped."""
        self.server.stop()
        self.beginning = self.place.root / "beginning"
        subprocess.run(["cp", "-a", str(self.server.data), str(self.beginning)], check=True)
        self.server.start()

    def _replay(self) -> None:
        title = f"replay of {self.options.segments} segments"
        print(f"\n{title}", flush=True)
        launchers = self._launchers("posix")
        self._forget_ours("posix")
        plain = self.server.own(self._directory("plain"))
        for name in self.server.archive_everything():
            shutil.copy(self.server.data / "pg_wal" / name, plain / name)
        self.server.own(plain)
        self.server.drain(f"{launchers / PUSH} %p", None)
        self.server.command("")
        ways = {
            "plain directory": functools.partial(self._recover, f"cp {plain}/%f %p"),
            "ours": functools.partial(self._recover, f"{launchers / FETCH} %f %p"),
        }
        self.results[title] = alternate(ways, self.options.runs, say)
        self._bar(f"{title}: ours / plain directory, wall", self.results[title], "plain directory", 1.1)

    def _recover(self, restore_command: str) -> Figures:
        data = self.place.root / "recovered"
        shutil.rmtree(data, ignore_errors=True)
        subprocess.run(["cp", "-a", str(self.beginning), str(data)], check=True)
        (data / "recovery.signal").touch()
        with open(data / "postgresql.auto.conf", "a", encoding="utf-8") as settings:
            settings.write(f"restore_command = '{restore_command}'\narchive_mode = off\nrecovery_target_timeline = 'current'\n")
            settings.write(f"unix_socket_directories = '{self.server.sockets}'\nlisten_addresses = ''\n")
            settings.write("port = 5433\nfsync = off\nshared_buffers = '256MB'\nhot_standby = off\n")
        self.server.own(data)
        argv = [*self.server.as_account(reads_all=True), str(self.server.bin_dir / "postgres"), "-D", str(data)]
        begun = time.monotonic()
        with open(self.place.root / "recovered.log", "wb") as log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", umask=0o077)
        while "ready to accept connections" not in (words := (self.place.root / "recovered.log").read_text(errors="replace")):
            if process.poll() is not None:
                raise SystemExit(f"the recovery ended: {words[-2000:]}")
            time.sleep(0.01)
        wall = time.monotonic() - begun
        process.send_signal(3)
        process.wait()
        return Figures(wall, 0.0, 0, 0)

    # --- what they need ----------------------------------------------------------------------------------------------

    def _bar(self, name: str, figures: dict[str, Figures], other: str, limit: float) -> None:
        ratio = figures["ours"].wall_seconds / figures[other].wall_seconds if other in figures else MISSING
        self.bars.append(Bar(name, ratio, limit))

    def _directory(self, name: str) -> Path:
        path = self.place.root / name
        path.mkdir(mode=0o700, exist_ok=True)
        self.server.own(path)
        return path

    def _ca(self) -> str:
        assert self.store.certificates is not None
        return str(self._readable(self.store.certificates.ca))

    def _readable(self, path: Path) -> Path:
        copy = self.place.root / path.name
        shutil.copy(path, copy)
        copy.chmod(0o644)
        return copy

    def _launchers(self, kind: str) -> Path:
        launchers = self._directory(f"launchers-{kind}")
        credentials = self.server.own(self._readable(self.store.credentials_file()))
        credentials.chmod(0o600)
        s3 = {
            "type": "s3", "endpoint": self.store.endpoint, "bucket": BUCKET, "prefix": "ours", "path_style": True,
            "region": "us-east-1", "credentials_file": str(credentials), "ca_file": self._ca(),
        }  # fmt: skip
        identity = self._readable(self.keys.identity_file)
        self.server.own(identity)
        identity.chmod(0o600)
        config = launchers / "wal.json"
        text = json.dumps(
            {
                "system": "bench",
                "repositories": {"there": {"type": "posix", "path": str(self._directory("ours"))} if kind == "posix" else s3},
                "encryption": {"method": "age", "recipients": list(self.keys.recipients)},
                "compression_level": LEVEL,
                "jobs": 2,
                "run_dir": str(self._directory(f"run-{kind}")),
                "identity_file": str(identity),
            }
        )
        if not config.exists() or config.read_text() != text:
            config.write_text(text)
            write_launchers(launchers, config)
        self.server.own(launchers)
        return launchers

    def _forget_ours(self, kind: str) -> None:
        """The archived segments, and not whose archive it is: that the worker has seen already."""
        if kind == "s3":
            return self._empty_bucket("ours/bench/wal/0")
        for timeline in (self.place.root / "ours" / "bench" / "wal").glob("0*"):
            shutil.rmtree(timeline)
        return None

    def _empty_bucket(self, prefix: str) -> None:
        """Through the store: it remembers what it has."""
        with open_repository("bench", self.store.spec()) as bucket:
            for item in list(bucket.list(prefix)):
                bucket.delete(item.key)

    def _stanza(self, kind: str, parallel: bool) -> str:
        """A repository of pgBackRest's own, empty; its archive_command."""
        home = self._directory("pgbackrest")
        self._empty_bucket("pgbackrest")
        for name in ("repository", "spool", "lock"):
            shutil.rmtree(home / name, ignore_errors=True)
            self._directory(f"pgbackrest/{name}")
        settings = {
            "repo1-cipher-type": "aes-256-cbc", "repo1-cipher-pass": "correct-horse-battery-staple", "compress-type": "zst",
            "compress-level": str(LEVEL), "process-max": "2", "archive-async": "y" if parallel else "n", "log-level-file": "off",
            "log-level-console": "warn", "spool-path": f"{home}/spool", "lock-path": f"{home}/lock", "log-path": str(home),
        }  # fmt: skip
        if kind == "posix":
            settings["repo1-path"] = f"{home}/repository"
        else:
            host, _colon, port = self.store.endpoint.removeprefix("https://").partition(":")
            settings |= {
                "repo1-type": "s3", "repo1-path": "/pgbackrest", "repo1-s3-bucket": BUCKET, "repo1-s3-endpoint": host,
                "repo1-storage-port": port, "repo1-s3-region": "us-east-1", "repo1-s3-uri-style": "path",
                "repo1-s3-key": ACCESS_KEY, "repo1-s3-key-secret": SECRET_KEY, "repo1-storage-verify-tls": "n",
            }  # fmt: skip
            # It looks for names in a certificate, not for addresses; that it does not verify is to its advantage.
        lines = ["[global]", *(f"{name}={value}" for name, value in settings.items())]
        lines += ["[bench]", f"pg1-path={self.server.data}", f"pg1-socket-path={self.server.sockets}", "pg1-port=5432"]
        config = home / "pgbackrest.conf"
        config.write_text("\n".join(lines) + "\n")
        self.server.own(home)
        argv = [shutil.which("pgbackrest") or "", f"--config={config}", "--stanza=bench"]
        done = subprocess.run([*self.server.as_account(), *argv, "--no-online", "stanza-create"], capture_output=True, text=True, cwd="/")
        if done.returncode:
            raise SystemExit(f"pgBackRest: {done.stdout}{done.stderr}")
        return f"{shlex.join(argv)} archive-push %p"

    def _has_pgbackrest(self) -> bool:
        program = shutil.which("pgbackrest")
        if program is None:
            self.missing.append("pgBackRest (package pgbackrest): its bars are missed")
            return False
        said = subprocess.run([program, "version"], capture_output=True, text=True).stdout.split()
        newest = {"2.45": 15}.get(said[-1] if said else "", 17)
        if self.server.major > newest:
            self.missing.append(f"a pgBackRest for PostgreSQL {self.server.major}: the one here is {said[-1]}; its bars are missed")
            return False
        return True

    def _has_barman(self) -> bool:
        if shutil.which("barman-cloud-wal-archive") is None:
            self.missing.append("Barman's cloud archiver (package barman-cli-cloud)")
            return False
        return True


def server_programs() -> Path:
    """The distribution's newest server, which its pgBackRest knows; else the wheel's."""
    with contextlib.suppress(StopIteration):
        return next(_installed())
    return embedded_programs()


def _installed() -> Iterator[Path]:
    for major in MAJORS:
        directory = Path(SERVERS.format(major))
        if (directory / "postgres").exists():
            yield directory


def say(text: str) -> None:
    print("  " + text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
