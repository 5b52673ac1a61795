# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much a recovery to the latest state lost: exact where production beats, else a bound, and called one.

The figure that is judged is the worst of two: how far the recovered state lies behind the failure, and the longest time that
passed between two arrivals in the archive. A failure at the worst moment would have lost that much.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.measure import measured_rpo
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.moment import RecoveryTarget
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import database_errors
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import PointInTime
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.heartbeat import read_beat
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["how_much_was_lost", "last_beat"]


def last_beat(conn: Connection[Any]) -> dt.datetime | None:
    """The moment of the last heartbeat that came through; None where production has none in this database."""
    with database_errors("the heartbeat"):
        beat = read_beat(conn)
    return None if beat is None else beat.moment


def how_much_was_lost(
    told: PointInTime, target: RecoveryTarget, state_at: dt.datetime | None, failure_at: dt.datetime
) -> tuple[float | None, str]:
    """Seconds from the recovered state to the failure, or None; and what is to be said about it."""
    if target.immediate and told.reached_lsn and told.window_from is not None:
        behind, note = measured_rpo(told.window_from, failure_at)
        return behind, note or "to the end of the base backup itself, as if no log were archived after it"
    if not target.latest:
        return None, "the target was chosen, so it says nothing about what a failure would have lost; drill the latest state for that"
    if not told.reached_lsn or state_at is None:
        return None, "nothing was recovered"
    behind, note = measured_rpo(state_at, failure_at)
    if behind is None:
        return None, note
    if told.heartbeat is not None and (told.last_commit is None or told.heartbeat >= told.last_commit - dt.timedelta(seconds=1)):
        said = "exact, by the heartbeat"
    elif told.heartbeat is not None:
        said = "exact to a heartbeat, by the last commit"
    else:
        said = "a bound, by the last commit: production has no heartbeat, and may have had nothing to commit since"
    if told.gap_seconds is not None and told.gap_seconds > behind:
        return round(told.gap_seconds, 3), (
            f"a bound: the longest time between two arrivals in the archive; the state itself lies {duration(behind)} behind ({said})"
        )
    return behind, said
