# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Law 10: whatever is wrong with the log, the drill fails and names it. PostgreSQL itself comes up with less data in most of these.

Each row breaks a copy of a real archive. `Production.drill` also sees that the archive is byte for byte what it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.damage import cut, flip
from support.wal import Place
from support.wal_damage import alter, edit_cluster, file_of, flipped, only_partial, replace, with_foreign_owner

from .conftest import Shop

LATEST: Mapping[str, Any] = {"latest": True}


@dataclass(frozen=True)
class Row:
    """How the copy is damaged, the words that must appear (a regular expression, names of segments as {0} to {4}), the verdict."""

    damage: Callable[[Shop, Place], object]
    says: str
    verdict: str = "failed"
    target: Mapping[str, Any] = field(default_factory=lambda: LATEST)
    also_at_a_time: bool = False


def remove(files: Iterable[Path]) -> None:
    for path in list(files):
        path.unlink()


def _swap(shop: Shop, place: Place) -> None:
    replace(place, shop.names[2], place.opened(shop.names[1], shop.production.identity), shop.production.identity.recipient)


ROWS = {
    "a segment is missing": Row(lambda shop, place: remove([file_of(place, shop.names[2])]), "segment {2} is missing between {1} and {3}"),
    "two segments are missing": Row(
        lambda shop, place: remove(file_of(place, shop.names[number]) for number in (1, 2)),
        "segment {1} and 1 more are missing between {0} and {3}",
    ),
    "of a segment there is only the partial": Row(
        lambda shop, place: only_partial(place, shop.names[2]),
        "segment {2} is missing between {1} and {3}: of it there is only the unfinished",
    ),
    "the archive is gone": Row(lambda shop, place: remove(place.root.glob("shop/wal/*/*")), "no segment of timeline 1"),
    "a bit of the base backup is flipped": Row(
        lambda shop, place: flip(max(place.root.glob("shop/base/cluster/*/*"), key=lambda path: path.stat().st_size)),
        "another SHA-256 digest",
    ),
    "a bit of a stored segment is flipped": Row(
        lambda shop, place: flip(file_of(place, shop.names[2])), "{2} is damaged", also_at_a_time=True
    ),
    "a stored segment is cut": Row(lambda shop, place: cut(file_of(place, shop.names[2])), "{2} is damaged"),
    "a segment was archived cut": Row(
        lambda shop, place: alter(place, shop.names[2], shop.production.identity, lambda plain: plain[: len(plain) // 2]),
        "{2} is not what its name says: .*524288 bytes",
    ),
    "a segment was archived with a flipped bit": Row(
        lambda shop, place: alter(place, shop.names[2], shop.production.identity, flipped),
        "recovery stopped at .* in segment {[12]}, before the archive's end",
    ),
    "the last segment was archived with a flipped bit": Row(
        lambda shop, place: alter(place, shop.names[-1], shop.production.identity, flipped),
        "recovery stopped at .*, before the archive's end",
    ),
    "a segment holds another one's content": Row(_swap, "{2} is not what its name says: .* another segment's content"),
    "a segment is of another cluster": Row(
        lambda shop, place: alter(place, shop.names[2], shop.production.identity, with_foreign_owner),
        "{2} belongs to cluster",
    ),
    "a segment lies there with two contents": Row(
        lambda shop, place: replace(place, shop.names[2], b"x" * 2**20, shop.production.identity.recipient, beside=True),
        "segment {2} lies in the archive with two contents",
    ),
    "the archive is of another cluster": Row(
        lambda shop, place: edit_cluster(place, system_identifier="7000000000000000001"), "belongs to cluster 7000000000000000001"
    ),
    "the archive is of another major version": Row(
        lambda shop, place: edit_cluster(place, server_version_num=170000), r"belongs to cluster .*\(PostgreSQL 17\)"
    ),
}


def said(shop: Shop, words: str) -> str:
    """The regular expression with the names of segments in it."""
    words = re.sub(r"\{\[(\d)(\d)\]\}", lambda match: f"({shop.names[int(match[1])]}|{shop.names[int(match[2])]})", words)
    return re.sub(r"\{(\d)\}", lambda match: shop.names[int(match[1])], words)


@pytest.mark.parametrize("name", ROWS)
def test_damaged_log_fails_the_drill_by_its_name(shop: Shop, work_dir: Path, name: str) -> None:
    row, place = ROWS[name], shop.production.copy()
    row.damage(shop, place)
    report = shop.production.drill(work_dir, place, target=dict(row.target))
    assert report["verdict"] == row.verdict, report["reason"]
    assert re.search(said(shop, row.says), report["reason"]), report["reason"]
    assert (report["verified_seconds"], report["service_ready_seconds"]) == (None, None)
    if row.also_at_a_time:
        # The target lies behind the damage, and whatever PostgreSQL thinks of the end, it is not reached.
        report = shop.production.drill(work_dir, place, target={"time": shop.moments[3].isoformat()})
        assert report["verdict"] == row.verdict, report["reason"]
        assert re.search(said(shop, row.says), report["reason"]), report["reason"]


def test_damage_behind_the_target_is_not_met_and_does_not_matter(shop: Shop, work_dir: Path) -> None:
    place = shop.production.copy()
    flip(file_of(place, shop.names[4]))
    must = {"must_exist": ["SELECT 1 FROM orders WHERE id = 1"], "must_not_exist": ["SELECT 1 FROM orders WHERE id = 2"]}
    report = shop.production.drill(work_dir, place, target={"time": shop.moments[1].isoformat()}, markers=must)
    assert report["verdict"] == "passed", report["reason"]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (lambda shop: {"time": shop.before_base.isoformat()}, "no base backup 'cluster' of system 'shop' ended before the target"),
        (lambda shop: {"lsn": shop.lsn_before_base}, "no base backup 'cluster' of system 'shop' ended before the target"),
        (lambda shop: {"time": "2099-01-01T00:00:00Z"}, "the target was not reached: time 2099-01-01 .* {4} .*its last commit at "),
        (lambda shop: {"lsn": "7FFFFFFF/0"}, "the target 7FFFFFFF/0 lies after the archive's end, which is segment {4}"),
        (lambda shop: {"name": "a point that nobody made"}, "the target was not reached: restore point a point that nobody made"),
        (lambda shop: {"latest": True, "timeline": 7}, "00000007.history is missing"),
    ],
    ids=["time before", "lsn before", "time after", "lsn after", "no such point", "no such timeline"],
)
def test_a_target_outside_of_the_archive_fails_by_its_name(
    shop: Shop, work_dir: Path, target: Callable[[Shop], dict[str, Any]], says: str
) -> None:
    report = shop.production.drill(work_dir, target=target(shop))
    assert report["verdict"] == "failed", report["reason"]
    assert re.search(said(shop, says), report["reason"]), report["reason"]


def test_a_newest_base_that_is_broken_is_never_replaced_by_an_older_one_in_silence(shop: Shop, work_dir: Path) -> None:
    place = shop.production.copy()
    manifests = place.root / "shop" / "manifests" / "base" / "cluster"
    newer = manifests / "20990101T000000Z-00000000.json"
    newer.write_text("{")
    report = shop.production.drill(work_dir, place)
    assert (report["verdict"], "20990101T000000Z-00000000" in report["reason"]) == ("failed", True), report["reason"]
    # One that began after the target has no part in reaching it.
    report = shop.production.drill(work_dir, place, target={"time": shop.moments[1].isoformat()})
    assert report["verdict"] == "passed", report["reason"]
