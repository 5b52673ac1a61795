# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stays of a demo: the last table, `.demo/report.json`, `report.html` and `report.md`, and `recovery.html`."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from findings import Findings
from places import DemoError
from progress import Progress

WIDTHS = (21, 10, 10, 42, 7)


def check_writable(folder: Path) -> None:
    """Say so before the work, not after it, when the reports cannot be written; raises `DemoError`."""
    place = folder if folder.exists() else folder.absolute().parent
    if not os.access(place, os.W_OK | os.X_OK):
        raise DemoError(f"the reports cannot be written to {place.absolute()}: start the demo where you may write")


def write(folder: Path, findings: Findings, seconds: float) -> None:
    """Write the reports, each whole or not at all: another demo may be writing, too."""
    from ansible_collections.lifeboat.postgres.plugins.module_utils.report.html import render

    document: dict[str, Any] = {
        "cases": findings.cases(),
        "drill": findings.drill,
        "recovery": findings.recovery,
        "machine": findings.machine,
        "seconds": round(seconds, 1),
        "all_hold": findings.all_hold,
    }
    folder.mkdir(exist_ok=True)
    _replace(folder / "report.json", json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    _replace(folder / "report.html", render(document))
    _replace(folder / "recovery.html", render({"drill": findings.recovery, "machine": findings.machine}))
    _replace(folder / "report.md", findings.drill_markdown)


def print_table(progress: Progress, findings: Findings, seconds: float, folder: Path) -> None:
    """The last table and the last sentence."""
    progress.title("")
    rows = []
    for row in findings.rows:
        verdict = row.verdict if row.holds else f"{row.verdict} (!)"
        rows.append((row.name, row.expected, verdict, first_sentence(row.reason), f"{row.seconds:7.1f}"))
    progress.table(("case", "expected", "verdict", "reason", "seconds"), WIDTHS, rows, verdict_column=2)
    wrong = sum(not row.holds for row in findings.rows)
    said = "every expectation held" if findings.all_hold else f"{wrong} of {len(findings.rows)} expectations did NOT hold (marked !)"
    progress.title(
        f"\n{said[0].upper()}{said[1:]}; {seconds:.0f} s. Reports: {folder / 'report.html'},"
        f" {folder / 'recovery.html'}, {folder / 'report.json'}"
    )


def first_sentence(reason: str) -> str:
    """What happened; where exactly and what to do next is in the reports."""
    sentence = re.split(r"(?<=\w|\))\. (?=[A-Z])", reason, maxsplit=1)[0]
    return re.sub(r" \(backup [^()]*\)$", "", sentence)


def _replace(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).chmod(0o644)
    Path(name).replace(path)
