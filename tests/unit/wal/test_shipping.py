# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which file is taken next, and who is told of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.wal.shipping import Shipping, Task
from support.leaks import eventually


class Hold:
    """Ships a file when it is let go; remembers the order in which files were begun."""

    def __init__(self, threads: int = 1) -> None:
        self.begun: list[str] = []
        self.faults: dict[str, Exception] = {}
        self.let_go = threading.Semaphore(0)
        self.shipping = Shipping(self._ship, threads)

    def _ship(self, path: Path) -> None:
        self.begun.append(path.name)
        self.let_go.acquire()
        if path.name in self.faults:
            raise self.faults[path.name]

    def finish(self, *tasks: Task) -> None:
        for _task in tasks:
            self.let_go.release()
        with self.shipping.condition:
            assert self.shipping.condition.wait_for(lambda: all(task.finished for task in tasks), 120)


@pytest.fixture
def hold() -> Iterator[Hold]:
    made = Hold()
    yield made
    for _time in range(100):
        made.let_go.release()
    made.shipping.end(120)


def test_what_is_asked_for_comes_before_what_only_follows(hold: Hold) -> None:
    first = hold.shipping.ask(Path("first"))
    eventually(lambda: hold.begun == ["first"], "the first has begun")
    hold.shipping.follow_with([Path("second"), Path("third")])
    asked = hold.shipping.ask(Path("third"))
    hold.finish(first, asked)
    assert hold.begun[:2] == ["first", "third"]


def test_who_asks_for_a_file_that_is_on_its_way_waits_for_that_one(hold: Hold) -> None:
    task = hold.shipping.ask(Path("one"))
    assert hold.shipping.ask(Path("one")) is task
    hold.finish(task)
    assert hold.begun == ["one"]


def test_after_a_fault_nothing_more_is_begun_until_somebody_asks(hold: Hold) -> None:
    hold.faults["one"] = RepositoryError("the store is down")
    task = hold.shipping.ask(Path("one"))
    hold.shipping.follow_with([Path("two"), Path("three")])
    hold.finish(task)
    assert task.error is hold.faults["one"]
    assert hold.shipping.idle
    assert hold.begun == ["one"]


def test_a_fault_of_our_own_is_told_to_who_waits(hold: Hold) -> None:
    hold.faults["one"] = ZeroDivisionError("division by zero")
    task = hold.shipping.ask(Path("one"))
    hold.finish(task)
    assert "ZeroDivisionError: division by zero (one)" in str(task.error)
    again = hold.shipping.ask(Path("two"))
    hold.finish(again)
    assert again.error is None, "the thread lives on"


def test_a_file_that_hangs_is_seen(hold: Hold) -> None:
    assert hold.shipping.slowest_seconds() == 0.0
    hold.shipping.ask(Path("one"))
    eventually(lambda: hold.shipping.slowest_seconds() > 0.05, "its time counts")
    hold.shipping.end(0.01)
    assert not hold.shipping.idle
