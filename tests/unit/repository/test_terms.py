# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository's terms: where copies come from, how often, what is kept; each mistake is one sentence."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.factory import open_repository, validate
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.terms import (
    Cadence,
    Terms,
    check_sources,
    terms_of,
    written_directly,
)

POSIX = {"type": "posix", "path": "/var/backups/lifeboat"}
S3 = {"type": "s3", "bucket": "backups"}


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.timezone.utc)


@pytest.mark.parametrize("place", [POSIX, S3])
@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"copy_from": "abroad"}, "names the repository itself"),
        ({"copy_form": "offsite"}, "Did you mean 'copy_from'"),
        ({"cadence": "weekly"}, "cadence without copy_from"),
        ({"copy_from": "offsite", "cadence": "montly"}, "Did you mean 'monthly'"),
        ({"copy_from": "offsite", "cadence": "every"}, "every"),
        ({"copy_from": "offsite", "cadence": "every 10 parsecs"}, "cadence: expected a duration"),
        ({"copy_from": "offsite", "cadence": "every 5s"}, "cadence is 5 seconds, the least is 60"),
        ({"retention": {"montly": 3}}, "Did you mean 'monthly'"),
        ({"retention": {"monthly": -1}}, "monthly is -1, the least is 0"),
        ({"retention": {"monthly": "many"}}, "monthly: expected a whole number"),
        ({"retention": {"monthly": 0}}, "retention keeps nothing"),
        ({"retention": {"max_age": "1h"}}, "max_age is 3600 seconds, the least is 86400"),
        ({"retention": "monthly"}, "retention: expected a mapping"),
        ({"retenton": {}}, "Did you mean 'retention'"),
    ],
)
def test_names_the_mistake(place: dict[str, Any], terms: dict[str, Any], said: str) -> None:
    for use in (validate, open_repository):
        with pytest.raises(ConfigurationError) as caught:
            use("abroad", {**place, **terms})
        assert said in str(caught.value)
        assert "repository 'abroad'" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", [POSIX, S3])
def test_takes_what_is_right(place: dict[str, Any]) -> None:
    spec = {**place, "copy_from": "offsite", "cadence": "every  14d", "retention": {"monthly": "12", "keep": 3, "max_age": "400d"}}
    validate("abroad", spec)
    retention = {"monthly": 12, "keep": 3, "max_age": 400 * 86400}
    assert terms_of("abroad", spec) == Terms("offsite", Cadence("every 14d", 14 * 86400), retention)
    assert terms_of("here", place) == Terms()


@pytest.mark.parametrize(
    ("cadence", "same", "next_one"),
    [
        ("hourly", ("2026-11-21T10:00", "2026-11-21T10:59"), "2026-11-21T11:00"),
        ("daily", ("2026-11-21T00:00", "2026-11-21T23:59"), "2026-11-22T00:00"),
        ("weekly", ("2026-12-28T00:00", "2027-01-03T23:59"), "2027-01-04T00:00"),
        ("monthly", ("2026-11-01T00:00", "2026-11-30T23:59"), "2026-12-01T00:00"),
        ("yearly", ("2026-01-01T00:00", "2026-12-31T23:59"), "2027-01-01T00:00"),
        ("every 2d", ("1970-01-03T00:00", "1970-01-04T23:59"), "1970-01-05T00:00"),
    ],
)
def test_a_period_is_of_the_calendar_in_utc(cadence: str, same: tuple[str, str], next_one: str) -> None:
    found = terms_of("abroad", {**POSIX, "copy_from": "here", "cadence": cadence}).cadence
    first, last = (found.period("id", moment(text)) for text in same)
    assert first == last
    assert found.period("id", moment(next_one)) > first


def test_without_a_cadence_every_backup_is_a_period_of_its_own() -> None:
    noon = moment("2026-11-21T12:00")
    assert Cadence().period("one", noon) != Cadence().period("two", noon)


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ({"here": "", "abroad": "offiste", "offsite": ""}, "Did you mean 'offsite'"),
        ({"abroad": "x"}, "Known are: abroad"),
        ({"abroad": "far", "far": "abroad"}, "goes round in a circle"),
        ({"here": "", "a": "b", "b": "c", "c": "b"}, "goes round in a circle"),
    ],
)
def test_copies_begin_somewhere(sources: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        check_sources({name: {**POSIX, "copy_from": source} if source else POSIX for name, source in sources.items()})


def test_a_copy_may_be_copied_on_and_only_the_beginning_is_written_by_backups() -> None:
    specs = {"here": POSIX, "offsite": {**S3, "copy_from": "here"}, "abroad": {**S3, "copy_from": "offsite"}}
    check_sources(specs)
    assert list(written_directly(specs)) == ["here"]
