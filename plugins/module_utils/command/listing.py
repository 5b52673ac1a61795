# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`lifeboat list`, `verify` and `show`: which backups there are, whether they are whole, and all about one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.backup_list import list_backups, show_backup
from ansible_collections.lifeboat.postgres.plugins.module_utils.command.job_file import read_job
from ansible_collections.lifeboat.postgres.plugins.module_utils.command.terminal import Terminal
from ansible_collections.lifeboat.postgres.plugins.module_utils.digest_coverage import Coverage
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import size

__all__ = ["list_", "show", "verify"]

JOB_FILE = "/etc/lifeboat/list.json"


def list_(given: argparse.Namespace, terminal: Terminal) -> int:
    answer = list_backups(read_job(given.config, JOB_FILE))
    _print(answer, given, terminal)
    return _status(answer)


def verify(given: argparse.Namespace, terminal: Terminal) -> int:
    answer = list_backups({**read_job(given.config, JOB_FILE), "verify": "digests" if given.digests else "sizes"})
    _print(answer, given, terminal)
    bad = answer["broken"] or not all(backup["good"] for backup in answer["backups"])
    return _status(answer) or (IntegrityError.exit_code if bad else 0)


def show(given: argparse.Namespace, terminal: Terminal) -> int:
    answer = show_backup(read_job(given.config, JOB_FILE), given.backup_id)
    if given.json:
        terminal.json(answer)
        return _status(answer)
    for backup in answer["backups"]:
        terminal.line(f"{backup['kind']}/{backup['name']}", "title")
        for key, value in backup.items():
            for line in _lines(key, value):
                terminal.line(line, "bad" if key == "problems" and value else "")
    _faults(answer, terminal)
    return _status(answer)


def _status(answer: Mapping[str, Any]) -> int:
    return RepositoryError.exit_code if answer["unreachable"] else 0


def _print(answer: Mapping[str, Any], given: argparse.Namespace, terminal: Terminal) -> None:
    """One block per asset; a line of at most 80 columns per backup, its problems below."""
    if given.json:
        terminal.json(answer)
        return
    asset = ""
    for backup in sorted(answer["backups"], key=lambda found: (found["kind"], found["name"])):
        title = f"{backup['kind']}/{backup['name']}"
        if title != asset:
            asset = title
            terminal.line(title, "title")
            terminal.line(f"  {'state of (UTC)':16}  {'size':>9}  {'backup':25}  in")
        mark, tone = (" ", "good" if given.command == "verify" else "") if backup["good"] else ("!", "bad")
        moment = backup["snapshot_at"][:16].replace("T", " ")
        places = ", ".join(backup["repositories"])
        terminal.line(f"{mark} {moment}  {size(backup['size_bytes']):>9}  {backup['backup_id']}  {places}", tone)
        for problem in backup["problems"]:
            terminal.line(f"    {problem}", "bad")
    if not answer["backups"]:
        terminal.line("no backups")
    for asset, digests in answer["digests"].items():
        coverage = Coverage(digests["parts"], digests["since"], tuple(digests["missing"]))
        terminal.line(f"{asset}: {coverage.words}", "doubt" if coverage.missing else "")
    _faults(answer, terminal)


def _faults(answer: Mapping[str, Any], terminal: Terminal) -> None:
    for item in answer["broken"]:
        terminal.line(f"! {item['repository']}: {item['key']}: {item['reason']}", "bad")
    for name, reason in answer["unreachable"].items():
        terminal.line(f"! repository {name!r} cannot be listed: {reason}", "bad")


def _lines(key: str, value: Any, depth: int = 0) -> Iterator[str]:
    """A value of a JSON document as indented lines, nothing left out."""
    head = f"{'  ' * depth}{key:{max(20 - 2 * depth, 1)}}"
    if isinstance(value, Mapping) and value:
        yield f"{'  ' * depth}{key}"
        for name, item in value.items():
            yield from _lines(name, item, depth + 1)
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value, 1):
            yield from _lines(f"{key} {number}", item, depth)
    elif isinstance(value, list):
        yield from (f"{head}  {item}" for item in value or ["-"])
    elif isinstance(value, str) and "\n" in value:
        yield from (f"{head}  {line}" for line in value.strip().split("\n"))
    else:
        yield f"{head}  {_said(value)}"


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "", {}) else str(value)
