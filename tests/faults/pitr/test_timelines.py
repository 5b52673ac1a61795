# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""After a promotion: the way to the new timeline is known, or the drill says why it is not, and never guesses which is production's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.leaks import eventually
from support.parts import require
from support.pitr import Production
from support.wal import Place
from support.wal_damage import file_of


@dataclass
class Promoted:
    """Order 1 on timeline 1, order 2 on timeline 2. `left` is the last whole segment of the old one, `first` the first of the new."""

    production: Production
    left: str
    first: str
    last: str


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Promoted]:
    require("postgresql:15", "program:age", "program:zstd")
    shop = Production(15, tmp_path_factory.mktemp("keys"))
    server = shop.server
    try:
        shop.query("CREATE TABLE orders (id int PRIMARY KEY)")
        shop.archive()
        shop.back_up()
        shop.query("INSERT INTO orders VALUES (1)")
        left = shop.archive()
        shop.query("INSERT INTO orders VALUES (11)")
        server.halt()
        (server.data / "standby.signal").touch()
        (server.data / "standby.signal").chmod(0o644)
        server.start()
        shop.query("SELECT pg_promote()")
        eventually(lambda: shop.query("SELECT NOT pg_is_in_recovery()"), "it is promoted")
        shop.query("INSERT INTO orders VALUES (2)")
        first = shop.archive()
        shop.query("INSERT INTO orders VALUES (3)")
        last = shop.archive()
        assert (left[:8], first[:8], last[:8]) == ("00000001", "00000002", "00000002")
        yield Promoted(shop, left, first, last)
    finally:
        shop.stop()


def rename(place: Place, old: str, new: str) -> None:
    """The file once more, under another name."""
    path = file_of(place, old)
    copy = place.root / place.system / "wal" / new[:8] / path.name.replace(old, new)
    copy.parent.mkdir(exist_ok=True)
    copy.write_bytes(path.read_bytes())


def following(name: str) -> str:
    """The next segment's name, as long as it lies in the same 4 GiB of log."""
    return f"{int(name, 16) + 1:024X}"


def test_the_latest_state_is_on_the_new_timeline(promoted: Promoted, work_dir: Path) -> None:
    report = promoted.production.drill(work_dir, markers={"must_exist": [f"SELECT 1 FROM orders WHERE id = {n}" for n in (1, 11, 2, 3)]})
    assert report["verdict"] == "passed", report["reason"]
    assert (report["recovery"]["timeline"], report["recovery"]["last_segment"]) == (2, promoted.last)


def test_the_old_timeline_ends_where_its_last_segment_does(promoted: Promoted, work_dir: Path) -> None:
    report = promoted.production.drill(
        work_dir,
        target={"timeline": 1},
        markers={"must_exist": ["SELECT 1 FROM orders WHERE id = 1"], "must_not_exist": ["SELECT 1 FROM orders WHERE id IN (2, 3)"]},
    )
    assert report["verdict"] == "passed", report["reason"]
    assert (report["recovery"]["timeline"], report["recovery"]["last_segment"]) == (1, promoted.left)


def test_a_missing_history_is_named(promoted: Promoted, work_dir: Path) -> None:
    place = promoted.production.copy()
    file_of(place, "00000002.history").unlink()
    report = promoted.production.drill(work_dir, place)
    assert report["verdict"] == "failed"
    assert "00000002.history is missing in the archive" in report["reason"]


def test_a_missing_first_segment_is_named_though_the_old_timeline_has_its_partial(promoted: Promoted, work_dir: Path) -> None:
    place = promoted.production.copy()
    file_of(place, promoted.first).unlink()
    report = promoted.production.drill(work_dir, place)
    assert report["verdict"] == "failed"
    assert re.search(f"segment {promoted.first} is missing", report["reason"]), report["reason"]


def test_an_old_timeline_that_goes_on_is_two_productions(promoted: Promoted, work_dir: Path) -> None:
    place = promoted.production.copy()
    first = "00000001" + promoted.first[8:]
    rename(place, promoted.left, first)
    rename(place, promoted.left, following(first))
    report = promoted.production.drill(work_dir, place)
    assert report["verdict"] == "unverified", report["reason"]
    assert f"yet it goes on to segment {following(first)}: which of the two is production's cannot be known" in report["reason"]


def test_a_stray_timeline_is_not_followed(promoted: Promoted, work_dir: Path) -> None:
    place = promoted.production.copy()
    rename(place, "00000002.history", "00000003.history")
    rename(place, promoted.first, "00000003" + promoted.first[8:])
    report = promoted.production.drill(work_dir, place)
    assert report["verdict"] == "unverified", report["reason"]
    assert "timelines 2 and 3 are two ways on from timeline 1" in report["reason"]
    # Whoever knows says so.
    report = promoted.production.drill(work_dir, place, target={"timeline": 2})
    assert report["verdict"] == "passed", report["reason"]
