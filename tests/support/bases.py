# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Base backups of real servers for tests: options as the module gets them, restored data directories, servers started on those."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import Account, account_for
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.fetch import Fetcher
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.physical import BasePrograms, RestoredBase, Room, restore_base
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import opener
from support.clusters import Server, account, identity, private_directory
from support.logical import Identity, manifest_of, manifests_in, new_identity
from support.parts import require
from support.wal import ArchivingServer, Place, archive_place

__all__ = ["Production", "base_manifests", "base_of", "base_options", "produced", "restored", "room", "started"]


@dataclass(frozen=True)
class Production:
    """A server that archives into `place`, the keys that open it, and what the module is given for it."""

    server: ArchivingServer
    place: Place
    keys: Identity
    home: Path

    @property
    def spec(self) -> dict[str, Any]:
        return self.place.spec

    def given(self, **more: Any) -> dict[str, Any]:
        return {**base_options(self.server, {"here": self.spec}, self.keys, self.home), **more}


@contextlib.contextmanager
def produced(major: int, home: Path, **settings: str) -> Iterator[Production]:
    """A server with segments of 1 MB that has archived its first one."""
    require(f"postgresql:{major}", "program:age", "program:zstd")
    keys, place = new_identity(home / "identity.txt"), archive_place()
    own = {"max_wal_senders": "6", "full_page_writes": "on", **({"summarize_wal": "on"} if major >= 17 else {}), **settings}
    with ArchivingServer(major, {"here": place.spec}, keys, segment_mb=1, settings=own) as server:
        server.wait_archived(server.switch())
        yield Production(server, place, keys, home)


def base_options(server: Server, repositories: Mapping[str, Any], keys: Identity, home: Path, **more: Any) -> dict[str, Any]:
    """The options of `pg_base_backup` for a test server; what the module keeps on its host lies below `home`."""
    return {
        "system": "shop",
        "login_unix_socket": str(server.socket_dir),
        "login_port": server.port,
        "bin_dir": str(server.bin_dir),
        "repositories": dict(repositories),
        "encryption": {"method": "age", "recipients": [keys.recipient]},
        "lock_dir": str(home / "locks"),
        "state_dir": str(home / "state"),
        "staging_dir": str(home / "staging"),
        "wal_timeout": "10m",
        **more,
    }


def base_of(spec: Mapping[str, Any], backup_id: str, system: str = "shop") -> Manifest:
    return manifest_of(spec, backup_id, "cluster", system, "base")


def base_manifests(spec: Mapping[str, Any]) -> list[str]:
    """Keys of the manifests of base backups."""
    return [key for key in manifests_in(spec) if "/base/" in key]


def room() -> Room:
    """Directories for a restore, without confinement; programs run as the servers of tests do."""
    directory = private_directory("lb-base")
    directory.chmod(0o711)
    data = directory / "data"
    data.mkdir(mode=0o700)
    entry = account()
    if entry is not None:
        os.chown(data, entry.pw_uid, entry.pw_gid)
    whose = Account(entry.pw_name, entry.pw_uid, entry.pw_gid) if entry is not None else account_for("")

    def wrap(argv: Sequence[str], _writable: Any) -> list[str]:
        drop = [] if entry is None else ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
        return [*drop, *argv]

    return Room(directory, data, whose, wrap, {"PATH": os.environ["PATH"], "LC_ALL": "C"})


def restored(spec: Mapping[str, Any], backup_ids: Sequence[str], keys: Identity, server: Server, place: Room | None = None) -> RestoredBase:
    """A chain out of a repository, as a drill restores it."""
    with open_repository("here", spec, read_only=True) as repository:
        opening = opener("age", str(keys.file))
        fetchers = [Fetcher(repository, base_of(spec, backup_id), opening) for backup_id in backup_ids]
        return restore_base(fetchers, place or room(), BasePrograms(server.major, server.bin_dir, len(fetchers) > 1))


@contextlib.contextmanager
def started(data: Path, server: Server, settings: Mapping[str, str]) -> Iterator[psycopg.Connection[Any]]:
    """A session of a server that recovers what was restored; it archives nothing and is killed after the block."""
    sockets = private_directory("lb-s")
    own = {"archive_mode": "off", "listen_addresses": "", "unix_socket_directories": str(sockets), "port": "5432", "fsync": "off"}
    quoted = " ".join(f"-c {name}={shlex.quote(value)}" for name, value in {**server.settings, **own, **settings}.items())
    log = sockets / "log"
    argv = [str(server.bin_dir / "pg_ctl"), "-D", str(data), "-l", str(log), "-w", "-t", "600"]
    done = subprocess.run([*argv, "-o", quoted, "start"], capture_output=True, text=True, cwd="/", **identity())
    assert done.returncode == 0, done.stdout + (log.read_text() if log.exists() else "")
    try:
        with psycopg.connect(host=str(sockets), port=5432, user="postgres", dbname="postgres", autocommit=True) as connection:
            yield connection
    finally:
        subprocess.run([*argv, "-m", "immediate", "stop"], capture_output=True, cwd="/", **identity())
        shutil.rmtree(sockets, ignore_errors=True)
