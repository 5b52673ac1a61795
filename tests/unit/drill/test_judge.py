# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pg_restore said, as one answer: none is needed, and what the drill host lacked is not the backup's fault."""

from __future__ import annotations

import pytest
from ansible_collections.lifeboat.postgres.plugins.module_utils.drill.logical import judge
from ansible_collections.lifeboat.postgres.plugins.module_utils.postgres.restore_errors import RestoreErrors, RestoreIssue, parse


def test_a_restore_without_errors_passes() -> None:
    assert judge(parse("")).verdict == "passed"


def test_warnings_alone_do_no_harm_and_are_shown() -> None:
    result = judge(parse("pg_restore: warning: something mild"))
    assert (result.verdict, result.detail) == ("passed", "something mild")


@pytest.mark.parametrize(
    ("message", "verdict", "next_step"),
    [
        ('role "clerk" does not exist', "failed", "Create the role"),
        ('insert or update on table "o" violates foreign key constraint "f"', "failed", "rule of their own schema"),
        ('invalid input syntax for type integer: "x"', "failed", "damaged"),
        ("something new", "failed", "Read the message"),
        ("could not extend file: No space left on device", "unverified", "more room"),
        ('invalid locale name: "xx_YY.UTF-8"', "unverified", "Install the locale"),
        ('extension "vector" is not available', "unverified", "Install the extension"),
        ("server closed the connection unexpectedly", "unverified", "read its log"),
    ],
)
def test_the_first_error_decides(message: str, verdict: str, next_step: str) -> None:
    said = f"pg_restore: error: could not execute query: ERROR:  {message}\npg_restore: error: could not execute query: ERROR:  follow-up"
    result = judge(parse(said + "\npg_restore: warning: errors ignored on restore: 2"))
    assert (result.verdict, result.found.startswith("2 errors: ")) == (verdict, True)
    assert next_step in result.detail


def test_what_is_shown_is_bounded() -> None:
    issues = tuple(RestoreIssue("other", "x" * 2000, "TABLE DATA t") for _ in range(10_000))
    result = judge(RestoreErrors(issues, 10_000))
    assert result.found.startswith("10000 errors")
    assert "and 9995 more" in result.detail
    assert len(result.detail) + len(result.found) < 5000


def test_errors_that_were_counted_but_not_said_fail_too() -> None:
    assert judge(RestoreErrors((), 3)).verdict == "failed"
