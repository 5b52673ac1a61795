# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""WAL through a pipe: 0 only for what was checked, 1 only for what is certainly not there, and 126 for everything else."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.chain import Chain
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.feeder import Feeder
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import IntegrityError, ObjectMissing, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.names import Lsn, WalName, segment_name
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.ranges import Range
from support.leaks import leaves_nothing

MB = 1024 * 1024
CHAIN = Chain(2, Lsn(5 * MB), (Range(1, 5, 7), Range(2, 8, 19)), MB, histories=frozenset((2,)))


class Store:
    """What there is to fetch; `fault` is raised for a name."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.fault: dict[str, Exception] = {}
        self.lock = threading.Lock()

    def fetch(self, name: WalName, path: Path) -> None:
        with self.lock:
            self.fetched.append(name.text)
        if name.text in self.fault:
            raise self.fault[name.text]
        path.write_text(name.text)


@contextmanager
def fed(directory: Path, store: Store, chain: Chain = CHAIN) -> Iterator[tuple[Feeder, Callable[[str], int]]]:
    """A feeder, and the exit status of its restore_command as PostgreSQL would run it."""
    directory.mkdir()
    with Feeder(directory, chain, store.fetch, ahead=2) as feeder:

        def ask(name: str) -> int:
            words = {"%%": "%", "%f": name, "%p": str(directory.parent / "RECOVERYXLOG")}
            command = re.sub("%[%fp]", lambda match: words[match[0]], feeder.command)
            return subprocess.run(["sh", "-c", command], cwd="/", timeout=120).returncode

        yield feeder, ask


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A directory whose name a shell and PostgreSQL would like to read in their own ways."""
    return tmp_path / "feed '100%f' $(x)"


def test_what_is_in_the_chain_is_delivered_and_what_lies_behind_it_is_not_there(room: Path) -> None:
    store = Store()
    with leaves_nothing(), fed(room, store) as (feeder, ask):
        for number in range(CHAIN.count):
            assert ask(CHAIN.name(number)) == 0
            assert (room.parent / "RECOVERYXLOG").read_text() == CHAIN.name(number)
            assert len(list((room / "wal").iterdir())) <= 4  # this one, two ahead, and one that is on its way
        assert not feeder.fed.past_end
        assert ask(segment_name(2, 20, MB)) == 1
        assert (feeder.fed.past_end, feeder.fed.delivered, feeder.fed.last) == (True, CHAIN.count, CHAIN.last)
    assert sorted(set(store.fetched)) == sorted(CHAIN.name(number) for number in range(CHAIN.count))
    assert not (room / "ask").exists()


def test_an_older_timelines_segment_is_no_stand_in_for_the_new_ones(room: Path) -> None:
    with fed(room, Store()) as (feeder, ask):
        assert ask(segment_name(1, 8, MB)) == 1
        assert ask(segment_name(2, 7, MB)) == 1
        assert feeder.fed.fault is None


def test_a_base_backup_that_carries_its_log_is_given_nothing_from_elsewhere(room: Path) -> None:
    store = Store()
    with fed(room, store, dataclasses.replace(CHAIN, included=True)) as (feeder, ask):
        assert [ask(CHAIN.name(0)), ask("00000002.history"), ask(segment_name(2, 20, MB))] == [1, 1, 1]
        assert (feeder.fed.delivered, feeder.fed.fault, store.fetched) == (0, None, [])


def test_histories_are_given_where_there_are_some(room: Path) -> None:
    with fed(room, Store()) as (_feeder, ask):
        assert (ask("00000002.history"), ask("00000003.history")) == (0, 1)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (IntegrityError("it is damaged"), "it is damaged"),
        (RepositoryError("the store is away"), "the store is away"),
        (ObjectMissing("nothing there"), "is missing in the WAL archive; it was there when the drill began"),
        (ZeroDivisionError("what"), "ZeroDivisionError"),
    ],
)
def test_whatever_goes_wrong_with_a_segment_ends_the_recovery_and_is_kept(room: Path, fault: Exception, says: str) -> None:
    store = Store()
    store.fault[CHAIN.name(1)] = fault
    with fed(room, store) as (feeder, ask):
        assert ask(CHAIN.name(0)) == 0
        assert feeder.fed.fault is None  # it was fetched ahead, and nobody asked for it
        assert ask(CHAIN.name(1)) == 126
        assert says in str(feeder.fed.fault)


@pytest.mark.parametrize("name", ["../../etc/passwd", "00000001000000000000000G", "x", "$(id)"])
def test_nothing_but_names_of_wal_is_answered(room: Path, name: str) -> None:
    store = Store()
    with fed(room, store) as (feeder, _ask):
        done = subprocess.run(["sh", str(feeder.directory / "fetch.sh"), name, "/nonexistent/target"], timeout=120, cwd="/")
        assert done.returncode == 1
    assert store.fetched == []


def test_an_answer_to_somebody_who_was_killed_is_not_taken_by_the_next(room: Path) -> None:
    store = Store()
    with fed(room, store) as (feeder, ask):
        with open(feeder.directory / "ask", "w") as pipe:
            pipe.write(f"4711 {segment_name(2, 30, MB)}\n")  # its answer, 1, waits in the pipe
        assert ask(CHAIN.name(0)) == 0


def test_a_file_that_cannot_be_put_in_its_place_is_no_end_of_the_log(room: Path) -> None:
    with fed(room, Store()) as (feeder, _ask):
        argv = ["sh", str(feeder.directory / "fetch.sh"), CHAIN.name(0), "/nonexistent/target"]
        assert subprocess.run(argv, capture_output=True, cwd="/", timeout=120).returncode == 126
