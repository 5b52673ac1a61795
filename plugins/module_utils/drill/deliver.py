# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a drill's report goes: into a directory of this host, and into a report repository."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from ansible_collections.lifeboat.postgres.plugins.module_utils import layout
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.pending import reports_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.module_utils.report import html, junit, markdown
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import DrillReport
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository

__all__ = ["deliver"]


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
        try:
            with open_repository("report", plan.report_repository) as repository:
                for name, content in data.items():
                    repository.put(name, content)
        except LifeboatError as error:
            faults.append(str(error))
    return faults, files


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
