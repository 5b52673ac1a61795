# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`lifeboat wal info` and `lifeboat wal heartbeat`: how far the archive reaches, and the beat that makes it exact."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.command.terminal import Terminal
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import DEFAULT_FILE, read_job_file
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration, many, size

__all__ = ["heartbeat", "info"]


def info(given: argparse.Namespace, terminal: Terminal) -> int:
    """0 when nothing is wrong; that of a repository that cannot be listed; else that of an archive that is not whole."""
    from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.info import KEYS, archive_info
    from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import KEYS as JOB_KEYS

    job = read_job_file(given.config or DEFAULT_FILE)
    # The job file of `wal push` will do: what it says of pushing is nothing to us.
    answer = archive_info(
        {key: value for key, value in job.items() if key in KEYS or key not in (*JOB_KEYS, "receive", "spool", "heartbeat")}
    )
    if given.json:
        terminal.json({key: value for key, value in answer.items() if key != "warnings"})
    else:
        for line, tone in _lines(answer):
            terminal.line(line, tone)
    if answer["unreachable"]:
        return RepositoryError.exit_code
    return 0 if answer["good"] else ArchiveError.exit_code


def heartbeat(given: argparse.Namespace, terminal: Terminal) -> int:
    from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.heartbeat import beat_from_options

    beat = beat_from_options(read_job_file(given.config or DEFAULT_FILE))
    terminal.line(f"{beat.moment:%Y-%m-%d %H:%M:%S.%f} UTC at {beat.lsn}")
    return 0


def _lines(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    server = answer["server"]
    if server is not None:
        oldest = server["oldest_waiting"]
        waits = "not visible to this role" if server["waiting"] is None else "nothing"
        if oldest is not None:
            waits = f"{many(server['waiting'], 'file')}, {oldest['name']} for {duration(oldest['age_seconds'])}"
        yield "server", "title"
        yield f"  is at {server['lsn']} on timeline {server['timeline']}, writing {server['segment']}", ""
        yield f"  waits to be archived: {waits}", "doubt" if oldest is not None else ""
    for name, archive in answer["archives"].items():
        yield name, "title"
        segments, timelines = many(archive["segments"], "segment"), many(len(archive["timelines"]), "timeline")
        yield f"  holds {segments} in {timelines}, {size(archive['size_bytes'])}", ""
        lag = archive["lag"]
        if lag is not None and lag["segments"] is not None:
            behind = "at a time that nobody knows" if lag["seconds"] is None else f"{duration(lag['seconds'])} ({lag['seconds_are']})"
            yield f"  is behind the server by {many(lag['segments'], 'segment')}, {behind}", "doubt" if lag["segments"] else ""
        for window in archive["windows"]:
            until = window["until_at_most"] or window["until_lsn"]
            yield (
                f"  recovers to any moment from {_moment(window['from'])} to {_moment(until)} at most, by {window['last_segment']}",
                "good",
            )
        for problem in archive["problems"]:
            yield f"  {problem}", "bad"
    for name, reason in answer["unreachable"].items():
        yield f"repository {name!r} cannot be listed: {reason}", "bad"


def _moment(text: str) -> str:
    return text[:19].replace("T", " ") if "T" in text else text
