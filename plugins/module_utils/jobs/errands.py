# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of jobs that are small: a look at what is there, a beat, a repository that catches up. Each takes the options of its words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ArchiveError, IntegrityError, RepositoryError

__all__ = ["catch_up", "heartbeat", "verify"]


def verify(given: Mapping[str, Any]) -> dict[str, Any]:
    """Look at the newest backups as `lifeboat verify` does (`verify: sizes` unless told otherwise).

    Raises `RepositoryError` for a place that cannot be listed, `IntegrityError` for a backup that is not good, or when there is none.
    """
    from ansible_collections.lifeboat.postgres.plugins.module_utils.backup_list import list_backups

    answer = list_backups({"verify": "sizes", **given})
    backups = answer["backups"]
    result = {
        "changed": False,
        "backups": len(backups),
        "problems": {item["backup_id"]: item["problems"] for item in backups if item["problems"]},
    }
    for name, reason in answer["unreachable"].items():
        raise RepositoryError(f"repository {name!r} cannot be listed: {reason.rstrip('.')}", "verify", result=result)
    bad = [f"{item['kind']}/{item['name']} {item['backup_id']}: {'; '.join(item['problems'])}" for item in backups if not item["good"]]
    bad += [f"{item['repository']}: {item['key']}: {item['reason']}" for item in answer["broken"]]
    if bad:
        raise IntegrityError(f"{len(bad)} not good: {' | '.join(bad[:5])}", "verify", "lifeboat verify shows all of them.", result)
    if not backups:
        raise IntegrityError("there is no backup to verify", "verify", "Check system, kind and name; take a backup.", result)
    return result


def heartbeat(given: Mapping[str, Any]) -> dict[str, Any]:
    """One beat, as `lifeboat wal heartbeat`: a login and, in `heartbeat`, the `method`."""
    from ansible_collections.lifeboat.postgres.plugins.module_utils.strict import format_moment
    from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.heartbeat import beat_from_options

    beat = beat_from_options(given)
    return {"changed": True, "moment": format_moment(beat.moment), "lsn": str(beat.lsn)}


def catch_up(given: Mapping[str, Any]) -> dict[str, Any]:
    """Send optional repositories the WAL that they lack, as `lifeboat wal catch-up`; raises `ArchiveError` when some is left."""
    from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.catch_up import catch_up as run
    from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import WalJob

    answers = run(WalJob.from_options(given))
    result = {
        "changed": any(answer.copied for answer in answers.values()),
        "repositories": {name: {"sent": answer.copied, "missing": answer.missing} for name, answer in answers.items()},
    }
    failed = {name: answer for name, answer in answers.items() if answer.status}
    if failed:
        said = "; ".join(f"{name}: {answer.reason.rstrip('.')}" for name, answer in failed.items())
        raise ArchiveError(f"not every repository has caught up: {said}", "catch-up", result=result)
    return result
