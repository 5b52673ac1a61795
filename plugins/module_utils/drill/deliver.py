# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a drill's report goes: into a directory of this host, and into a report repository."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.pending import reports_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError, ObjectExists
from ansible_collections.lifeboat.postgres.plugins.module_utils.report import html, junit, markdown
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository

__all__ = ["deliver", "deliver_waiting"]

_WAITING = ".waiting"
"""Beside a report on this host: the report repository does not have it yet."""


def deliver(plan: DrillPlan, report: DrillReport) -> tuple[list[str], list[str]]:
    """Write the report wherever the plan wants it; return what went wrong, in sentences, and the files written.

    The paths are those of a report repository (layout.py): a directory of reports can be read as one. Never raises for
    a place that cannot be written: the report itself is worth more.
    """
    ref = layout.BackupRef(report.system, report.kind, report.name, report.backup_id)
    key = layout.report_key(ref, report.started_at, report.upgrade)
    stem = key.removesuffix(".json")
    page = html.render(report.to_document(), [] if report.upgrade else reports_of(plan))
    data = {key: report.to_bytes(), f"{stem}.md": markdown.render(report).encode(), f"{stem}.html": page.encode()}
    data[f"{stem}.xml"] = junit.render(report).encode()
    faults, files = [], []
    if plan.report_dir is not None:
        for name, content in data.items():
            path = plan.report_dir / name
            try:
                _write(path, content)
                files.append(str(path))
            except OSError as error:
                faults.append(f"{error.strerror}: {error.filename or path}")
    if plan.report_repository is not None:
        fault = _store(plan.report_repository, data)
        if fault:
            faults.append(fault)
            if files and plan.report_dir is not None and not report.upgrade:
                with contextlib.suppress(OSError):
                    (plan.report_dir / f"{stem}{_WAITING}").touch(mode=0o600)
    return faults, files


def deliver_waiting(plan: DrillPlan) -> list[str]:
    """Bring the reports of earlier drills that the report repository did not take then; what still goes wrong, in sentences.

    Otherwise a drill that passed would be known here, and not due again for a month, while everybody else sees that there was none.
    """
    if plan.report_dir is None or plan.report_repository is None:
        return []
    folder = plan.report_dir / layout.reports_prefix(plan.system, plan.kind, plan.name)
    faults = []
    for marker in sorted(folder.glob(f"*{_WAITING}")):
        stem = marker.name.removesuffix(_WAITING)
        try:
            files = [path for path in sorted(folder.iterdir()) if path.name.partition(".")[0] == stem and path != marker]
            fault = _store(plan.report_repository, {str(path.relative_to(plan.report_dir)): path.read_bytes() for path in files})
            if not fault:
                marker.unlink()
        except OSError as error:
            fault = f"{error.strerror}: {error.filename or marker}"
        faults += [fault] if fault else []
    return faults


def _store(place: Mapping[str, Any], data: Mapping[str, bytes]) -> str:
    """Put what is not there yet, and say what went wrong, or ""."""
    try:
        with open_repository("report", place) as repository:
            for name, content in data.items():
                with contextlib.suppress(ObjectExists):  # from an attempt that did not get to its end
                    repository.put(name, content)
    except LifeboatError as error:
        return str(error)
    return ""


def _write(path: Path, content: bytes) -> None:
    """A file of mode 0600 (reports hold names of tables), whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        raise
