# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a description says is read or refused: names that nothing reads, and values that cannot be, each in a sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.plugin_utils.description import PARTS, unknown_names, wrong_values
from ansible_collections.lifeboat.postgres.plugins.plugin_utils.variables import KNOWN, OF_PLAYBOOKS, OF_ROLES
from support.readmes import readmes

CHECKOUT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (CHECKOUT / "roles").iterdir())
PAGE = (CHECKOUT / "docs" / "variables.md").read_text(encoding="utf-8")


def test_the_names_and_the_page_are_what_the_specifications_of_the_roles_make_them() -> None:
    made = readmes()
    assert made.NAMES.read_text(encoding="utf-8") == made.renewed_names(), "run: python bin/_readmes.py"
    assert made.PAGE.read_text(encoding="utf-8") == made.renewed_page(), "run: python bin/_readmes.py"
    assert set(made.variables()) == OF_ROLES


def test_what_playbooks_read_is_known_and_described() -> None:
    used = {
        name
        for file in (CHECKOUT / "playbooks").glob("*.yml")
        for name in re.findall(r"(?<![\w.])lifeboat_\w+", re.sub(r"^\s*#.*$", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE))
    }
    assert used - KNOWN == set()
    assert not OF_PLAYBOOKS & OF_ROLES
    described = set(re.findall(r"`(lifeboat_\w+)`", PAGE))
    assert OF_PLAYBOOKS - described <= {"lifeboat_audit", "lifeboat_drills", "lifeboat_fleet"}, "what playbooks leave is not to be set"


@pytest.mark.parametrize("role", ROLES)
def test_every_role_refuses_variables_that_nothing_reads_first_of_all(role: str) -> None:
    first = yaml.safe_load((CHECKOUT / "roles" / role / "tasks" / "preflight.yml").read_text(encoding="utf-8"))[0]
    assert "lifeboat.postgres.description_faults', ignore=lifeboat_ignore_unknown" in first["vars"]["__lifeboat_faults"]
    assert first["ansible.builtin.assert"]["that"] == "__lifeboat_faults | length == 0"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lifeboat_databses", "lifeboat_databases"),
        ("lifeboat_repository", "lifeboat_repositories"),
        ("lifeboat_Objective", "lifeboat_objective"),
        ("lifebaot_objective", "lifeboat_objective"),
        ("lifeboats_objective", "lifeboat_objective"),
        ("Lifeboat_system", "lifeboat_system"),
        ("liveboat_backup_max_age", "lifeboat_backup_max_age"),
        ("lifeboat_backup_maxage", "lifeboat_backup_max_age"),
    ],
)
def test_a_slip_of_the_finger_is_named_with_what_was_meant(name: str, meant: str) -> None:
    (said,) = unknown_names([name, "ansible_host", meant])
    assert said == f"Nothing reads the variable {name}. Did you mean {meant}?"


def test_what_is_like_nothing_is_named_with_the_way_to_keep_it() -> None:
    (said,) = unknown_names(["lifeboat_zzz"])
    assert said == "Nothing reads the variable lifeboat_zzz. One of your own is named in lifeboat_ignore_unknown."
    assert unknown_names(["lifeboat_zzz", "lifeboat_of_ours_1"], ["lifeboat_zzz", "lifeboat_of_ours_*"]) == []


def test_what_others_have_is_none_of_ours() -> None:
    names = [
        "life",
        "lifecycle_days",
        "boat",
        "lifeguard_system",
        "lifeboat",
        "__lifeboat_prune_repositories",
        "ansible_facts",
        "object_store",
        "shop",
    ]
    assert unknown_names([*names, *KNOWN]) == []


HERE = {"type": "posix", "path": "/srv/backups"}


@pytest.mark.parametrize(
    ("part", "value", "sentence"),
    [
        ("schedule", {"databases": "0 0 31 2 *"}, "never comes: no month of it has such a day (lifeboat_schedule.databases)"),
        ("schedule", {"verify": "every 0 days"}, "The least is every minute"),
        ("schedule", "daily", "expected a mapping (lifeboat_schedule)"),
        ("prune_schedule", "dayly", "'dayly' is no schedule (lifeboat_prune_schedule)"),
        (
            "databases",
            [{"name": "shop", "schedule": "0 25 * * *"}],
            "hour 25 is not between 0 and 23 (lifeboat_databases, 'shop': schedule)",
        ),
        ("databases", [{"name": "shop", "objective": "standrd"}], "Did you mean 'standard'?"),
        ("databases", ["shop"], "expected a mapping with a name"),
        ("objective", "best", "tier: unknown value 'best' (lifeboat_objective)"),
        ("objective", {"retention": {"daily": 0}}, "retention keeps nothing (lifeboat_objective)"),
        ("retention", {"daily": 0}, "retention keeps nothing (lifeboat_retention)"),
        ("repositories", {"here": {**HERE, "retention": {"daily": 0}}}, "retention keeps nothing (repository 'here')"),
        ("repositories", {"here": {**HERE, "pth": "/x"}}, "Did you mean 'path'?"),
        ("repositories", {"here": {**HERE, "copy_from": "ther"}}, "copy_from names no repository: 'ther'"),
        ("key_repositories", {"vault": {"type": "s3", "bucket": "keys", "secret_access_key": "hush"}}, "repository 'vault'"),
        ("encryption", {"recipients": ["age1nobody"]}, "encryption.recipients, number 1"),
        ("encryption", {"key_recipients": ["AGE-SECRET-KEY-1HUSH"]}, "encryption.key_recipients, number 1"),
    ],
)
def test_what_cannot_be_is_one_sentence_that_shows_no_secret(part: str, value: Any, sentence: str) -> None:
    (said,) = wrong_values({part: value})
    assert sentence in said
    assert "\n" not in said
    assert "hush" not in said.lower()


def test_a_good_description_has_nothing_said_against_it() -> None:
    recipient = "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z"
    good = {
        "objective": {"tier": "standard", "rto": "2h"}, "schedule": {"databases": "objective", "verify": "never"},
        "prune_schedule": "daily",
        "databases": [{"name": "shop"}, {"name": "crm", "schedule": "every 15m", "objective": "strict"}], "retention": {"daily": 7},
        "repositories": {"here": HERE, "there": {"type": "posix", "path": "/mnt", "copy_from": "here", "cadence": "weekly"}},
        "key_repositories": {"vault": {"type": "posix", "path": "/vault"}}, "encryption": {"method": "age", "recipients": [recipient]},
    }  # fmt: skip
    assert set(good) == set(PARTS)
    assert wrong_values(good) == []
    assert wrong_values(dict.fromkeys(PARTS)) == []
    assert wrong_values({"encryption": {"method": "gpg", "recipients": ["A1B2"]}}) == [], "a keyring lies on the host"
    with pytest.raises(ConfigurationError, match="Did you mean 'schedule'"):
        wrong_values({"schedul": {}})
