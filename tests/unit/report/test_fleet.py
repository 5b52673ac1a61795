# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's document is read as strictly as it is written, and each system gets the light that its facts deserve."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ManifestError
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet import (
    Archive,
    Audited,
    Drills,
    Fleet,
    Judged,
    Key,
    Place,
    Promised,
    System,
)
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_light import judge, oldest_backup, promised, worst
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_schema import read_fleet, read_system
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.verdict import Objective
from hypothesis import given
from hypothesis import strategies as st
from support.fleets import LOOKED_AT, a_fleet, a_system, everywhere
from support.reports import STARTED, a_report


def test_what_was_written_is_read_back_as_it_was() -> None:
    fleet = Fleet.of([*a_fleet(3).systems, everywhere("x")])
    assert read_fleet(fleet.to_bytes()) == fleet
    assert read_fleet(fleet.to_bytes()).to_bytes() == fleet.to_bytes()
    for system in fleet.systems:
        assert read_system(json.loads(json.dumps(system.to_document()))) == system


A_PLACE = dataclasses.asdict(Place("a", "posix"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 2}, "has schema 2, this version reads 1"),
        ({"surplus": 1}, r"fields missing: \[\], not known: \['surplus'\]"),
        ({"looked_at": "yesterday"}, "field 'looked_at': 'yesterday' is not a moment in UTC"),
        ({"protected_keys": [{"name": "k"}]}, "field 'protected_keys': fields missing"),
        ({"audit": [{"rule": "", "where": "", "verdict": "fine", "detail": "", "advice": ""}]}, "expected one of good, unknown, weak"),
        ({"drills": [{"kind": "database", "name": "shop", "last": {"schema": 9}, "history": []}]}, "the drill report has schema 9"),
        ({"places": [{**A_PLACE, "days": [{"date": "1", "good": 1, "bad": 0, "size_bytes": 1}]}]}, "expected a day as 2026-11-21"),
    ],
)
def test_a_part_that_is_not_well_formed_is_refused_and_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ManifestError, match=said) as caught:
        read_system({**a_system().to_document(), **change}, "part 3")
    assert caught.value.where == "part 3"


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{}", b'{"schema": 1}', b'{"schema": 1, "systems": {}}'])
def test_what_is_no_document_of_a_fleet_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        read_fleet(data)


def test_half_a_surrogate_pair_does_not_get_into_the_document() -> None:
    system = read_system(a_system(system="a\ud800b").to_document())
    assert system.system == "a?b"
    Fleet.of([system]).to_bytes().decode()


def test_when_somebody_looked_is_no_fact_and_everything_else_is() -> None:
    fleet = Fleet.of([a_system()])
    later = Fleet.of([a_system(looked_at=LOOKED_AT + dt.timedelta(days=1), host="drill2")])
    assert fleet.same_facts(later)
    assert not fleet.same_facts(Fleet.of([a_system(unknown=("a fire",))]))
    assert not fleet.same_facts(Fleet.of([a_system(), a_system(system="crm")]))


def test_of_a_system_that_two_hosts_looked_at_the_look_that_left_less_open_stands() -> None:
    younger = a_system(host="drill2", looked_at=LOOKED_AT + dt.timedelta(hours=1))
    blind = a_system(host="drill3", looked_at=LOOKED_AT + dt.timedelta(hours=2), unknown=("everything",))
    assert [one.host for one in Fleet.of([a_system(), blind, younger]).systems] == ["drill2"]


def test_a_system_of_which_all_is_well_is_proven_without_a_reason() -> None:
    light = judge(a_system())
    assert (light.word, light.reasons) == ("proven", ())


