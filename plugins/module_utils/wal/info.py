# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of `wal_archive_info`: from options to how far each repository's archive reaches, beside what the server says."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Union

from ansible_collections.lifeboat.postgres.plugins.module_utils import compress, layout, options
from ansible_collections.lifeboat.postgres.plugins.module_utils.catalogue import Catalogue
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    ArchiveError,
    ConfigurationError,
    LifeboatError,
    ObjectMissing,
    RepositoryError,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.found_backup import Backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest_cache import cache_in
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.login import LOGIN_KEYS, read_login
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository, validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import check_sources, written_directly
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import now
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import opener
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.methods import AGE, GPG, GPG_SYMMETRIC, NONE
from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.archive import WalArchive
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.history import Step, read_history
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.identity import ClusterIdentity
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.lag import lag_document
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import DEFAULT_SEGMENT_BYTES, Lsn, WalName
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.server import ServerWal, ask_server
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.survey import SHOWN, Survey, moment_of, survey
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.window import Base, Line, Reach, lines, named, reach, windows
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many

__all__ = ["KEYS", "archive_info"]

KEYS = ("system", "repositories", "verify_keys", "cache_dir", "identity_file", "passphrase_file", *LOGIN_KEYS)
_ASKS = ("login_db", "login_url", "login_url_file", "login_host", "login_unix_socket")
_WHERE = "wal_archive_info"
_HISTORY_BYTES = 1024 * 1024


def archive_info(given: Mapping[str, Any]) -> dict[str, Any]:
    """The module's result; raises `ConfigurationError`, `DatabaseError`, and `RepositoryError` when no repository can be listed."""
    options.unknown_keys(given, KEYS, _WHERE)
    system = options.text(given, "system", _WHERE)
    specs = options.mapping(given, "repositories", _WHERE)
    if not specs:
        raise ConfigurationError("repositories is empty", _WHERE, "Name those that the WAL is archived in.")
    for name, spec in specs.items():
        validate(name, spec)
    check_sources(specs)
    keys = options.texts(given, "verify_keys", _WHERE, ())
    cache_dir = options.text(given, "cache_dir", _WHERE, None)
    secrets = (options.text(given, "identity_file", _WHERE, ""), options.text(given, "passphrase_file", _WHERE, ""))
    login = _login(given)

    # Asked first: what the archiver calls done now must be in a listing that begins later.
    server = None if login is None else ask_server(login)
    with contextlib.ExitStack() as stack:
        chosen = written_directly(specs)
        repositories = [stack.enter_context(open_repository(name, spec, read_only=True)) for name, spec in chosen.items()]
        catalogue = Catalogue.load(repositories, system, "base", None, keys, cache_in(cache_dir))
        backups = catalogue.backups
        with ThreadPoolExecutor(max_workers=len(repositories)) as pool:
            found = list(pool.map(lambda place: _looked_at(place, system, backups, server, secrets), repositories))
    archives, unreachable = {}, {}
    for repository, answer in zip(repositories, found):
        if isinstance(answer, str):
            unreachable[repository.name] = answer
        else:
            archives[repository.name] = answer
    return {
        "archives": archives,
        "server": None if server is None else server.to_document(),
        "good": not unreachable and all(archive["good"] for archive in archives.values()),
        "unreachable": unreachable,
        "warnings": [f"repository {name!r} cannot be listed: {reason}" for name, reason in unreachable.items()],
    }


def _login(given: Mapping[str, Any]) -> Login | None:
    if not any(given.get(word) for word in _ASKS):
        return None
    return read_login(given, default_db="postgres")


def _looked_at(
    repository: Repository, system: str, backups: Sequence[Backup], server: ServerWal | None, secrets: tuple[str, str]
) -> Union[dict[str, Any], str]:
    try:
        return _archive(repository, system, backups, server, secrets)
    except RepositoryError as error:
        return str(error)


