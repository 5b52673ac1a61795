# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A system of a fleet to start from, healthy, with two repositories, a log, drills, keys and an audit; any field replaced."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import Any

from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet import (
    Archive,
    Asset,
    Audited,
    Day,
    Drills,
    Fleet,
    Judged,
    Key,
    Measured,
    Place,
    Promised,
    System,
    Window,
)
from support.reports import STARTED, a_history, a_recovery, a_report

__all__ = ["LOOKED_AT", "a_fleet", "a_system", "everywhere"]

LOOKED_AT = STARTED + dt.timedelta(hours=3)
NEWEST = "20261121T031500Z-1a2b3c4d"
PRINT = "lk1:0f1e2d3c4b5a69788796a5b4c3d2e1f0"


def _days(number: int, step: int = 1) -> tuple[Day, ...]:
    newest = LOOKED_AT.date()
    dates = [newest - dt.timedelta(days=back * step) for back in range(number - 1, -1, -1)]
    return tuple(Day(date.isoformat(), 1 + (date.day % 5 == 0), 0, 180_000_000 + 900_000 * date.day) for date in dates)


def a_system(**fields: Any) -> System:
    """The healthy system, with these fields instead."""
    nightly = tuple(LOOKED_AT - dt.timedelta(days=back, hours=3, minutes=45) for back in range(33, -1, -1))
    weekly = tuple(LOOKED_AT - dt.timedelta(days=7 * back + 1) for back in range(3, -1, -1))
    history = tuple(
        Measured(
            past.started_at, past.verdict, past.good, past.verified_seconds, past.rpo_seconds, past.objective.rto_seconds,
            past.objective.rpo_seconds,
        )
        for past in (*a_history(), a_report())
    )  # fmt: skip
    recovery = a_report(kind="base", name="main", rpo_seconds=90.0, verified_seconds=412.0, reason="All 9 checks passed")
    recovered = tuple(
        Measured(STARTED - dt.timedelta(days=30 * back), "passed", True, 380.0 + 4 * (8 - back), 60.0 + back, 3600.0, 3600.0)
        for back in range(8, -1, -1)
    )
    return dataclasses.replace(
        System(
            system="shop",
            host="drill1",
            looked_at=LOOKED_AT,
            lifeboat_version="0.1.0",
            objective=Promised("standard", 3600.0, 3600.0, 93600.0, 2678400.0, True),
            places=(
                Place("here", "posix", "", "", 34, 0, 6_500_000_000, nightly[0], nightly[-1], _days(34)),
                Place("offsite", "s3", "", "", 60, 0, 11_400_000_000, nightly[0], nightly[-1], _days(60)),
                Place("abroad", "s3", "offsite", "", 9, 0, 1_700_000_000, weekly[0], weekly[-1], _days(9, 7)),
            ),
            assets=(
                Asset("base", "main", 4, NEWEST, weekly[-1], 2_400_000_000, "18.1", "age", True, weekly),
                Asset("database", "shop", 34, NEWEST, nightly[-1], 185_000_000, "18.1", "age", True, nightly),
                Asset("globals", "main", 34, NEWEST, nightly[-1], 9_000, "18.1", "age", True, nightly),
            ),
            archives=(
                Archive(
                    "offsite", 4032, 21_000_000_000, LOOKED_AT - dt.timedelta(minutes=3),
                    (
                        Window(weekly[0], LOOKED_AT - dt.timedelta(days=16), 1, 1, False),
                        Window(weekly[2], LOOKED_AT - dt.timedelta(minutes=3), 1, 2, True),
                    ),
                    (),
                ),
            ),
            drills=(Drills("base", "main", recovery, recovered), Drills("database", "shop", a_report(), history)),
            protected_keys=(
                Key("master-key", "vault", "20261101T020000Z-0a0b0c0d", PRINT, PRINT, ""),
                Key("env", "vault", "20261101T020000Z-0a0b0c0e", PRINT[:-1] + "9", "", ""),
            ),
            audit=(
                Audited("versions", "offsite", "good", "the bucket keeps versions, and locks what is written for 30 days"),
                Audited("off-host", "repositories", "good", "one at least lies elsewhere"),
                Audited("keys-apart", "key_repositories", "good", "keys lie apart from data"),
            ),
            freshness=(
                Judged("backup", "database/shop", "here", "fresh", "", NEWEST, nightly[-1], 93600.0, 185_000_000),
                Judged("backup", "database/shop", "offsite", "fresh", "", NEWEST, nightly[-1], 93600.0, 185_000_000),
                Judged("log", "wal", "offsite", "fresh", "", "0000000100000009000000B1", LOOKED_AT - dt.timedelta(minutes=3), 3600.0),
                Judged("drill", "database/shop", "", "fresh", "", NEWEST, STARTED, 2764800.0),
            ),
        ),
        **fields,
    )  # fmt: skip


