# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long each step took, and what that makes of RTO and RPO. Clocks that can be set play no part in durations."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Iterator

from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import Phase

__all__ = ["Stopwatch", "measured_rpo"]


class Stopwatch:
    """Times phases; `phases` are those that ended, also those that failed.

    The RTO runs from `begin_recovery`, when the empty target is begun, to `service_ready` and `verified`.
    """

    def __init__(self, progress: Callable[[str], None] = lambda message: None) -> None:
        self.phases: list[Phase] = []
        self.service_ready_seconds: float | None = None
        self.verified_seconds: float | None = None
        self._progress = progress
        self._recovery_began: float | None = None

    @contextlib.contextmanager
    def phase(self, name: str, says: str = "") -> Iterator[None]:
        """One timed step; `says` is told to whoever watches, at its beginning."""
        self._progress(says or name)
        began = time.monotonic()
        try:
            yield
        finally:
            self.phases.append(Phase(name, round(time.monotonic() - began, 3)))

    def begin_recovery(self) -> None:
        """From now on a recovery would count its time: there is a target, and it is empty."""
        self._recovery_began = time.monotonic()

    def service_ready(self) -> None:
        """The restored database answers."""
        self.service_ready_seconds = self._since()

    def verified(self) -> None:
        """The last check was green."""
        self.verified_seconds = self._since()

    def _since(self) -> float | None:
        return None if self._recovery_began is None else round(time.monotonic() - self._recovery_began, 3)


def measured_rpo(snapshot_at: dt.datetime, failure_at: dt.datetime) -> tuple[float | None, str]:
    """How far the restored state lies behind the failure, in seconds; or None with the reason.

    Both moments come from clocks of two hosts, so the figure is as good as they agree.
    """
    behind = (failure_at - snapshot_at).total_seconds()
    if behind < 0:
        return None, (
            f"the backup's snapshot was taken {-behind:.0f} s after the moment of failure: it would not have existed, or a clock is wrong"
        )
    return round(behind, 3), ""
