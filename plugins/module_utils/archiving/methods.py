# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How WAL leaves the server: one way per method, each as the commands that PostgreSQL runs. Pure, but for programs that are asked.

Every command holds to the contract that `naive.py` refuses others for. Words are quoted for the shell, and a `%` in a path is
doubled, since PostgreSQL replaces %p and %f before the shell sees the text.
"""

from __future__ import annotations

import os
import posixpath
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.job import ArchivingJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.local import LocalServer
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.marker import directory_marker
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.naive import unproven
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, MissingTool
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.launchers import FETCH
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.spool import copy_command, spool_command

__all__ = ["Commands", "commands_for", "quoted"]


@dataclass(frozen=True)
class Commands:
    """`archive` is None where no archive_command is needed. `restore` is the fitting restore_command, or ""."""

    archive: str | None
    restore: str = ""
    warnings: list[str] = field(default_factory=list)


def commands_for(job: ArchivingJob, server: LocalServer | None, system_identifier: str) -> Commands:
    """Raises `ConfigurationError`, and `MissingTool` when the program is not there or the server's user cannot run it."""
    return _METHODS[job.method](job, server, system_identifier)


def quoted(*words: str) -> str:
    """Words as the shell takes them, with % doubled for PostgreSQL."""
    return " ".join(shlex.quote(word) for word in words).replace("%", "%%")


def _native(job: ArchivingJob, server: LocalServer | None, _identifier: str) -> Commands:
    launcher = job.launcher
    hint = "Write the launchers (docs/archiving.md), where root or the server's user alone may write, or name theirs as launcher."
    if server is None:
        raise ConfigurationError(
            "no server of this login is to be seen on this host: it runs elsewhere, in a container, or as a user that we are not",
            "method native",
            "Run this on the database host, with become; for a server inside an image take method receive or spool.",
        )
    problem = server.cannot_run(launcher)
    fetch = posixpath.join(posixpath.dirname(launcher), FETCH)
    if problem and job.rehearsed and not os.path.lexists(launcher):
        # The task before this one, which writes the launchers, has not run either.
        return Commands(f"{quoted(launcher)} %p", f"{quoted(fetch)} %f %p", [f"{launcher} is not there yet"])
    if problem:
        raise MissingTool(f"the launcher cannot be used: {problem}", launcher, hint)
    return Commands(f"{quoted(launcher)} %p", "" if server.cannot_run(fetch) else f"{quoted(fetch)} %f %p")


def _directory(job: ArchivingJob, _server: LocalServer | None, identifier: str) -> Commands:
    marker = directory_marker(identifier)
    archive = copy_command(job.directory, "directory", marker, "the WAL archive of this cluster, or is not mounted")
    directory = quoted(job.directory)
    # 1 says "certainly not there" and ends a recovery as complete, so the directory itself must be there first; a standby
    # would be shut down by more than 125 and asks again (docs/archiving.md#restore_command).
    restore = (
        f'd={directory}; e=126; test -f standby.signal && e=1; test -f "$d/{marker}" || exit $e;'
        ' test -e "$d/%f" || exit 1; cp "$d/%f" "%p" || exit $e'
    )
    return Commands(archive, restore)


def _spool(job: ArchivingJob, _server: LocalServer | None, _identifier: str) -> Commands:
    return Commands(
        spool_command(job.directory),
        warnings=[f"what lies in {job.directory} only does not count as archived: `lifeboat wal ship` has to empty it"],
    )


def _receive(_job: ArchivingJob, _server: LocalServer | None, _identifier: str) -> Commands:
    return Commands(None)


_FEW = "--retries 1 --low-level-retries 3"
"""PostgreSQL tries again by itself. With rclone's own ten tries a store that is down kept it for minutes, with three 20 seconds."""


