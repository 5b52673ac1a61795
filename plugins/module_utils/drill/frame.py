# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every drill's story is framed by: repositories opened, whatever goes wrong turned into a finding, everything removed."""

from __future__ import annotations

import contextlib
import datetime as dt
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.checks.base import FAILED, UNVERIFIED, CheckResult
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.choose import Found
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.limit import TimeIsUp, time_limit
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.measure import Stopwatch
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.prepare import open_repositories
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.target import Target
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.teardown import reap, tear_down
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.workspace import Workspace
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    EvidenceError,
    IntegrityError,
    LifeboatError,
    ManifestError,
    ObjectMissing,
    RestoreError,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.keys.opened import OpenedKey
from ansible_collections.lifeboat.postgres.plugins.module_utils.manifest import Manifest
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.document import Isolation, PointInTime, Teardown
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.verdict import Finding, derive_verdict, finding_of
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.base import Repository
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import Stopped
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.base import DamagedSeal
from ansible_collections.lifeboat.postgres.plugins.module_utils.stages import clean_line
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration

__all__ = ["Frame"]

# Faults of the backup itself. Every other one (an unreachable repository, a missing tool, a refusal) leaves open what the
# backup is worth: unverified.
_BACKUP_IS_BAD = (DamagedSeal, EvidenceError, IntegrityError, ManifestError, ObjectMissing, RestoreError)


class Frame(ABC):
    """One drill. `tell` runs it and never raises for what can go wrong; the rest says what was found out."""

    def __init__(self, plan: DrillPlan, progress: Callable[[str], None]) -> None:
        self.plan = plan
        self.watch = Stopwatch(progress)
        self.findings: list[Finding] = []
        self.checks: list[CheckResult] = []
        self.warnings: list[str] = []
        self.found: Found | None = None
        self.isolation: Isolation | None = None
        self.settings: dict[str, str] = {}
        # Of the throwaway server: as it was asked for, until its programs were found.
        self.postgresql = str(plan.server_major or "")
        self._keys: Mapping[str, OpenedKey] = {}
        self._workspace: Workspace | None = None
        self._target: Target | None = None

    @property
    def recovery(self) -> PointInTime | None:
        """What a point-in-time recovery came to; None for a dump."""
        return None

    @property
    @abstractmethod
    def state_at(self) -> dt.datetime | None:
        """The moment whose state was restored, as far as it is known."""

    @abstractmethod
    def rpo(self, failure_at: dt.datetime) -> tuple[float | None, str]:
        """How far what was restored lies behind the failure, in seconds, or None; and what is to be said about the figure."""

    @abstractmethod
    def _drill(self, repositories: Sequence[Repository]) -> None:
        """The story itself, from the first look at the repositories to the last check."""

    def tell(self) -> None:
        try:
            with time_limit(self.plan.timeout_seconds), contextlib.ExitStack() as stack:
                self._take_identity(stack)
                self._drill([stack.enter_context(repository) for repository in open_repositories(self.plan)])
        except LifeboatError as error:
            self.findings.append(Finding(FAILED if isinstance(error, _BACKUP_IS_BAD) else UNVERIFIED, str(error)))
        except TimeIsUp:
            during = f" (during {self.watch.phases[-1].name})" if self.watch.phases else ""
            said = f"the drill did not end within its timeout of {duration(self.plan.timeout_seconds)} and was ended{during}"
            self.findings.append(Finding(UNVERIFIED, said))
        except (Stopped, KeyboardInterrupt) as stop:
            self.findings.append(Finding(UNVERIFIED, f"the drill was stopped by {stop or 'Ctrl-C'}"))
        except OSError as error:
            place = f" ({error.filename})" if error.filename else ""
            self.findings.append(Finding(UNVERIFIED, f"this host refused: {error.strerror or error}{place}"))
        except Exception as error:  # noqa: BLE001 - whatever it was: the report is written, and nothing stays behind
            said = clean_line(str(error), 300)
            self.findings.append(Finding(UNVERIFIED, f"unexpected {type(error).__name__}: {said}. Please report it"))

    def tear_down(self) -> Teardown:
        """Remove everything; a drill that leaves something behind has not passed."""
        if self._workspace is None:
            return Teardown(True, 0.0, (), "Nothing was started.")
        with _undisturbed(), self.watch.phase("teardown", "tear down the throwaway server"):
            result = tear_down(self._workspace, self._target.cluster if self._target is not None else None)
        if not result.complete:
            self.findings.append(Finding(UNVERIFIED, f"the drill left something behind: {'; '.join(result.left)}"))
        return result

    def _reap_earlier(self) -> None:
        for reaped in reap(self.plan.work_dir):
            if reaped.state != "running":
                self.warnings.append(f"an earlier drill was killed and had left {reaped.drill_id}: {reaped.state}, {reaped.detail}")

    def _take_identity(self, stack: contextlib.ExitStack) -> None:
        """The identity out of the vault, where it lies on no host, for as long as the drill goes on."""
        if self.plan.identity_key:
            from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.identity import with_identity

            with self.watch.phase("identity", "fetch and open the identity"):
                self.plan, notes = stack.enter_context(with_identity(self.plan))
            self.warnings += notes

    def _fetch_keys(self, manifest: Manifest, state_at: dt.datetime | None = None) -> None:
        """The protected keys that this backup needs, out of the vault; into memory only."""
        if not (manifest.keys or self.plan.key_repositories):
            return
        from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.keys import fetch_keys

        with self.watch.phase("keys", "fetch and open the protected keys"):
            fetched = fetch_keys(self.plan, manifest, state_at)
        self._keys = fetched.keys
        self.warnings += fetched.notes
        self._take(fetched.results)

    def _take(self, results: Iterable[CheckResult]) -> str:
        """Keep results; return the worst of their verdicts."""
        taken = list(results)
        self.checks += taken
        findings = [finding_of(result) for result in taken]
        self.findings += findings
        return derive_verdict(findings).verdict


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Being told to stop does not cut the clean-up short. Only the main thread can see to that, and is told at all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {}
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        before[number] = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
