# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`lifeboat wal receive`: WAL of a server that cannot archive by itself, streamed into a spool and shipped from there.

pg_receivewal streams with a slot and tells the server what it has written and synced. The server may recycle that: it lies
on one disk then, in the spool, and is not archived off the host. So there is a second slot, which only we move, and only over
what every required repository has confirmed: the server keeps the rest, and a spool that is lost loses nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils import options
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import (
    ConfigurationError,
    DatabaseError,
    LifeboatError,
    MissingTool,
    RepositoryError,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.connect import Login, open_connection, server_facts
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.login import LOGIN_KEYS, read_login
from ansible_collections.lifeboat.postgres.plugins.module_utils.private_directory import private_directory
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.job import WalJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import PARTIAL, SEGMENT, WalName, segment_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.push import Pusher
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.receiver import PgReceiveWal, Receiver
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.ship import Shipper, alert_after, the_only_one
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.slots import Slots, SlotState
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.spool_status import SpoolStatus, spool_status_file

__all__ = ["ReceiveJob", "receive"]

POLL_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
_WHERE = "receive"
_KEYS = ("spool", "slot", "hold_slot", "hold", "bin_dir", "alert_after")


@dataclass(frozen=True)
class ReceiveJob:
    """What to receive and where it goes. `hold`: keep a slot over what is not archived off the host yet."""

    wal: WalJob
    login: Login
    spool: Path
    slot: str
    hold_slot: str
    hold: bool
    bin_dir: str | None
    alert_after_seconds: float

    @classmethod
    def from_options(cls, given: Mapping[str, Any]) -> ReceiveJob:
        """Read a job file: the words of a WAL job, a login, and the mapping `receive`; raises `ConfigurationError`."""
        wal = WalJob.from_options(given, (*LOGIN_KEYS, "receive"))
        wal.sealing()
        inner = options.mapping(given, "receive", "job file")
        options.unknown_keys(inner, _KEYS, _WHERE)
        spool = Path(options.text(inner, "spool", _WHERE)).expanduser()
        if not spool.is_absolute():
            raise ConfigurationError(f"spool: expected an absolute path, found {str(spool)!r}", _WHERE)
        slot = _slot(inner, "slot", "lifeboat_receive")
        hold_slot = _slot(inner, "hold_slot", "lifeboat_archived")
        if slot == hold_slot:
            raise ConfigurationError("slot and hold_slot are the same", _WHERE, "Give each a name of its own.")
        return cls(
            wal=wal,
            login=read_login(given, default_db="postgres"),
            spool=spool,
            slot=slot,
            hold_slot=hold_slot,
            hold=options.boolean(inner, "hold", _WHERE, True),
            bin_dir=options.text(inner, "bin_dir", _WHERE, None),
            alert_after_seconds=alert_after(inner, _WHERE),
        )


def receive(given: Mapping[str, Any], say: Callable[[str], None] = lambda words: None) -> None:
    """Receive and ship until told to stop.

    Raises `ConfigurationError` and `Locked` before anything begins, and `MissingTool` as soon as the server's version is
    known. Whatever else fails is said, and tried again: the server, the receiver and the repositories may each be away.
    """
    job = ReceiveJob.from_options(given)
    private_directory(job.spool, "spool", "receive.spool")
    private_directory(job.wal.run_dir, "run", "run_dir")
    with the_only_one(job.spool), Pusher(job.wal) as pusher:
        _Run(job, Shipper(pusher, job.spool, keep_newest=True), say).for_ever()


class _Run:
    """The turns of one process: look at the server, keep the receiver running, ship, move the slot, write down how it stands."""

    def __init__(self, job: ReceiveJob, shipper: Shipper, say: Callable[[str], None]) -> None:
        self._job, self._shipper, self._say = job, shipper, say
        self._status = SpoolStatus(
            spool_status_file(job.wal.run_dir, job.wal.system), job.wal.system, str(job.spool), job.alert_after_seconds, say
        )
        self._slots = Slots(job.login, job.slot, job.hold_slot, job.hold)
        self._receiver: Receiver | None = None
        self._next_start = 0.0
        self._next_shipping = self._next_probe = 0.0
        self._pause = self._start_pause = POLL_SECONDS
        self._down_since: float | None = time.monotonic()
        self._fault = "it was not started yet"
        self._state: SlotState | None = None

    def for_ever(self) -> None:
        try:
            while True:
                self._ask()
                self._keep_receiving()
                self._ship()
                self._status.write(self._shipper.waiting(), self._document(), self._trouble())
                time.sleep(POLL_SECONDS)
        finally:
            if self._receiver is not None:
                self._receiver.stop()
            self._slots.close()

    def _ask(self) -> None:
        try:
            self._state = self._slots.look()
        except LifeboatError as error:
            self._state = None
            if self._receiver is None:
                self._fault = str(error)

    def _keep_receiving(self) -> None:
        if self._receiver is not None:
            ended = self._receiver.ended()
            if ended is None:
                if self._state is not None and self._state.active:
                    self._down_since, self._fault, self._start_pause = None, "", POLL_SECONDS
                else:
                    self._down_since = self._down_since or time.monotonic()
                return
            self._receiver.stop()
            self._receiver, self._fault = None, ended
            self._down_since = self._down_since or time.monotonic()
            self._say(f"pg_receivewal ended: {ended}")
        if time.monotonic() < self._next_start:
            return
        self._next_start = time.monotonic() + self._start_pause
        self._start_pause = min(self._start_pause * 2, LONGEST_PAUSE_SECONDS)
        try:
            with open_connection(self._job.login, application_name="lifeboat receive") as connection:
                major = server_facts(connection).major
            self._state = self._slots.prepare()
            program = PgReceiveWal(major, self._job.bin_dir)
            self._mend(self._state)
            self._anchor(self._state)
            self._receiver = Receiver(program, self._job.login, self._job.spool, self._job.slot)
        except MissingTool:
            raise
        except LifeboatError as error:
            if self._fault != str(error):
                self._say(f"pg_receivewal cannot be started: {error}")
            self._fault = str(error)

    def _mend(self, state: SlotState) -> None:
        """A receiver that was killed while it made a segment's room refuses to go on: "has 688128 bytes, should be 0 or 1048576".

        Room is made before anything is written into it, so nothing is in there.
        """
        for name in _names(self._job.spool):
            path = self._job.spool / name.text
            if name.kind == PARTIAL and path.stat().st_size not in (0, state.segment_bytes):
                os.truncate(path, 0)

    def _anchor(self, state: SlotState) -> None:
        """Say to pg_receivewal where to begin when the spool tells nothing: where the last archived segment ends.

        It goes on with an unfinished file of that name, even an empty one. Else it would begin where its own slot is, which
        may have been moved over what an earlier spool held and lost, or (14) wherever the server is now.
        """
        if state.hold_lsn is None or any(True for name in _names(self._job.spool) if name.kind in (SEGMENT, PARTIAL)):
            return
        name = state.segment_of(state.hold_lsn)
        (self._job.spool / f"{name}.partial").touch(mode=0o600)

    def _ship(self) -> None:
        if time.monotonic() < self._next_shipping:
            return
        answer = self._shipper.ship()
        self._status.passed(answer.names, answer.faults)
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS) if answer.faults else POLL_SECONDS
        self._next_shipping = time.monotonic() + (self._pause if answer.faults else 0.0)
        state = self._state
        if state is None or state.hold_lsn is None:
            return
        numbers = {WalName.parse(name).number(state.segment_bytes): name for name in self._shipper.archived if "." not in name}
        for number, name in numbers.items():
            if number < state.hold_lsn.segment(state.segment_bytes):
                self._shipper.archived.discard(name)
        waiting = {name.number(state.segment_bytes) for name in _names(self._job.spool) if name.kind in (SEGMENT, PARTIAL)}
        # The server or a repository is away: the next turn says so.
        with contextlib.suppress(DatabaseError, RepositoryError):
            self._slots.release(numbers, waiting - set(numbers), lambda number: self._archived_before(number, state), state)

    def _archived_before(self, number: int, state: SlotState) -> bool:
        """Whether an earlier run shipped this segment: it is neither in the spool nor was it shipped by this one."""
        if time.monotonic() < self._next_probe:
            return False
        names = (segment_name(timeline, number, state.segment_bytes) for timeline in range(state.timeline, max(0, state.timeline - 8), -1))
        if any(self._shipper.holds(name) for name in names):
            return True
        self._next_probe = time.monotonic() + LONGEST_PAUSE_SECONDS
        return False

    def _trouble(self) -> str:
        found = []
        if self._down_since is not None and time.monotonic() - self._down_since >= self._job.alert_after_seconds:
            found.append(f"nothing is received for {time.monotonic() - self._down_since:.0f} seconds: {self._fault}")
        if self._state is not None and self._state.lost:
            found.append(f"the server gave up slot {self._state.lost!r} (max_slot_wal_keep_size): take a new base backup")
        if self._state is not None and self._state.forgotten:
            found.append(f"slot {self._state.forgotten!r} keeps WAL and nobody moves it: drop it, or say hold: true")
        if self._state is not None and self._state.hole:
            found.append(f"{self._state.hole} was never received: what was archived before it and after it does not connect")
        return "; ".join(found)

    def _document(self) -> dict[str, Any]:
        state = self._state
        document: dict[str, Any] = {
            "running": self._receiver is not None,
            "streaming": self._receiver is not None and self._down_since is None,
            "fault": self._fault,
            "process": None if self._receiver is None else self._receiver.pid,
        }
        return document if state is None else {**document, **state.to_document()}


def _names(spool: Path) -> list[WalName]:
    found = []
    for entry in spool.iterdir():
        with contextlib.suppress(LifeboatError):
            found.append(WalName.parse(entry.name))
    return found


def _slot(given: Mapping[str, Any], key: str, default: str) -> str:
    name: str = options.text(given, key, _WHERE, default)
    if not name or len(name) > 63 or set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789_"):
        raise ConfigurationError(f"{key}: {name!r} is not a slot's name", _WHERE, "It takes lower-case letters, digits and underscores.")
    return name