def _rclone(job: ArchivingJob, server: LocalServer | None, _identifier: str) -> Commands:
    program = _program(job, server, "rclone")
    remote, separator, path = job.remote.partition(":")
    if not separator or not remote:
        raise ConfigurationError(
            f"{job.remote!r} names no remote", "remote", "Write name:path, as in offsite:shop/wal; for a local path take method directory."
        )
    base = [program, *(["--config", job.config_file] if job.config_file else [])]
    target = f"{quoted(f'{remote}:{path.rstrip(chr(47))}')}/%f" if path else f"{quoted(f'{remote}:')}%f"
    # For a single file rclone passes over --immutable, and where a remote has no digests (crypt) it compares sizes, which are the
    # same for all segments. So what is there is never touched, and then read back and compared.
    archive = f"{quoted(*base)} copyto --ignore-existing {_FEW} %p {target} && {quoted(*base)} cat {_FEW} {target} | cmp -s - %p"
    # What rclone says of a missing file differs: 3 or 4 (https://rclone.org/docs/#exit-code), and 0 for a bucket, without a file.
    # "Certainly not there" is said only when the directory itself answers.
    place = quoted(f"{remote}:{path.rstrip('/')}")
    restore = (
        f"rm -f %p; {quoted(*base)} copyto {_FEW} {target} %p; s=$?; test $s = 0 && test -f %p && exit 0;"
        f" test $s != 0 && test $s != 3 && test $s != 4 || {{ {quoted(*base)} lsjson --stat {_FEW} {place} >/dev/null && exit 1; }};"
        " test -f standby.signal && exit 1; exit 126"
    )
    return Commands(archive, restore)


def _pgbackrest(job: ArchivingJob, server: LocalServer | None, _identifier: str) -> Commands:
    program = _program(job, server, "pgbackrest")
    base = quoted(program, *([f"--config={job.config_file}"] if job.config_file else []), f"--stanza={job.stanza}")
    return Commands(f"{base} archive-push %p", f'{base} archive-get %f "%p"')


def _wal_g(job: ArchivingJob, server: LocalServer | None, _identifier: str) -> Commands:
    program = _program(job, server, "wal-g")
    base = quoted(program, *(["--config", job.config_file] if job.config_file else []))
    # Without this WAL-G replaces what is there.
    return Commands(f"WALG_PREVENT_WAL_OVERWRITE=true {base} wal-push %p", f"{base} wal-fetch %f %p")


def _barman(job: ArchivingJob, server: LocalServer | None, _identifier: str) -> Commands:
    if bool(job.barman_host) == bool(job.barman_url):
        raise ConfigurationError("give one of barman_host and barman_url", "method barman", "A host keeps WAL with Barman, a URL a bucket.")
    if job.barman_host:
        program = _program(job, server, "barman-wal-archive")
        restore = posixpath.join(posixpath.dirname(program), "barman-wal-restore")
        return Commands(
            f"{quoted(program, job.barman_host, job.barman_server)} %p",
            f"{quoted(restore, job.barman_host, job.barman_server)} %f %p",
        )
    program = _program(job, server, "barman-cloud-wal-archive")
    restore = posixpath.join(posixpath.dirname(program), "barman-cloud-wal-restore")
    store = ["--endpoint-url", job.barman_endpoint] if job.barman_endpoint else []
    return Commands(
        f"{quoted(program, *store, job.barman_url, job.barman_server)} %p",
        f"{quoted(restore, *store, job.barman_url, job.barman_server)} %f %p",
        ["barman-cloud-wal-archive replaces an object of the same name, also one of another content: let the bucket keep versions"],
    )


def _command(job: ArchivingJob, server: LocalServer | None, _identifier: str) -> Commands:
    first = shlex.split(job.command)[0]
    if server is not None and first.startswith("/"):
        problem = server.cannot_run(first)
        if problem:
            raise MissingTool(f"the program of the command cannot be used: {problem}", first, "Install it, or give its right path.")
    warnings = []
    if unproven(job.command):
        warnings.append("the command names no archiving program that is known here: only verify shows that it keeps what it acknowledges")
    return Commands(job.command, warnings=warnings)


def _program(job: ArchivingJob, server: LocalServer | None, name: str) -> str:
    """The program's path, found as the server would find it. Where the server is elsewhere, its name as it was given."""
    wanted = job.program or name
    if server is None:
        return wanted
    found = server.find_program(wanted)
    problem = server.cannot_run(found) if found else "it is not in the server's PATH"
    if problem:
        raise MissingTool(f"{wanted} cannot be used: {problem}", f"method {job.method}", "Install it, or give its path as program.")
    return found


_METHODS: dict[str, Callable[[ArchivingJob, LocalServer | None, str], Commands]] = {
    "native": _native,
    "directory": _directory,
    "receive": _receive,
    "spool": _spool,
    "rclone": _rclone,
    "pgbackrest": _pgbackrest,
    "wal-g": _wal_g,
    "barman": _barman,
    "command": _command,
}
