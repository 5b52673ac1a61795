# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`lifeboat reap`: run the reaper of this host, or with --dry-run say what would go; with --work-dir DIR without any job."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.command import jobs
from ansible_collections.lifeboat.postgres.plugins.module_utils.command.terminal import Terminal
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError

__all__ = ["reap"]

_TONES = {"reaped": "doubt", "left": "bad", "running": "good", "foreign": ""}


def reap(given: argparse.Namespace, terminal: Terminal) -> int:
    if given.work_dir is None and not given.dry_run:
        return jobs.reap(given, terminal)  # as cron does it: with its log, its state and its hooks
    from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.reap import run

    options = {"work_dir": os.path.abspath(given.work_dir)} if given.work_dir else jobs.of_kind("reap", given).options
    try:
        answer = run(options, check_mode=given.dry_run)
    except LifeboatError as error:
        _print(error.result, given, terminal)
        raise
    _print(answer, given, terminal)
    return 0


def _print(answer: Mapping[str, Any], given: argparse.Namespace, terminal: Terminal) -> None:
    if given.json:
        terminal.json(answer)
        return
    for item in answer.get("reaped", ()):
        terminal.line(f"{item['state']:8} {item['drill_id']}: {item['detail']}", _TONES[item["state"]])
    if not answer.get("reaped"):
        terminal.line("no drill left anything")
