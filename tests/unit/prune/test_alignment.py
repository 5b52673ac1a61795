# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The document that puts backups beside a data-retention schedule says what is configured, and where that is too long."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.alignment import Alignment, parse_rules
from ansible_collections.lifeboat.postgres.plugins.module_utils.prune.plan import PrunePlan

GIVEN: dict[str, Any] = {
    "system": "shop",
    "repositories": {
        "here": {"type": "posix", "path": "/var/backups", "retention": {"hourly": 24, "max_age": "30d"}},
        "offsite": {"type": "s3", "bucket": "shop", "retention": {"monthly": 12}, "object_lock": "compliance", "object_lock_days": 30},
    },
    "overrides": [{"name": "shop", "retention": {"max_age": "90d"}}],
    "data_retention": [
        {"data": "customers | deleted", "max_age": "90d", "basis": "Art. 17", "assets": ["database/shop"]},
        {"data": "logs", "max_age": "14d"},
    ],
    "state_dir": "",
    "cache_dir": "",
}


def alignment() -> Alignment:
    return PrunePlan.from_options(GIVEN).alignment


def test_what_is_kept_too_long_is_named() -> None:
    assert alignment().gaps() == [
        "here keeps backups for 30 days, and the schedule allows 14 days for logs",
        "here keeps database/shop for 90 days, and the schedule allows 14 days for logs",
        "offsite keeps backups without an age, and the schedule allows 14 days for logs",
        "offsite keeps database/shop for 90 days, and the schedule allows 14 days for logs",
    ]


def test_the_document_holds_every_policy_and_every_rule() -> None:
    text = alignment().document()
    assert "| here | posix /var/backups | all | hourly 24 | 30 days |" in text
    assert "| offsite | s3 shop | database/shop | monthly 12 | 90 days |" in text
    assert "| customers \\| deleted | Art. 17 | 90 days | offsite, database/shop | 90 days | yes |" in text
    assert "| logs |  | 14 days | offsite | no age is set | **no** |" in text
    assert "  - offsite: 30 days" in text
    assert text == alignment().document(), "the same configuration gives the same text"


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("90d", "data_retention: expected a list"),
        ([{"data": "x"}], "max_age is required"),
        ([{"data": "x", "max_age": "90d", "asset": ["database/shop"]}], "Did you mean 'assets'"),
        ([{"data": "x", "max_age": "90d", "assets": ["shop"]}], "Say it as database/shop"),
    ],
)
def test_names_the_mistake(rules: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match="data_retention") as caught:
        parse_rules({"data_retention": rules}, "backup_prune")
    assert said in str(caught.value)
