# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a segment has to be found, per method, and by what it is recognised there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.job import OURS, ArchivingJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.local import LocalServer
from ansible_collections.lifeboat.postgres.plugins.module_utils.archiving.state import ServerState
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, WalConflict
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import psycopg
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository, validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import terms_of, written_directly
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.archive import WalArchive
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import read_job_file

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Presence", "check_presence", "file_digest", "presence_for"]

_COMMAND_SECONDS = 60.0
_CHUNK_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Presence:
    """`missing(segment, digest)` says what is missing, "" when it is there. `by` is what recognises it: a kind of digest,
    the operator's own command, or only that the server believes it to be archived.

    `after_archiver`: asked only once the archiver says that it is archived.
    """

    by: str
    missing: Callable[[str, str], str]
    places: Sequence[str] = field(default=())
    after_archiver: bool = True


@contextlib.contextmanager
def presence_for(job: ArchivingJob, connection: Connection[Any], state: ServerState, server: LocalServer | None) -> Iterator[Presence]:
    """How this method's segments are looked for. Raises `ConfigurationError` when that cannot be said."""
    if job.verify_command:
        yield Presence("verify_command", lambda segment, _digest: _ask(job.verify_command, segment), (job.verify_command[0],))
    elif job.method in OURS:
        with _archives(job) as archives:
            names = [archive.repository.name for archive in archives]
            yield Presence("sha256", lambda segment, digest: _not_in(archives, segment, digest), names, after_archiver=False)
    elif job.method == "directory":
        yield Presence("sha256", lambda s, d: _not_in_directory(connection, f"{job.directory}/{s}", d, state), (job.directory,))
    elif job.method == "rclone" and server is not None and server.can_become:
        yield Presence("sha256", lambda segment, digest: _not_at_remote(job, server, segment, digest), (job.remote,))
    elif job.method == "pgbackrest" and server is not None and server.can_become:
        # pgBackRest names a segment by the SHA-1 of its content.
        yield Presence("sha1", lambda segment, digest: _not_in_pgbackrest(job, server, segment, digest), (job.stanza,))
    else:
        yield Presence("pg_stat_archiver", lambda _segment, _digest: "")


def check_presence(job: ArchivingJob) -> None:
    """Raise `ConfigurationError`, before anything is changed, when it is not said where WAL has to be found."""
    if job.method in OURS and not job.verify_command:
        _required(job)


@contextlib.contextmanager
def _archives(job: ArchivingJob) -> Iterator[list[WalArchive]]:
    """The archives that must hold everything."""
    system, required = _required(job)
    with contextlib.ExitStack() as stack:
        archives = []
        for name, spec in required.items():
            repository = open_repository(name, spec, read_only=True)
            stack.callback(repository.close)
            archives.append(WalArchive(repository, system))
        yield archives


def _required(job: ArchivingJob) -> tuple[str, dict[str, Mapping[str, Any]]]:
    """The system and its repositories that are not optional, of the module's own options or else of the job file."""
    system, specs = job.system, job.repositories
    if not specs:
        given = read_job_file(job.job_file)
        system, specs = job.system or str(given.get("system", "")), given.get("repositories") or {}
    if not system or not isinstance(specs, Mapping) or not specs:
        raise ConfigurationError("verify needs system and repositories", str(job.job_file), "Give both, or the job_file that holds them.")
    for name, spec in specs.items():
        validate(name, spec)
    return system, {name: spec for name, spec in written_directly(specs).items() if not terms_of(name, spec).optional}


def _not_in(archives: Sequence[WalArchive], segment: str, sha256: str) -> str:
    for archive in archives:
        found = archive.find(segment)
        other = [stored.sha256 for stored in found if stored.sha256 != sha256]
        if other:
            raise WalConflict(
                f"{segment} is there with another content (SHA-256 {other[0][:16]}…, the server's is {sha256[:16]}…)",
                archive.where,
                "Look who else writes into this archive; give each cluster a system of its own.",
            )
        if not found:
            return f"it is not in {archive.where}"
    return ""


def _not_in_directory(connection: Connection[Any], path: str, sha256: str, state: ServerState) -> str:
    try:
        found = file_digest(connection, path, state.segment_bytes)
    except psycopg().Error as error:
        return clean_line(str(error))
    return "" if found == sha256 else f"{path} has another content"


def file_digest(connection: Connection[Any], path: str, size_bytes: int, algorithm: str = "sha256") -> str:
    """The digest of a file as the server sees it; raises `psycopg.Error`."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for offset in range(0, size_bytes, _CHUNK_BYTES):
        row = connection.execute("SELECT pg_catalog.pg_read_binary_file(%s, %s, %s)", (path, offset, _CHUNK_BYTES), binary=True).fetchone()
        digest.update(row[0] if row else b"")
    return digest.hexdigest()


def _ask(command: Sequence[str], segment: str) -> str:
    argv = [word.replace("%f", segment) for word in command]
    try:
        # pylint: disable-next=ansible-bad-function  # run_command is a module's; this is the library's
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"verify_command: {error}"
    return "" if done.returncode == 0 else f"verify_command ended with {done.returncode}: {clean_line(done.stderr or done.stdout)}"


def _run(server: LocalServer, argv: Sequence[str]) -> tuple[str, str]:
    """What a program said, and what went wrong, of which one is ""."""
    try:
        done = server.run(argv, _COMMAND_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"{argv[0]}: {error}"
    return (done.stdout, "") if done.returncode == 0 else ("", f"{argv[0]} ended with {done.returncode}: {clean_line(done.stderr)}")


def _not_at_remote(job: ArchivingJob, server: LocalServer, segment: str, sha256: str) -> str:
    """The remote's bytes are read back: what it says of itself would prove less."""
    config = ["--config", job.config_file] if job.config_file else []
    separator = "" if job.remote.endswith((":", "/")) else "/"
    target = f"{job.remote}{separator}{segment}"
    said, problem = _run(server, [server.find_program(job.program or "rclone"), *config, "hashsum", "sha256", "--download", target])
    if problem:
        return problem
    return "" if said.split()[:1] == [sha256] else f"{target} has another content"


def _not_in_pgbackrest(job: ArchivingJob, server: LocalServer, segment: str, sha1: str) -> str:
    """In every repository of the stanza, in the newest of its archives."""
    base = [server.find_program(job.program or "pgbackrest"), *([f"--config={job.config_file}"] if job.config_file else [])]
    said, problem = _run(server, [*base, f"--stanza={job.stanza}", "--output=json", "info"])
    if problem:
        return problem
    newest: dict[int, str] = {}
    try:
        for stanza in json.loads(said):
            for archive in stanza["archive"]:
                newest[int(archive["database"]["repo-key"])] = str(archive["id"])
            numbers = [int(repo["key"]) for repo in stanza["repo"]]
            absent = [number for number in numbers if number not in newest]
            if absent:
                return f"repository {absent[0]} of stanza {job.stanza} holds no WAL"
    except (ValueError, KeyError, TypeError):
        return "pgbackrest info said what could not be read"
    for number, archive_id in newest.items():
        path = f"archive/{job.stanza}/{archive_id}/{segment[:16]}"
        said, problem = _run(server, [*base, f"--repo={number}", "repo-ls", path])
        if problem:
            return problem
        if not re.search(rf"^{segment}-{sha1}\b", said, re.MULTILINE):
            return f"it is not in repository {number} of stanza {job.stanza}, or with another content"
    return "" if newest else f"stanza {job.stanza} holds no WAL"