GOOD = a_system()
LATE = Judged("backup", "database/shop", "offsite", "late", "3 days old, and at most 26 h was promised")
WEAK = Audited("sealed", "encryption", "weak", "backups are not sealed", "Take age.")
CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"freshness": (LATE,)}, "failing", "database/shop in offsite: 3 days old"),
    ({"freshness": (dataclasses.replace(LATE, state="missing", reason="there is no backup"),)}, "failing", "there is no backup"),
    ({"freshness": (dataclasses.replace(LATE, state="future", reason="a clock is wrong"),)}, "doubtful", "a clock is wrong"),
    ({"freshness": (dataclasses.replace(LATE, what="drill", repository=""),)}, "doubtful", "database/shop: 3 days old"),
    ({"assets": (), "drills": (), "freshness": ()}, "failing", "there is no backup"),
    ({"places": (Place("offsite", "s3", "", "no route"),)}, "doubtful", "repository offsite cannot be listed: no route"),
    ({"places": (Place("offsite", "s3", "", "no route"),), "assets": ()}, "doubtful", "repository offsite cannot be listed: no route"),
    ({"drills": (Drills("database", "shop", None, ()),)}, "doubtful", "it was never drilled"),
    ({"drills": (Drills("database", "shop", a_report(verdict="failed", reason="a gap"), ()),)}, "failing", "its last drill failed: a gap"),
    ({"drills": (Drills("database", "shop", a_report(verdict="unverified", reason="no"), ()),)}, "doubtful", "drill was unverified: no"),
    (
        {"drills": (Drills("database", "shop", a_report(objective=Objective(1, 1, False, "RTO is 9 s over")), ()),)},
        "failing",
        "its last drill passed, but RTO is 9 s over",
    ),
    (
        {"drills": (Drills("database", "shop", a_report(objective=Objective(1, 1, None, "RPO could not be measured")), ()),)},
        "doubtful",
        "RPO could not be measured",
    ),
    ({"objective": Promised()}, "doubtful", "nothing was promised"),
    ({"unknown": ("nothing is known about drills: no",)}, "doubtful", "nothing is known about drills"),
    (
        {"protected_keys": (Key("k", "vault", "", "", "lk1:00", "there is no readable backup of it here"),)},
        "failing",
        "key k in vault: there is no",
    ),
    ({"protected_keys": (Key("k", "", "", "", "lk1:00", ""),)}, "proven", ""),
    ({"audit": (WEAK,)}, "doubtful", "encryption: backups are not sealed"),
    ({"audit": (dataclasses.replace(WEAK, verdict="unknown"),)}, "proven", ""),
    ({"freshness": (), "archives": (Archive("offsite", 3, 9, None, (), ("a segment is missing",)),)}, "doubtful", "a segment is missing"),
    ({"freshness": (LATE,), "audit": (WEAK,)}, "failing", "database/shop in offsite"),
]


@pytest.mark.parametrize(("fields", "word", "reason"), CASES)
def test_the_light_is_what_the_facts_deserve_and_says_why(fields: dict[str, Any], word: str, reason: str) -> None:
    light = judge(a_system(**fields))
    assert light.word == word
    assert reason in "".join(said for _verdict, said in light.reasons[:1])
    assert bool(light.reasons) == (word != "proven")


def test_nothing_known_is_never_good() -> None:
    """Whatever is taken from a healthy system, it is at best proven when nothing of the rest speaks against it; of nothing it is not."""
    nothing = System("shop", "", LOOKED_AT, "0.1.0", unknown=("nobody could look",))
    assert judge(nothing).word == "doubtful"
    assert judge(System("shop", "", LOOKED_AT, "0.1.0")).word == "doubtful"


ADDED = [case for case in CASES if set(case[0]) <= {"audit", "unknown", "freshness", "drills", "protected_keys"} and len(case[0]) == 1]


@given(st.lists(st.sampled_from(ADDED), max_size=6))
def test_no_fault_is_hidden_by_another(cases: list[tuple[dict[str, Any], str, str]]) -> None:
    order = ["proven", "doubtful", "failing"]
    fields: dict[str, Any] = {}
    for changed, _word, _reason in cases:
        for key, value in changed.items():
            fields[key] = (*fields.get(key, ()), *value)
    assert judge(a_system(**fields)).word == max(["proven", *(word for _changed, word, _reason in cases)], key=order.index)


def test_the_worst_of_what_was_measured_counts_and_what_did_not_pass_measured_nothing() -> None:
    rto = worst(GOOD, "rto")
    assert (rto.seconds, rto.asset, rto.missing) == (412.0, "base/main", ())
    failed = a_report(verdict="failed", verified_seconds=9999.0, rpo_seconds=1.0)
    system = a_system(drills=(GOOD.drills[1], Drills("database", "crm", failed, ()), Drills("base", "main", None, ())))
    assert worst(system, "rpo").seconds == 2700.0
    assert worst(system, "rto").missing == ("database/crm", "base/main")
    assert worst(a_system(drills=()), "rto").seconds is None


def test_what_was_promised_is_the_objectives_or_else_the_strictest_of_the_drills() -> None:
    assert promised(GOOD, "rto") == 3600.0
    assert promised(a_system(objective=Promised()), "rto") == 900
    assert promised(a_system(objective=Promised(), drills=()), "rpo") is None


def test_the_newest_backup_of_a_system_is_as_old_as_that_of_its_oldest_asset() -> None:
    assert oldest_backup(GOOD) == LOOKED_AT - dt.timedelta(days=1)
    without = dataclasses.replace(GOOD.assets[1], newest_at=None)
    assert oldest_backup(a_system(assets=(GOOD.assets[0], without))) is None
    assert oldest_backup(a_system(assets=())) is None
    assert oldest_backup(a_system(assets=GOOD.assets[2:])) == STARTED - dt.timedelta(minutes=45)
