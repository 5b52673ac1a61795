# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Production for tests of point-in-time drills: a server that archives, its base backup, and its repository to be damaged in copies."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_run import run as take_base
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.run import run as run_drill
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import DrillNotPassed
from ansible_collections.lifeboat.postgres.plugins.module_utils.layout import moment_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from support.clusters import private_directory
from support.keys import KeyPair, ssh_pair
from support.leaks import eventually
from support.logical import Identity, new_identity
from support.wal import ArchivingServer, Place, archive_place

__all__ = ["Production", "listing"]

SETTINGS: Mapping[str, str] = {
    # Other values than a server has by itself: a recovery with lower ones aborts.
    "max_connections": "133",
    "max_prepared_transactions": "7",
    "max_wal_senders": "14",
    "full_page_writes": "on",
    "synchronous_commit": "on",  # what was acknowledged is there, also after the server was killed
    "autovacuum": "off",  # commits, and whole pages in a log of small segments, that no test has asked for
}


class Production:
    """A shop whose log is archived in segments of 1 MiB, in the repository `place`."""

    def __init__(self, major: int, keys_dir: Path, **settings: str) -> None:
        self.keys_dir = keys_dir
        self.identity: Identity = new_identity(keys_dir / "identity")
        self.identity.file.chmod(0o600)
        self.signer: KeyPair = ssh_pair(keys_dir / "signing_key")
        self.place: Place = archive_place()
        given = {**SETTINGS, **({"summarize_wal": "on"} if major >= 17 else {}), **settings}
        self.server = ArchivingServer(major, {"here": self.place.spec}, self.identity, segment_mb=1, settings=given)
        self.major = major

    def back_up(self, **more: Any) -> str:
        """A base backup; its id."""
        return str(self.take(**more)["backup_id"])

    def take(self, **more: Any) -> dict[str, Any]:
        """A base backup; its result. The next one begins in another second, and so has an id that sorts behind this one's."""
        given = {
            "system": "shop",
            "login_unix_socket": str(self.server.socket_dir),
            "login_port": self.server.port,
            "bin_dir": str(self.server.bin_dir),
            "repositories": {"here": self.place.spec},
            "encryption": {"method": "age", "recipients": [self.identity.recipient]},
            "signing_key": self.signer.path,
            "lock_dir": str(self.keys_dir / "locks"),
            "state_dir": str(self.keys_dir / "state"),
            **more,
        }
        taken = take_base(given)
        if "backup_id" in taken:
            begun = moment_of(taken["backup_id"])
            eventually(lambda: now() >= begun + dt.timedelta(seconds=1), "another second")
        return taken

    def query(self, statement: str, dbname: str = "postgres") -> Any:
        """The first value that a statement gives; None when it gives no row."""
        with self.server.connect(dbname) as conn:
            cursor = conn.execute(statement.encode())
            row = cursor.fetchone() if cursor.description else None
            return None if row is None else row[0]

    def moment(self) -> dt.datetime:
        """The server's clock: after everything that was committed, before everything that will be."""
        found: dt.datetime = self.query("SELECT clock_timestamp()")
        return found.astimezone(dt.timezone.utc)

    def archive(self) -> str:
        """Leave the segment, and wait until it is in the archive; its name."""
        name = self.server.switch()
        self.server.wait_archived(name)
        return name

    def copy(self) -> Place:
        """The repository once more, to be damaged."""
        root = private_directory("lb-copy")
        shutil.rmtree(root)
        shutil.copytree(self.place.root, root)
        return Place(root)

    def options(self, work_dir: Path, place: Place | None = None, **more: Any) -> dict[str, Any]:
        """The options of `restore_drill`; production is this very host, which is waived."""
        return {
            "mode": "pitr",
            "system": "shop",
            "repositories": {"here": (place or self.place).spec},
            "identity_file": str(self.identity.file),
            "verify_keys": [self.signer.public],
            "bin_dir": str(self.server.bin_dir),
            "work_dir": str(work_dir),
            "waive": ["same_host"],
            "amcheck": False,
            "data_checksums": False,
            **more,
        }

    def drill(self, work_dir: Path, place: Place | None = None, **more: Any) -> dict[str, Any]:
        """The report of a drill, passed or not. Nothing of it may be left, and the repository is what it was, byte for byte."""
        root = (place or self.place).root
        before = listing(root)
        try:
            report: dict[str, Any] = run_drill(self.options(work_dir, place, **more))["report"]
        except DrillNotPassed as error:
            report = error.result["report"]
        assert listing(root) == before
        assert report["teardown"]["complete"], report["teardown"]
        assert not work_dir.exists() or os.listdir(work_dir) in ([], [".lock"])
        return report

    def stop(self) -> None:
        self.server.stop()


def listing(directory: Path) -> dict[str, str]:
    """Every file below a directory with the digest of its bytes."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
