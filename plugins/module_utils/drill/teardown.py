# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing of a drill stays: no container, no process, no directory, no mount; and that is looked for, not believed (law 3)."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.engine import Engine
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.processes import end_processes, mounts_below, processes_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import (
    MARKER,
    Workspace,
    check_work_dir,
    drills_in,
    work_dir_locked,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.cluster import Cluster
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import Teardown
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import host_id, host_name

__all__ = ["Reaped", "clear", "reap", "tear_down"]


@dataclass(frozen=True)
class Reaped:
    """What became of one directory that was found: `state` is reaped, running (left alone), foreign (left alone), left."""

    drill_id: str
    state: str
    detail: str = ""


def tear_down(workspace: Workspace, cluster: Cluster | None) -> Teardown:
    """End the server and remove the drill's directory; say what is left. Never raises for what it cannot remove."""
    if cluster is not None:
        cluster.stop()
    result = clear(workspace.path)
    workspace.close()
    return result


def clear(directory: Path) -> Teardown:
    """End every container and process of the drill with this directory, remove the directory, and look again."""
    started = time.monotonic()
    engine = _engine_of(directory)
    # Before the processes: an engine whose own ones were killed takes longer to notice that a container has ended.
    stays = engine.clear(directory.name) if engine is not None else []
    end_processes(directory)
    if engine is not None and not stays:
        stays = engine.clear(directory.name)  # one that was just being started
    fault = _remove(directory)
    left = [f"{engine.name} {thing}" for thing in stays] if engine is not None else []
    left += [f"process {pid} ({name})" for pid, name in sorted(processes_of(directory).items())]
    left += [f"mount {point}" for point in mounts_below(directory)]
    if os.path.lexists(directory):
        left.append(f"directory {directory}")
    seconds = round(time.monotonic() - started, 3)
    if left:
        return Teardown(False, seconds, tuple(left), f"{fault} Remove what is left by hand.".strip())
    things = "No container, no process" if engine is not None else "No process"
    return Teardown(True, seconds, (), f"{things}, no mount and no directory is left.")


def reap(work_dir: Path, check_only: bool = False) -> list[Reaped]:
    """Clear what killed drills left below `work_dir`; a running drill is never touched.

    With `check_only` nothing is removed, and `reaped` means that it would be. Raises as `check_work_dir` does.
    """
    check_work_dir(work_dir)
    if not drills_in(work_dir):
        return []
    with work_dir_locked(work_dir):
        return [_reap_one(directory, check_only) for directory in drills_in(work_dir)]


def _reap_one(directory: Path, check_only: bool) -> Reaped:
    try:
        descriptor = os.open(directory / MARKER, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        descriptor = -1  # killed between making the directory and marking it: it was ours from the first moment
    except OSError as error:
        return Reaped(directory.name, "left", f"its marker cannot be opened: {error.strerror}")
    try:
        if descriptor >= 0:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return Reaped(directory.name, "running", _whose(_marker(descriptor)))
            marker = _marker(descriptor)
            # A lock does not reach across every shared file system: what another host made is its own business.
            if marker and (marker.get("host"), marker.get("host_id")) != (host_name(), host_id()):
                return Reaped(directory.name, "foreign", _whose(marker))
        if check_only:
            return Reaped(directory.name, "reaped", "would be removed")
        result = clear(directory)
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    if result.complete:
        return Reaped(directory.name, "reaped", result.detail)
    return Reaped(directory.name, "left", f"{'; '.join(result.left)}. {result.detail}")


def _marker(descriptor: int) -> dict[str, Any]:
    try:
        document = json.loads(os.pread(descriptor, 65536, 0))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _engine_of(directory: Path) -> Engine | None:
    """What runs the drill's containers, as its marker says; None for a drill without."""
    try:
        descriptor = os.open(directory / MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        record = _marker(descriptor).get("throwaway")
    finally:
        os.close(descriptor)
    return Engine.from_record(record) if isinstance(record, dict) else None


def _whose(marker: dict[str, Any]) -> str:
    return f"process {marker.get('pid')} on {marker.get('host')} since {marker.get('since')}"


def _remove(directory: Path) -> str:
    """Remove the tree; return why not, or "". A restored function may have taken its own rights from a directory."""
    for attempt in (1, 2):
        try:
            shutil.rmtree(directory)
            return ""
        except FileNotFoundError:
            return ""
        except OSError as error:
            if attempt == 2:
                return f"{error.filename}: {error.strerror}."
            _regain(directory)
    return ""


def _regain(directory: Path) -> None:
    for path, directories, _files in os.walk(directory):
        for name in directories:
            inner = os.path.join(path, name)
            if stat.S_ISDIR(os.lstat(inner).st_mode):
                os.chmod(inner, 0o700)
