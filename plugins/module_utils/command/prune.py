# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`lifeboat prune`: run the pruning of this host, or with --dry-run say what would go; with -c FILE by options of one's own."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.command import jobs
from ansible_collections.lifeboat.postgres.plugins.module_utils.command.job_file import read_job
from ansible_collections.lifeboat.postgres.plugins.module_utils.command.terminal import Terminal
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import many, size

__all__ = ["prune"]


def prune(given: argparse.Namespace, terminal: Terminal) -> int:
    if given.config is None and not given.dry_run:
        return jobs.prune(given, terminal)  # as cron does it: with its log, its state and its hooks
    from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.run import run

    options = jobs.of_kind("prune", given).options if given.config is None else read_job(given.config, "")
    try:
        answer = run(options, check_mode=given.dry_run)
    except LifeboatError as error:
        if error.result:
            _print(error.result, given, terminal)
        raise
    _print(answer, given, terminal)
    return 0


def _print(answer: Mapping[str, Any], given: argparse.Namespace, terminal: Terminal) -> None:
    if given.json:
        terminal.json(answer)
        return
    for name, found in answer["repositories"].items():
        terminal.line(f"{name} keeps {found['policy']}", "title")
        _entries(answer, "removed", name, "would go" if given.dry_run else "gone", "doubt", terminal)
        _entries(answer, "waiting", name, "waits", "", terminal)
        if given.all:
            _entries(answer, "kept", name, "stays", "", terminal)
        for entry in answer["orphans"]:
            if entry["repository"] == name:
                what = f"{entry['kind']}/{entry['name']} {entry['backup_id']}"
                terminal.line(f"  remains of a killed run: {what}, {size(entry['size_bytes'])}", "doubt")
        if found["uploads"]:
            terminal.line(f"  {many(found['uploads'], 'upload')} that were never completed", "doubt")
        if found["wal"].get("files"):
            wal = found["wal"]
            terminal.line(f"  {many(wal['files'], 'file')} of WAL, {size(wal['size_bytes'])}: {wal['first']} to {wal['last']}", "doubt")
        for entry in answer["locks"]:
            if entry["repository"] == name:
                terminal.line(f"  locked until {entry['until'][:10]}: {entry['kind']}/{entry['name']} {entry['backup_id']}")
        terminal.line(f"  {many(found['kept'], 'backup')} stay")
    for warning in answer["warnings"]:
        terminal.line(f"! {warning}", "doubt")


def _entries(answer: Mapping[str, Any], word: str, name: str, said: str, tone: str, terminal: Terminal) -> None:
    for entry in answer[word]:
        if entry["repository"] == name:
            moment = entry["snapshot_at"][:16].replace("T", " ")
            terminal.line(f"  {said:8} {moment}  {entry['kind']}/{entry['name']} {entry['backup_id']}: {'; '.join(entry['reasons'])}", tone)
