# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each rule fires on what is unwise, and is silent, or content, on what is well."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.audit.rules import Seen, SeenRepository, judge
from ansible_collections.lifeboat.postgres.plugins.module_utils.objective import Facts, resolve
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.harm import DENIED, DONE, KEPT, UNKNOWN, Harm, Rules

HARMLESS = (Harm("replace", KEPT), Harm("delete", DENIED, "not allowed"), Harm("delete the version itself", DENIED, "not allowed"))
PLACE = SeenRepository("offsite", harms=HARMLESS, rules=Rules(versions=True), type="s3")
WELL = Seen("write", (PLACE,), "age", 2, ("vault",), (), resolve("baseline"))


def with_place(**fields: Any) -> Seen:
    return dataclasses.replace(WELL, repositories=(dataclasses.replace(PLACE, **fields),))


def verdicts(seen: Seen) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for finding in judge(seen):
        found.setdefault(finding.rule, set()).add(finding.verdict)
    return found


def test_what_is_well_set_up_is_good_by_every_rule_that_applies() -> None:
    found = verdicts(WELL)
    assert set.union(*found.values()) == {"good"}
    assert set(found) == {"destroy", "versions", "sealed", "off-host", "keys-apart", "objective"}


@pytest.mark.parametrize(
    ("seen", "rule", "verdict", "words"),
    [
        (with_place(problem="it is down"), "reachable", "unknown", "it is down"),
        (with_place(harms=None), "destroy", "unknown", "was not tried"),
        (with_place(harms=(Harm("delete", DONE, "the canary is gone"),)), "destroy", "weak", "delete: done"),
        (with_place(harms=(Harm("delete", UNKNOWN, "a time-out"),)), "destroy", "unknown", "a time-out"),
        (with_place(harms=(Harm("write", DENIED, "no"),)), "destroy", "weak", "it cannot write"),
        (with_place(rules=Rules(versions=False)), "versions", "weak", "keeps no versions"),
        (with_place(rules=Rules(versions=None)), "versions", "unknown", "may not see"),
        (with_place(rules=Rules(versions=True, removes_old_versions=86400.0)), "versions", "weak", "destroyed after 24 h"),
        (with_place(on_data_disk=True), "same-disk", "weak", "one broken disk takes both"),
        (with_place(local=True), "off-host", "weak", "every repository lies on this machine"),
        (dataclasses.replace(WELL, method="none"), "sealed", "weak", "not sealed"),
        (dataclasses.replace(WELL, method="gpg-symmetric"), "sealed", "weak", "law 5 does not hold"),
        (dataclasses.replace(WELL, recipients=1), "two-recipients", "weak", "one recipient"),
        (dataclasses.replace(WELL, shared=("'vault' and 'offsite': one bucket",)), "keys-apart", "weak", "one bucket"),
        (
            dataclasses.replace(WELL, objective=resolve({"rpo": "1h"})),
            "objective",
            "weak",
            "an RPO of 60 min cannot be kept by a dump every 24 h without WAL",
        ),
        (
            dataclasses.replace(WELL, objective=resolve("strict"), facts=Facts(last_drill_seconds=3000.0)),
            "objective",
            "weak",
            "an RTO of 30 min was promised, and the last drill took 50 min",
        ),
        (
            dataclasses.replace(WELL, facts=Facts(retention={"offsite": {"monthly": 12}}, lifecycle_seconds={"offsite": 30 * 86400.0})),
            "objective",
            "weak",
            "its lifecycle removes objects after 30 days",
        ),
    ],
)
def test_what_is_unwise_is_found_with_its_reason(seen: Seen, rule: str, verdict: str, words: str) -> None:
    found = [finding for finding in judge(seen) if finding.rule == rule and finding.verdict == verdict]
    assert any(words in finding.detail for finding in found), judge(seen)
    assert all(finding.advice for finding in found if finding.verdict == "weak")


def test_a_drills_credential_is_judged_by_what_it_cannot_write() -> None:
    seen = dataclasses.replace(with_place(can_write=True, harms=None), purpose="read")
    assert verdicts(seen)["reads-only"] == {"weak"}
    assert "destroy" not in verdicts(seen)
    assert verdicts(dataclasses.replace(with_place(can_write=False), purpose="read"))["reads-only"] == {"good"}
