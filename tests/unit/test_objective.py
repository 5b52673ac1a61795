# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One word says everything, each value can be overridden, and what cannot keep a promise is said."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.plan import DrillPlan
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.objective import TIERS, Facts, Objective, problems, resolve, to_document
from ansible_collections.lifeboat.postgres.plugins.module_utils.words import duration

HOUR, DAY = 3600.0, 86400.0
PAGE = Path(__file__).resolve().parents[2] / "docs" / "objectives.md"


@pytest.mark.parametrize(("word", "rpo", "rto"), [("baseline", DAY, 2 * HOUR), ("standard", HOUR, HOUR), ("strict", 300.0, 1800.0)])
def test_a_word_promises_what_the_page_says(word: str, rpo: float, rto: float) -> None:
    found = resolve(word)
    assert (found.tier, found.rpo_seconds, found.rto_seconds) == (word, rpo, rto)
    assert found == resolve({"tier": word}) == TIERS[word]
    assert found.wal == (word != "baseline")
    assert found.standby == (word == "strict")
    assert problems(found) == [], "no tier contradicts itself"


def test_the_pages_table_holds_the_figures_of_every_tier() -> None:
    rows = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 4:
            rows[re.findall(r"`(\w+)`", cells[0])[0]] = cells[1:]
    for column, tier in enumerate(TIERS.values()):
        document = to_document(tier)
        for word, cells in rows.items():
            value: Any = document.get(f"{word}_seconds", document.get(word))
            if value is None or isinstance(value, bool):
                said = {None: "–", True: "yes", False: "no"}[value]
            else:
                said = ", ".join(f"{key} {number}" for key, number in value.items()) if isinstance(value, dict) else duration(value)
            assert cells[column] == said, f"{word} of {tier.tier}"
    assert set(rows) == {field.name.removesuffix("_seconds") for field in dataclasses.fields(Objective)} - {"tier"}


def test_a_mapping_overrides_single_values() -> None:
    found = resolve({"tier": "standard", "rpo": "15m", "dump_every": "12h", "retention": {"daily": 30, "max_age": "90d"}, "standby": True})
    assert found == dataclasses.replace(
        TIERS["standard"],
        rpo_seconds=900.0,
        dump_every_seconds=12 * HOUR,
        freshness_seconds=14 * HOUR,
        retention={"daily": 30, "max_age": 90 * 86400},
        standby=True,
    )


@pytest.mark.parametrize("given", [None, {}, ""])
def test_nothing_promised_is_nothing_to_judge(given: Any) -> None:
    assert (resolve(given).rpo_seconds, resolve(given).rto_seconds, resolve(given).tier) == (None, None, "")


def test_an_old_mapping_promises_what_it_names_and_no_more() -> None:
    found = resolve({"rto": "2h"})
    assert (found.rpo_seconds, found.rto_seconds) == (None, 2 * HOUR)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("standart", "Did you mean 'standard'"),
        ({"teir": "strict"}, "Did you mean 'tier'"),
        ({"rpo": "soon"}, "rpo: expected a duration"),
        ({"dump_every": "0s"}, "dump_every is 0 seconds"),
        ({"dump_every": "24h", "freshness": "12h"}, "would alert between any two dumps"),
        ({"incremental_every": "1d"}, "incremental_every without base_every"),
        ({"retention": {"dayly": 3}}, "Did you mean 'daily'"),
        (["strict"], "expected a mapping"),
    ],
)
def test_names_the_mistake(given: Any, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(given, "lifeboat_objective")
    assert said in str(caught.value)
    assert "lifeboat_objective" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "facts", "said"),
    [
        ({"tier": "baseline", "rpo": "1h"}, Facts(), "an RPO of 60 min cannot be kept by a dump every 24 h without WAL archiving"),
        (
            {"tier": "baseline", "wal": True, "archive_timeout": "5m"},
            Facts(),
            "WAL without base backups replays onto nothing: set base_every",
        ),
        ("standard", Facts(base_backups=False), "there is no base backup that it could be replayed onto"),
        ("standard", Facts(wal_archived=False), "WAL is promised, and not archived"),
        ("standard", Facts(archive_timeout_seconds=0.0), "archive_timeout is off"),
        ("strict", Facts(archive_timeout_seconds=600.0), "archive_timeout of 10 min is longer"),
        ("strict", Facts(last_drill_seconds=3000.0), "an RTO of 30 min was promised, and the last drill took 50 min"),
        ("strict", Facts(last_drill_age_seconds=8 * DAY), "the last drill is 8 days old, one every 7 days is due"),
        ("strict", Facts(server_version_num=160004), "need PostgreSQL 17, this is 16"),
        ("strict", Facts(standby=False), "a warm standby is promised, and there is none"),
        (
            "baseline",
            Facts(retention={"offsite": {"monthly": 12}}, lifecycle_seconds={"offsite": 90 * DAY}),
            "offsite: its lifecycle removes objects after 90 days, and retention keeps them for 308 days",
        ),
        (
            "baseline",
            Facts(retention={"offsite": {"daily": 7, "max_age": 30 * 86400}}, lock_seconds={"offsite": 60 * DAY}),
            "offsite: objects are locked for 60 days, and have to be gone after 30 days",
        ),
        (
            {"tier": "baseline"},
            Facts(retention={"offsite": {"daily": 7, "monthly": 12}}, lock_seconds={"offsite": 3 * DAY}),
            "offsite: objects are locked for 3 days, and retention keeps every backup for 7 days",
        ),
        ("baseline", Facts(retention={"here": {"daily": 7}}, max_age_seconds=90 * DAY), "here: backups are kept without end"),
    ],
)
def test_what_cannot_keep_it_is_said_in_one_sentence(given: Any, facts: Facts, said: str) -> None:
    found = problems(resolve(given), facts)
    assert len(found) == 1, found
    assert said in found[0]


def test_what_is_well_is_silent() -> None:
    facts = Facts(
        wal_archived=True, base_backups=True, archive_timeout_seconds=60.0, standby=True, last_drill_seconds=600.0,
        last_drill_age_seconds=DAY, server_version_num=180000, retention={"offsite": {"monthly": 3, "max_age": 90 * 86400}},
        lifecycle_seconds={"offsite": 365 * DAY},
        lock_seconds={"offsite": 30 * DAY}, max_age_seconds=90 * DAY,
    )  # fmt: skip
    assert all(problems(tier, facts) == [] for tier in TIERS.values())


DRILL: dict[str, Any] = {"system": "shop", "name": "shop", "repositories": {"here": {"type": "posix", "path": "/x"}}, "identity_file": "/x"}


@pytest.mark.parametrize(
    ("given", "rpo"),
    [("baseline", DAY), ("standard", None), ({"tier": "standard", "rpo": "26h"}, 26 * HOUR), ({"rpo": "24h"}, DAY), ({"rto": "1h"}, None)],
)
def test_a_dump_is_not_judged_by_a_promise_that_the_log_keeps(given: Any, rpo: float | None) -> None:
    assert DrillPlan.from_options({**DRILL, "objective": given}).rpo_seconds == rpo


@pytest.mark.parametrize(("target", "rpo"), [({"latest": True}, 300.0), ({"name": "before"}, None)])
def test_a_recovery_is_judged_by_the_tier_where_it_can_be(target: dict[str, Any], rpo: float | None) -> None:
    plan = DrillPlan.from_options({**DRILL, "mode": "pitr", "target": target, "objective": "strict"})
    assert (plan.rpo_seconds, plan.rto_seconds) == (rpo, 1800.0)
