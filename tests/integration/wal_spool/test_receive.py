# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""WAL streamed from a server that archives nothing by itself: through kills, restarts and a promotion, without a gap."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.backup.physical_run import run as back_up_base
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.info import archive_info
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn, WalName
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.receive import ReceiveJob
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.spool_status import spool_status_file
from support.bases import base_options
from support.clusters import Server
from support.leaks import eventually, programs, runs
from support.logical import Identity, new_identity, posix
from support.spools import archived, fill, resize, wal_job
from support.standbys import PRIMARY, Standby

CLI = "ansible_collections.lifeboat.postgres.plugins.module_utils.cli"
MIB = 1024 * 1024


class Small(Server):
    """A server with segments of 1 MiB, no archive_mode, and only as much WAL kept as slots ask for."""

    def start(self, wait: bool = True) -> None:
        if self.process is None:
            resize(self, 1)
        super().start(wait)


class Receiving:
    """`lifeboat wal receive` as a process, with what it fills."""

    def __init__(self, server: Server, root: Path, **more: Any) -> None:
        self.server, self.root = server, root
        self.identity: Identity = new_identity(root / "identity")
        self.specs = {"here": posix(root / "here")}
        self.spool = root / "spool"
        self.more = more
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        receive = {"spool": str(self.spool), "bin_dir": str(self.server.bin_dir), "alert_after": "1s", **self.more}
        login = {"login_unix_socket": str(self.server.socket_dir), "login_port": self.server.port}
        file = self.root / "wal.json"
        file.write_text(json.dumps({**wal_job(self.specs, self.identity, self.root / "run"), **login, "receive": receive}))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        argv = [sys.executable, "-m", CLI, "wal", "receive", "-c", str(file)]
        with open(self.root / "log", "ab") as log:
            self.process = subprocess.Popen(argv, env=environment, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self, number: int = signal.SIGKILL) -> int:
        """End it, and wait until its pg_receivewal is gone, too; its exit status."""
        assert self.process is not None
        # The list may lack one while others of the family come and go.
        receivers = {*self.receivers(), *filter(None, [self.receiver("process")])}
        if self.process.poll() is None:
            self.process.send_signal(number)
        ended = self.process.wait(300)
        eventually(lambda: not any(map(runs, receivers)), "pg_receivewal is gone with its parent")
        return ended

    def receivers(self) -> set[int]:
        """Its pg_receivewal, while that runs."""
        assert self.process is not None
        return {pid for pid in programs("pg_receivewal", self.process.pid) if runs(pid)}

    @property
    def status(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(spool_status_file(self.root / "run", "shop").read_text())
        except FileNotFoundError:
            return {"receiver": {}, "trouble": ""}
        return found

    def receiver(self, key: str) -> Any:
        """What the status says of it; None for what is not known at this moment, as when the server did not answer just then."""
        return (self.status["receiver"] or {}).get(key)

    def comes_to(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something; when it does not come, fail with what the process said."""
        try:
            eventually(condition, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.status}\n{(self.root / 'log').read_text()[-2000:]}") from None

    def streams(self) -> None:
        self.comes_to(lambda: self.receiver("streaming") is True, "streaming")

    def has(self, names: list[str]) -> None:
        self.comes_to(lambda: set(names) <= set(archived(self.specs["here"])), f"{names} archived")

    def numbers(self, timeline: int = 1) -> list[int]:
        names = [WalName.parse(name) for name in archived(self.specs["here"])]
        return [name.number(MIB) for name in names if name.kind == "segment" and name.timeline == timeline]


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Small(getattr(request, "param", 18), {**PRIMARY, "max_wal_size": "4MB", "min_wal_size": "2MB"}) as running:
        yield running


@pytest.fixture
def receiving(server: Server, tmp_path: Path) -> Iterator[Receiving]:
    found = Receiving(server, tmp_path)
    try:
        yield found
    finally:
        if found.process is not None:
            found.kill()


def gapless(numbers: list[int]) -> bool:
    return numbers == list(range(numbers[0], numbers[-1] + 1))


@pytest.mark.parametrize("server", [15, 18], indirect=True)
def test_what_is_streamed_is_archived_and_only_that_is_released(server: Server, receiving: Receiving) -> None:
    receiving.start()
    receiving.streams()
    names = fill(server, 4)
    receiving.has(names)
    assert gapless(receiving.numbers())

    end = Lsn((WalName.parse(names[-1]).number(MIB) + 1) * MIB)

    def released() -> bool:
        with server.connect() as connection:
            row = connection.execute(
                "SELECT restart_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = 'lifeboat_archived'", (str(end),)
            ).fetchone()
        return bool(row and row[0])

    receiving.comes_to(released, "the slot past what is archived")
    receiving.comes_to(lambda: receiving.status["only_in_spool"]["files"] == 0, "nothing only in the spool")
    receiving.comes_to(
        lambda: [name for name in os.listdir(receiving.spool) if len(name) == 24] == [names[-1]],
        "the newest one stays, for pg_receivewal to go on after it",
    )

    def well() -> bool:
        found = receiving.status
        return (found["trouble"], found["failure"], found["receiver"]["fault"]) == ("", None, "")

    def little_left() -> bool:
        left = receiving.receiver("not_archived_bytes")
        return left is not None and left < MIB

    receiving.comes_to(well, "all well")
    receiving.comes_to(little_left, "little that is not archived")
    server.execute("ALTER SYSTEM SET synchronous_standby_names = 'lifeboat_receive'")
    server.execute("SELECT pg_reload_conf()")
    with server.connect() as connection:
        receiving.comes_to(lambda: connection.execute("SELECT sync_state FROM pg_stat_replication").fetchone() == ("sync",), "synchronous")
        connection.execute("SET synchronous_commit = on")
        connection.execute("CREATE TABLE committed_there_too ()")
    assert receiving.kill(signal.SIGTERM) == 0


def test_what_lies_only_in_the_spool_is_counted_and_kept_by_the_server_and_survives_the_loss_of_the_spool(
    server: Server, receiving: Receiving
) -> None:
    receiving.start()
    receiving.streams()
    before = fill(server, 2)
    receiving.has(before)
    away = receiving.root / "away"
    (receiving.root / "here").rename(away)
    names = fill(server, 6)
    receiving.comes_to(lambda: receiving.status["only_in_spool"]["files"] >= 6, "six files only in the spool")
    receiving.comes_to(lambda: "lie only in the spool" in receiving.status["trouble"], "the alarm")
    # By the server's count, and that knows of a file only after pg_receivewal has said that it has synced it.
    receiving.comes_to(lambda: (receiving.receiver("only_here_bytes") or 0) >= 6 * MIB, "their bytes are counted")
    receiving.kill()
    server.execute("CHECKPOINT")
    for path in receiving.spool.iterdir():
        path.unlink()
    away.rename(receiving.root / "here")
    assert not set(names) & set(archived(receiving.specs["here"]))
    receiving.start()
    receiving.has(names)
    assert gapless(receiving.numbers())
    receiving.comes_to(lambda: receiving.status["trouble"] == "", "no alarm any more")


@pytest.mark.needs("program:age", "program:zstd")
def test_a_server_whose_log_is_only_received_has_base_backups_and_a_window(server: Server, receiving: Receiving) -> None:
    receiving.start()
    receiving.streams()
    receiving.has(fill(server, 1))
    backup = back_up_base(base_options(server, receiving.specs, receiving.identity, receiving.root))
    names = fill(server, 3)
    receiving.has(names)
    login = {"login_unix_socket": str(server.socket_dir), "login_port": server.port}
    (found,) = archive_info({"system": "shop", "repositories": receiving.specs, "cache_dir": "", **login})["archives"].values()
    assert found["problems"] == []
    assert (found["window"]["from_backup"], found["window"]["last_segment"]) == (backup["backup_id"], names[-1])
    assert found["lag"]["segments"] == 0


def test_a_slot_that_the_server_gave_up_is_said(tmp_path: Path) -> None:
    with Small(18, {**PRIMARY, "max_wal_size": "4MB", "min_wal_size": "2MB", "max_slot_wal_keep_size": "2MB"}) as server:
        receiving = Receiving(server, tmp_path)
        try:
            receiving.start()
            receiving.streams()
            receiving.kill()
            fill(server, 12)
            server.execute("CHECKPOINT")
            receiving.start()
            receiving.comes_to(lambda: "the server gave up slot" in receiving.status["trouble"], "the alarm")
        finally:
            receiving.kill()


def test_a_slot_that_nobody_moves_any_more_is_said(server: Server, receiving: Receiving) -> None:
    receiving.start()
    receiving.streams()
    receiving.kill(signal.SIGTERM)
    receiving.more["hold"] = False
    receiving.start()
    receiving.comes_to(lambda: "'lifeboat_archived' keeps WAL and nobody moves it" in receiving.status["trouble"], "the alarm")
    names = fill(server, 2)
    receiving.has(names)
    server.execute("SELECT pg_drop_replication_slot('lifeboat_archived')")
    receiving.comes_to(lambda: receiving.status["trouble"] == "", "no alarm any more")


@pytest.mark.parametrize("victim", ["pg_receivewal", "all of it"])
def test_after_a_kill_it_goes_on_without_a_gap(server: Server, receiving: Receiving, victim: str) -> None:
    receiving.start()
    receiving.streams()
    expected = []
    for _time in range(3):
        expected += fill(server, 2)
        receiving.comes_to(lambda: bool(receiving.receivers()), "a receiver")
        if victim == "all of it":
            receiving.kill()
        else:
            for pid in receiving.receivers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        expected += fill(server, 2)
        server.execute("CHECKPOINT")
        if victim == "all of it":
            receiving.start()
    receiving.has(expected)
    assert gapless(receiving.numbers())
    receiving.comes_to(lambda: receiving.status["trouble"] == "" and receiving.receiver("streaming") is True, "all well")


def test_a_server_that_restarts_is_followed_again(server: Server, receiving: Receiving) -> None:
    receiving.start()
    receiving.streams()
    names = fill(server, 2)
    server.halt()
    receiving.comes_to(lambda: receiving.receiver("streaming") is False, "it is seen")
    receiving.comes_to(lambda: "nothing is received" in receiving.status["trouble"], "the alarm")
    server.start()
    names += fill(server, 2)
    receiving.has(names)
    assert gapless(receiving.numbers())


@pytest.mark.parametrize("major", [15, 18])
def test_a_promotion_is_followed_onto_the_new_timeline_with_its_history(major: int, tmp_path: Path) -> None:
    with Small(major, {**PRIMARY, "wal_keep_size": "64MB"}) as server, Standby(server) as standby:
        receiving = Receiving(standby, tmp_path)
        try:
            receiving.start()
            receiving.streams()
            before = fill(server, 3)
            receiving.has(before)
            standby.promote()
            after = fill(standby, 3)
            assert all(name.startswith("00000002") for name in after)
            receiving.has([*after, "00000002.history"])
            first, second = receiving.numbers(1), receiving.numbers(2)
            assert gapless(first)
            assert gapless(second)
            assert second[0] <= first[-1] + 1, "the segment in which they part is there whole, on the new timeline"
            receiving.comes_to(
                lambda: not [name for name in os.listdir(receiving.spool) if name.startswith("00000001")], "what was left behind is gone"
            )
            assert not [name for name in archived(receiving.specs["here"]) if name.endswith(".partial")]
        finally:
            receiving.kill()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "spool is required"),
        ({"spool": "here"}, "absolute path"),
        ({"spool": "/s", "slot": "My Slot"}, "not a slot's name"),
        ({"spool": "/s", "slot": "same", "hold_slot": "same"}, "are the same"),
        ({"spool": "/s", "spol": "/s"}, "unknown key 'spol'"),
        ({"spool": "/s", "alert_after": "soon"}, "alert_after"),
        ({"spool": "/s", "hold": "perhaps"}, "hold: expected true or false"),
    ],
)
def test_wrong_options_are_answered_before_anything_runs(tmp_path: Path, given: Mapping[str, Any], message: str) -> None:
    job = wal_job({"here": posix(tmp_path / "here")}, new_identity(tmp_path / "identity"), tmp_path / "run")
    with pytest.raises(ConfigurationError, match=message):
        ReceiveJob.from_options({**job, "receive": given})
