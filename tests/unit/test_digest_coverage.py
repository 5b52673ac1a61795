# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Since when every table was digested, where that goes in turn."""

from __future__ import annotations

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.digest_coverage import Coverage, coverage_of, read_part


def days(*digested: str) -> list[tuple[str, str]]:
    """Backups, newest first, one a day up to the 20th."""
    return [(part, f"2026-11-{20 - number:02}T03:15:00.000000Z") for number, part in enumerate(digested)]


@pytest.mark.parametrize(
    ("digested", "expected"),
    [
        ((), None),
        (("", ""), None),
        (("1/1",), Coverage(1, "2026-11-20T03:15:00.000000Z", ())),
        (("3/3", "2/3", "1/3", "3/3"), Coverage(3, "2026-11-18T03:15:00.000000Z", ())),
        (("3/3", "", "1/3", "3/3", "2/3"), Coverage(3, "2026-11-16T03:15:00.000000Z", ())),
        (("3/3", "3/3", "1/3"), Coverage(3, "", (2,))),
        (("2/2", "3/3", "1/3", "2/3"), Coverage(2, "", (1,))),
        (("2/2", "3/3", "1/3", "1/2"), Coverage(2, "2026-11-17T03:15:00.000000Z", ())),
    ],
)
def test_coverage_goes_back_to_the_oldest_backup_that_is_needed(digested: tuple[str, ...], expected: Coverage | None) -> None:
    assert coverage_of(days(*digested)) == expected


def test_it_is_said_in_words() -> None:
    assert Coverage(7, "2026-11-14T03:15:00.000000Z", ()).words == "every table was digested since 2026-11-14 03:15 UTC"
    assert Coverage(7, "", (2, 5)).words == "no backup holds digests of part 2, 5 of 7"


@pytest.mark.parametrize("wrong", ["0/3", "4/3", "3", "/", "1/3/4", "-1/3", "a/b", "1/", "٣/٧"])
def test_what_is_no_part_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="no part"):
        read_part(wrong)