def _archive(
    repository: Repository, system: str, backups: Sequence[Backup], server: ServerWal | None, secrets: tuple[str, str]
) -> dict[str, Any]:
    problems: list[str] = []
    identity = None
    try:
        identity = WalArchive(repository, system).identity()
    except ArchiveError as error:
        problems.append(str(error))
    segment_bytes = identity.segment_bytes if identity else server.segment_bytes if server else DEFAULT_SEGMENT_BYTES
    acknowledged = _acknowledged(server)
    at = now()
    found = survey(repository.list(layout.wal_prefix(system)), system, segment_bytes, acknowledged)
    histories, unread = _histories(repository, found, secrets)
    known = lines(found, histories)
    reaches = [reach(base, found, known) for base in _bases(repository.name, backups, segment_bytes)]
    spans = windows(reaches, found)
    problems += _problems(found, identity, server, known, reaches, unread)
    return {
        "cluster": None if identity is None else dict(vars(identity)),
        "files": found.files,
        "segments": found.segments,
        "size_bytes": found.size_bytes,
        "newest": _newest(found, at),
        "lag": None if server is None else lag_document(server, found, known),
        "timelines": [_timeline(found, known[timeline]) for timeline in known],
        "base_backups": [_base(one, found) for one in reaches],
        "windows": spans,
        "window": next((span for span in reversed(spans) if span["current"]), None),
        "conflicts": found.conflicts,
        "conflict_count": found.conflict_count,
        "foreign": found.foreign,
        "foreign_count": found.foreign_count,
        "acknowledged_missing": sorted(found.absent)[:SHOWN],
        "problems": problems,
        "good": not problems,
    }


def _acknowledged(server: ServerWal | None) -> list[str]:
    """What the server's archiver was told is archived. A standby marks what it receives so, without anybody being told."""
    if server is None or server.standby or server.archive_mode == "off" or not server.done:
        return []
    return list(server.done)


def _bases(place: str, backups: Iterable[Backup], segment_bytes: int) -> list[Base]:
    """The base backups that this repository holds, oldest first."""
    bases = []
    for backup in backups:
        wal = backup.manifest.wal if place in backup.repositories and backup.good else None
        if wal is None or wal.segment_bytes != segment_bytes:
            continue
        first, last = (WalName.parse(name).number(segment_bytes) for name in (wal.first, wal.last))
        start, stop = Lsn.parse(wal.start_lsn), Lsn.parse(wal.stop_lsn)
        bases.append(Base(backup.ref.backup_id, backup.manifest.snapshot_at, wal.timeline, start, stop, first, last, wal.included))
    return sorted(bases, key=lambda base: base.moment)


def _histories(repository: Repository, found: Survey, secrets: tuple[str, str]) -> tuple[dict[int, tuple[Step, ...]], list[str]]:
    """What the history files say, where they can be opened; the second answer says what could be opened and is not right."""
    read: dict[int, tuple[Step, ...]] = {}
    wrong: list[str] = []
    for timeline, files in found.timelines.items():
        parts = layout.parse_wal_key(files.history) if files.history else None
        if timeline == 1 or parts is None:
            continue
        name, digest, suffix = parts
        method = _method(suffix, secrets)
        if method is None:
            continue
        try:
            data = opener(method, secrets[0], passphrase_file=secrets[1]).open(repository.read(files.history, _HISTORY_BYTES))
            data = compress.unpacked(data, _HISTORY_BYTES)
            if hashlib.sha256(data).hexdigest() != digest:
                raise ArchiveError("its content has another digest")
            read[timeline] = read_history(data.decode("utf-8", "replace"), timeline)
        except ObjectMissing:
            continue
        except LifeboatError as error:
            wrong.append(f"{name} cannot be read: {error}")
    return read, wrong


def _method(suffix: str, secrets: tuple[str, str]) -> str | None:
    """How a file is sealed, by its suffix; None when we have nothing to open it with."""
    identity_file, passphrase_file = secrets
    sealing = suffix.rpartition(compress.SUFFIX)[2].lstrip(".")
    if not sealing:
        return NONE
    if sealing == "age":
        return AGE if identity_file else None
    return GPG_SYMMETRIC if passphrase_file else GPG if identity_file else None


