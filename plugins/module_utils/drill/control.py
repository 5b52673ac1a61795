# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a data directory says of itself before anything is started: its control file and its backup label."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.account import Account
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.target import Target
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError, RestoreError
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import WalRange
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.programs import Program
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line

__all__ = ["ControlData", "PgControlData", "check_label", "furnish", "read_control"]

# Production's values, below which a server refuses to replay production's log (pg_controldata's words on the left).
_AT_LEAST = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}
# What would make it a standby, stop it, or send it elsewhere: pg_verifybackup does not look at these.
_DROPPED = ("standby.signal", "recovery.signal", "recovery.conf", "promote", "postmaster.pid", "postmaster.opts", "backup_label.old")
AUTO_CONF = "postgresql.auto.conf"


class PgControlData(Program):
    """`pg_controldata`, which reads what PostgreSQL wrote about a data directory."""

    name = "pg_controldata"


@dataclass(frozen=True)
class ControlData:
    """`at_least` are settings that must not be lower than here; `checksums` says whether pages carry them. `checkpoint_at` is by
    production's own clock, to the second: the base backup ended after it."""

    system_identifier: str
    checksums: bool
    segment_bytes: int
    checkpoint_at: dt.datetime
    at_least: dict[str, int]


def read_control(target: Target, program: PgControlData, data: Path) -> ControlData:
    """Ask `pg_controldata`, confined like everything that reads a backup; raises `RestoreError`."""
    # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
    ended = subprocess.run(
        target.confinement.command([str(program.path), "-D", str(data)], [], [data]),
        env={**target.environment, "TZ": "UTC"},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    said = dict(line.split(":", 1) for line in ended.stdout.splitlines() if ":" in line)
    found = {name.strip(): value.strip() for name, value in said.items()}
    try:
        return ControlData(
            found["Database system identifier"],
            found["Data page checksum version"] != "0",
            int(found["Bytes per WAL segment"]),
            dt.datetime.strptime(found["Time of latest checkpoint"], "%a %b %d %H:%M:%S %Y").replace(tzinfo=dt.timezone.utc),
            {setting: int(found[name]) for name, setting in _AT_LEAST.items()},
        )
    except (KeyError, ValueError):
        raise RestoreError(f"the base's control file cannot be read: {clean_line(ended.stderr or ended.stdout, 300)}", str(data)) from None


def check_label(data: Path, wal: WalRange) -> None:
    """The backup label is there and begins where the manifest says. Raises `IntegrityError`.

    Without it PostgreSQL begins at a checkpoint of its own choice, and comes up damaged without a word.
    """
    label = data / "backup_label"
    try:
        text = label.read_text(encoding="utf-8", errors="replace") if not label.is_symlink() else ""
    except OSError:
        text = ""
    match = re.search(r"^START WAL LOCATION: (\S+) \(file ([0-9A-F]{24})\)$", text, re.MULTILINE)
    if match is None:
        raise IntegrityError("the base backup has no backup_label: where its recovery must begin is lost", str(data))
    if (match.group(1), match.group(2)) != (wal.start_lsn, wal.first):
        raise IntegrityError(
            f"the base backup begins at {match.group(1)} in segment {match.group(2)}, its manifest says {wal.start_lsn} in {wal.first}"
        )


def furnish(data: Path, account: Account) -> tuple[str, ...]:
    """Take production's own settings and signals away, and say that this is a recovery; return what was there, as notes.

    Links are removed, never followed: what lies here was written by somebody else.
    """
    directory = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    notes = []
    try:
        for name in (*_DROPPED, AUTO_CONF):
            try:
                os.unlink(name, dir_fd=directory)
            except FileNotFoundError:
                continue
            if name.endswith(".signal"):
                notes.append(f"the base backup held {name}, which was dropped")
        for name in (AUTO_CONF, "recovery.signal"):
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
            try:
                if os.geteuid() == 0:
                    os.fchown(descriptor, account.uid, account.gid)
            finally:
                os.close(descriptor)
    finally:
        os.close(directory)
    return tuple(notes)