def failing(name: str) -> System:
    """One whose last drill failed, and whose backups are late."""
    good = a_system()
    failed = a_report(verdict="failed", reason="gapless invoices.number: 3 numbers are missing", verified_seconds=None)
    checks = (dataclasses.replace(failed.checks[3], verdict="failed", found="3 missing", detail="3 missing: 4711, 4712, 4713"),)
    late = Judged("backup", "database/shop", "offsite", "late", "3.2 days old, and at most 26 h was promised", NEWEST, STARTED, 93600.0)
    days = (*good.places[1].days[:-4], Day("2026-11-18", 1, 2, 10**8))
    places = (*good.places[:1], dataclasses.replace(good.places[1], bad=2, days=days))
    last = dataclasses.replace(failed, checks=failed.checks[:3] + checks + failed.checks[4:])
    drills = (dataclasses.replace(good.drills[1], last=last),)
    return dataclasses.replace(good, system=name, freshness=(late, *good.freshness[2:]), places=places, drills=drills)


def doubtful(name: str) -> System:
    """One that was never drilled, of which a repository cannot be reached, and which seals for one recipient."""
    good = a_system()
    detail = "there is one recipient: with its identity every backup is lost"
    weak = Audited("two-recipients", "encryption", "weak", detail, "Add a second.")
    away = Place("offsite", "s3", "", "connection to the store timed out (offsite). Look at the network, and at the store.")
    drills = tuple(dataclasses.replace(one, last=None, history=()) for one in good.drills)
    return dataclasses.replace(
        good,
        system=name,
        audit=(*good.audit, weak),
        places=(good.places[0], away),
        drills=drills,
        archives=(),
        protected_keys=(),
        freshness=(),
    )


def a_fleet(number: int = 3) -> Fleet:
    """So many systems: of three one fails and one is in doubt, of more two in eight do."""
    kinds: list[Callable[[str], System]] = [lambda name: a_system(system=name), failing, doubtful]
    names = ["shop", "licences", "crm"]
    if number > 3:
        kinds, names = [*kinds[:1] * 5, *kinds], [f"shop{position:02}" for position in range(number)]
    return Fleet.of(kinds[position % len(kinds)](name) for position, name in enumerate(names[:number]))


def everywhere(word: str) -> System:
    """A system that has this text in every place that takes one."""
    report = a_report(
        system=word, name=word, backup_id=word, repository=word, reason=word, rpo_note=word, host=word, lifeboat_version=word,
        checks=tuple(dataclasses.replace(a_report().checks[0], name=word, verdict=verdict, expected=word, found=word, detail=word)
                     for verdict in ("passed", "failed", "unverified")),
        warnings=(word,), waived=(word,), settings={word: word}, recovery=a_recovery(target=word, stopped=word), verdict="failed",
    )  # fmt: skip
    good = a_system()
    return dataclasses.replace(
        good,
        system=word, host=word, lifeboat_version=word, objective=dataclasses.replace(good.objective, tier=word),
        places=(
            dataclasses.replace(good.places[0], name=word, type=word, copy_from=word), Place(word, word, word, word),
        ),
        assets=tuple(
            dataclasses.replace(one, kind=word, name=word, newest_id=word, server_version=word, encryption=word) for one in good.assets
        ),
        archives=(dataclasses.replace(good.archives[0], repository=word, problems=(word,)),),
        drills=(Drills(word, word, report, good.drills[1].history), Drills(word, word, None, ())),
        protected_keys=(Key(word, word, word, word, word, word), Key(word, "", "", "", word, "")),
        audit=tuple(Audited(word, word, verdict, word, word) for verdict in ("good", "weak", "unknown")),
        freshness=tuple(dataclasses.replace(one, what=what, asset=word, repository=word, state="late", reason=word, id=word)
                        for one, what in zip(good.freshness, ("backup", "log", "drill", word))),
        unknown=(word,),
    )  # fmt: skip