def _newest(found: Survey, at: dt.datetime) -> dict[str, Any] | None:
    if not found.newest or not found.newest_stored:
        return None
    stored = moment_of(found.newest_stored)
    return {"name": found.newest, "stored_at": format_moment(stored), "age_seconds": round((at - stored).total_seconds(), 3)}


def _timeline(found: Survey, line: Line) -> dict[str, Any]:
    files = found.timelines.get(line.timeline)
    runs = None if files is None else files.runs
    first, last = (None, None) if runs is None else (runs.first, runs.last)
    return {
        "timeline": line.timeline,
        "parent": line.parent,
        "begins_at": None if line.begins_at is None else str(line.begins_at),
        "known_from": line.known_from,
        "history": bool(files and files.history),
        "segments": files.segments if files else 0,
        "size_bytes": files.size_bytes if files else 0,
        "first": None if first is None else found.name(line.timeline, first),
        "last": None if last is None else found.name(line.timeline, last),
        "gaps": 0 if runs is None else max(0, len(runs) - 1),
        "partials": list(files.partials) if files else [],
    }


def _base(one: Reach, found: Survey) -> dict[str, Any]:
    return {
        "backup_id": one.base.backup_id,
        "moment": format_moment(one.base.moment),
        "timeline": one.base.timeline,
        "stop_lsn": str(one.base.stop),
        "restorable": one.whole,
        "reaches_timeline": one.end_timeline,
        "reaches_lsn": None if one.end is None else str(found.end_of(one.end)),
        "gaps": list(named(one.holes, found)),
        "gap_count": one.hole_count,
        "missing_segments": one.missing_segments,
    }


def _problems(
    found: Survey,
    identity: ClusterIdentity | None,
    server: ServerWal | None,
    known: Mapping[int, Line],
    reaches: Sequence[Reach],
    unread: Sequence[str],
) -> Iterable[str]:
    """What is wrong with the archive, in sentences; an empty archive is, and one that nothing can be replayed onto."""
    yield from unread
    if identity is None and found.files:
        yield "nothing says whose archive this is (cluster.json is missing or cannot be read)"
    if not found.files:
        yield "the archive is empty"
    if identity is not None and server is not None and server.system_identifier not in ("", identity.system_identifier):
        yield f"the archive belongs to cluster {identity}, the server is {server.system_identifier}"
    if found.conflict_count:
        yield f"{many(found.conflict_count, 'name')} with two different contents: {', '.join(found.conflicts[:3])}"
    if found.foreign_count:
        yield f"{many(found.foreign_count, 'file')} that we did not write: {', '.join(found.foreign[:3])}"
    if found.absent:
        missing = sorted(found.absent)
        yield f"not here, though the server was told that they are archived: {many(len(missing), 'file')}, {', '.join(missing[:3])}"
    for timeline, line in known.items():
        files = found.timelines.get(timeline)
        if timeline > 1 and (files is None or not files.history) and line.steps:
            yield f"timeline {timeline} has no history here: no recovery can follow it"
    if found.files and not reaches:
        yield "there is no base backup here: the WAL replays onto nothing"
    newest = reaches[-1] if reaches else None
    for one in reaches:
        if one.problem:
            yield f"base backup {one.base.backup_id}: {one.problem}"
        elif not one.whole:
            yield f"base backup {one.base.backup_id} cannot be restored: of its own WAL something is missing, {_first(one, found)}"
        elif one.hole_count and one is newest:
            yield f"after the newest base backup {many(one.missing_segments, 'segment')} missing, the first is {_first(one, found)}"


def _first(one: Reach, found: Survey) -> str:
    hole = one.holes[0] if one.holes else None
    return found.name(hole.timeline, hole.first) if hole is not None else found.name(one.base.timeline, one.base.first)
